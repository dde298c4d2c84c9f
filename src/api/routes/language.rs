//! `/v1/language`: which language the stretches of a text are in, as evaluations measure it.

use axum::Json;
use axum::extract::State;

use crate::api::body::StrictJson;
use crate::api::error::ApiError;
use crate::api::language_watch::report;
use crate::api::sampling::at_most;
use crate::api::state::AppState;
use crate::language::{Language, UnknownLanguage};
use crate::protocol::ErrorResponse;
use crate::protocol::language::{LanguageRequest, LanguageSegment, MeasuredLanguage};
use crate::score::language::{CompletionLanguage, LanguageScorer, Segment, Verdict};

/// In how far a text is in a language, and what each stretch of it was taken for.
#[utoipa::path(
    post,
    path = "/v1/language",
    tag = "language",
    request_body = LanguageRequest,
    responses((status = 200, body = MeasuredLanguage), (status = 400, body = ErrorResponse))
)]
pub async fn measure_language(
    State(state): State<AppState>,
    StrictJson(request): StrictJson<LanguageRequest>,
) -> Result<Json<MeasuredLanguage>, ApiError> {
    at_most("text", request.text.len(), state.options().limits.language_bytes_max, "bytes")?;
    let target: Language = request
        .target
        .parse()
        .map_err(|error: UnknownLanguage| ApiError::invalid("target", format!("`target`: {error}")))?;
    let measured = state.blocking(move || {
        let scored = LanguageScorer::with_all_languages().score_completion(&request.text, target);
        MeasuredLanguage { segments: segments(&scored), report: report(&scored, target) }
    });
    Ok(Json(measured.await?))
}

fn segments(scored: &CompletionLanguage) -> Vec<LanguageSegment> {
    let trace = scored.trace.iter().flat_map(|trace| &trace.segments);
    trace.chain(&scored.answer.segments).map(segment).collect()
}

fn segment(segment: &Segment) -> LanguageSegment {
    let language = match segment.verdict {
        Verdict::Neutral => None,
        verdict => Some(verdict.name().to_owned()),
    };
    LanguageSegment { start: segment.span.start, end: segment.span.end, language }
}
