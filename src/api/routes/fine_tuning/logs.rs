//! What a training has logged: completions of a policy by step, and metrics as columns.

use axum::Json;
use axum::extract::{Path, State};

use super::shape;
use crate::api::error::ApiError;
use crate::api::routes::evals::query::Pairs;
use crate::api::state::AppState;
use crate::jobs::{TRAINING, training_curves, training_folder};
use crate::protocol::ErrorResponse;
use crate::protocol::fine_tuning_logs::{
    FineTuningCompletion, FineTuningCompletions, FineTuningMetrics, MetricColumns,
};
use crate::train::{Curve, StepCompletions};

/// What a policy answered for one update, with its rewards: of the newest update, unless a step is named. Other trainings have
/// none.
#[utoipa::path(
    get,
    path = "/v1/fine_tuning/jobs/{job_id}/completions",
    tag = "fine-tuning",
    params(
        ("job_id" = String, Path),
        ("step" = Option<u64>, Query, description = "The update; by default the newest, or that of `after`"),
        ("after" = Option<String>, Query, description = "The id that the page begins after"),
        ("limit" = Option<u32>, Query, description = "From 1 to 100, 20 by default")
    ),
    responses((status = 200, body = FineTuningCompletions), (status = 400, body = ErrorResponse), (status = 404, body = ErrorResponse))
)]
pub async fn list_fine_tuning_completions(
    State(state): State<AppState>,
    Path(job_id): Path<String>,
    query: Pairs,
) -> Result<Json<FineTuningCompletions>, ApiError> {
    let query = query.only(&["step", "after", "limit"])?;
    let evals = state.evals()?;
    let job = evals.store.job(TRAINING, &job_id).await?.id;
    let limit = query.limit()?;
    let asked = query.number("step")?;
    let after = query.get("after").map(|id| {
        let place = shape::completion_place(&job, id);
        place
            .filter(|(step, _)| asked.is_none_or(|asked| asked == *step))
            .ok_or_else(|| ApiError::invalid("after", "`after` must be the id of a completion of this step"))
    });
    let after = after.transpose()?;
    let step = after.map(|(step, _)| step).or(asked);
    let skip = after.map_or(0, |(_, at)| at.saturating_add(1));
    let folder = training_folder(&evals.data.folder, &job);
    let found = state.blocking(move || StepCompletions::read(&folder, step, skip, limit)).await?;
    let found = found.map_err(|error| unreadable(&job, &error))?;
    let shown = |(at, one): (usize, crate::train::LoggedCompletion)| FineTuningCompletion {
        id: shape::completion_id(&job, one.step, skip + at),
        object: "fine_tuning.job.completion".to_owned(),
        step: one.step,
        example: one.example as u64,
        prompt: one.prompt,
        completion: one.completion,
        tokens: one.tokens as u64,
        truncated: one.truncated,
        reward: one.reward,
        rewards: one.rewards,
        advantage: one.advantage,
    };
    let data: Vec<FineTuningCompletion> = found.completions.into_iter().enumerate().map(shown).collect();
    Ok(Json(FineTuningCompletions {
        object: "list".to_owned(),
        step: found.step,
        previous_step: found.previous,
        next_step: found.next,
        first_id: data.first().map(|one| one.id.clone()),
        last_id: data.last().map(|one| one.id.clone()),
        has_more: found.has_more,
        data,
    }))
}

/// Values of one metric, where the request does not say how many.
const POINTS: usize = 2000;
const POINTS_MAX: usize = 10_000;

/// The metrics of all updates and evaluations as columns, thinned where they are many: made for curves of long trainings.
#[utoipa::path(
    get,
    path = "/v1/fine_tuning/jobs/{job_id}/metrics",
    tag = "fine-tuning",
    params(
        ("job_id" = String, Path),
        ("after_step" = Option<u64>, Query, description = "Only what was logged behind this step"),
        ("points" = Option<u32>, Query, description = "Values of one metric at most: from 2 to 10,000, 2,000 by default")
    ),
    responses((status = 200, body = FineTuningMetrics), (status = 400, body = ErrorResponse), (status = 404, body = ErrorResponse))
)]
pub async fn get_fine_tuning_metrics(
    State(state): State<AppState>,
    Path(job_id): Path<String>,
    query: Pairs,
) -> Result<Json<FineTuningMetrics>, ApiError> {
    let query = query.only(&["after_step", "points"])?;
    let evals = state.evals()?;
    let job_id = evals.store.job(TRAINING, &job_id).await?.id;
    let after_step = query.number("after_step")?;
    let points = query.number("points")?.map_or(Some(POINTS), |points| usize::try_from(points).ok());
    let points = points
        .filter(|points| (2..=POINTS_MAX).contains(points))
        .ok_or_else(|| ApiError::invalid("points", format!("`points` must be from 2 to {POINTS_MAX}")))?;
    let curves = training_curves(&evals.store, &evals.data.folder, &job_id, after_step, points).await?;
    let columns = |curve: &Curve| MetricColumns {
        lines_per_value: curve.lines_per_point,
        step: curve.steps(),
        series: curve.series(),
    };
    Ok(Json(FineTuningMetrics {
        object: "fine_tuning.job.metrics".to_owned(),
        updates: columns(&curves.updates),
        evaluations: columns(&curves.evaluations),
        job_id,
    }))
}

fn unreadable(job: &str, error: &std::io::Error) -> ApiError {
    tracing::error!(training = job, %error, "what a training logged cannot be read");
    ApiError::internal("what the training logged cannot be read; the log says why")
}
