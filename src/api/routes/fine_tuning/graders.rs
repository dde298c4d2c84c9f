//! Graders by hand: one output graded, one description checked.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value};

use crate::api::body::StrictJson;
use crate::api::error::ApiError;
use crate::api::state::AppState;
use crate::protocol::ErrorResponse;
use crate::protocol::grader_runs::{
    GraderRun, GraderRunErrors, GraderRunMetadata, RunGrader, ValidateGrader, ValidatedGrader,
};
use crate::protocol::graders as wire;
use crate::score::grader::{GradeReason, Graded, Grader, Sample};

/// Grade one output, as a training would.
#[utoipa::path(
    post,
    path = "/v1/fine_tuning/alpha/graders/run",
    tag = "fine-tuning",
    request_body = RunGrader,
    responses((status = 200, body = GraderRun), (status = 400, body = ErrorResponse))
)]
pub async fn run_grader(
    State(state): State<AppState>,
    StrictJson(request): StrictJson<RunGrader>,
) -> Result<Json<GraderRun>, ApiError> {
    state.blocking(move || run(&request)).await?.map(Json)
}

/// Look at a grader's description.
#[utoipa::path(
    post,
    path = "/v1/fine_tuning/alpha/graders/validate",
    tag = "fine-tuning",
    request_body = ValidateGrader,
    responses((status = 200, body = ValidatedGrader), (status = 400, body = ErrorResponse))
)]
pub async fn validate_grader(
    State(state): State<AppState>,
    StrictJson(request): StrictJson<ValidateGrader>,
) -> Result<Json<ValidatedGrader>, ApiError> {
    let (grader, _) = state.blocking(move || compiled(&request.grader)).await??;
    Ok(Json(ValidatedGrader { grader }))
}

fn compiled(grader: &Value) -> Result<(wire::Grader, Grader), ApiError> {
    let described = wire::Grader::read(grader, "grader")?;
    let compiled = Grader::compile(&described).map_err(|error| {
        let error = error.within("grader");
        ApiError::invalid(error.path(), error.to_string())
    })?;
    Ok((described, compiled))
}

fn run(request: &RunGrader) -> Result<GraderRun, ApiError> {
    let (described, grader) = compiled(&request.grader)?;
    let began = Instant::now();
    let item = Value::Object(request.item.clone().unwrap_or_default());
    let sample = Sample {
        output_text: &request.model_sample,
        completion_tokens: request.completion_tokens.unwrap_or_default() as usize,
        truncated: request.finish_reason.as_deref() == Some("length"),
        trace_opened: request.trace_opened.unwrap_or_default(),
    };
    let Graded { reward, parts, failure } = grader.grade(&item, &sample);
    let is_items = parts.iter().any(|part| part.reason == GradeReason::Failed);
    let scores = || parts.iter().map(|part| (part.name.clone(), part.score)).collect();
    let reason = |reason: GradeReason| match serde_json::to_value(reason) {
        Ok(Value::String(reason)) => reason,
        _ => format!("{reason:?}"),
    };
    Ok(GraderRun {
        reward,
        sub_rewards: if described.kind() == "multi" { scores() } else { BTreeMap::new() },
        metadata: GraderRunMetadata {
            name: described.name().to_owned(),
            kind: described.kind().to_owned(),
            errors: GraderRunErrors {
                invalid_variable_error: is_items,
                other_error: failure.is_some() && !is_items,
                details: failure,
                ..GraderRunErrors::default()
            },
            execution_time: began.elapsed().as_secs_f64(),
            scores: scores(),
            reasons: parts.iter().map(|part| (part.name.clone(), reason(part.reason))).collect(),
            undecided: parts.iter().filter(|part| part.undecided).map(|part| part.name.clone()).collect(),
            token_usage: None,
            sampled_model_name: None,
        },
        model_grader_token_usage_per_model: Map::new(),
    })
}
