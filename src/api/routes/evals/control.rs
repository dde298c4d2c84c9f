//! Runs told to stop, to stand still, and to go on.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};

use super::runs::{check_may_begin, own_run_of, room_for_run};
use super::shape;
use crate::api::error::ApiError;
use crate::api::request_log::RequestLog;
use crate::api::state::AppState;
use crate::protocol::ErrorResponse;
use crate::protocol::evals::Run;
use crate::store::RunRow;

/// End a run for good; its samples stay. Clients of OpenAI's API post to the run itself.
#[utoipa::path(
    post,
    path = "/v1/evals/{eval_id}/runs/{run_id}",
    tag = "evals",
    params(("eval_id" = String, Path), ("run_id" = String, Path)),
    responses(
        (status = 200, body = Run),
        (status = 403, body = ErrorResponse),
        (status = 404, body = ErrorResponse),
        (status = 409, body = ErrorResponse)
    )
)]
pub async fn cancel_run(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path((eval_id, run_id)): Path<(String, String)>,
) -> Result<Json<Run>, ApiError> {
    let evals = state.evals()?;
    own_run_of(evals, &log, &eval_id, &run_id).await?;
    answer(evals.store.cancel_run(&run_id).await?)
}

/// End a run for good; its samples stay.
#[utoipa::path(
    post,
    path = "/v1/evals/{eval_id}/runs/{run_id}/cancel",
    tag = "evals",
    params(("eval_id" = String, Path), ("run_id" = String, Path)),
    responses(
        (status = 200, body = Run),
        (status = 403, body = ErrorResponse),
        (status = 404, body = ErrorResponse),
        (status = 409, body = ErrorResponse)
    )
)]
pub async fn cancel_run_by_name(
    state: State<AppState>,
    log: Extension<Arc<RequestLog>>,
    path: Path<(String, String)>,
) -> Result<Json<Run>, ApiError> {
    cancel_run(state, log, path).await
}

/// Let a run stand still. Samples that are under way may still come; nothing is lost.
#[utoipa::path(
    post,
    path = "/v1/evals/{eval_id}/runs/{run_id}/pause",
    tag = "evals",
    params(("eval_id" = String, Path), ("run_id" = String, Path)),
    responses(
        (status = 200, body = Run),
        (status = 403, body = ErrorResponse),
        (status = 404, body = ErrorResponse),
        (status = 409, body = ErrorResponse)
    )
)]
pub async fn pause_run(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path((eval_id, run_id)): Path<(String, String)>,
) -> Result<Json<Run>, ApiError> {
    let evals = state.evals()?;
    own_run_of(evals, &log, &eval_id, &run_id).await?;
    answer(evals.store.pause_run(&run_id).await?)
}

/// Go on with a run that was paused or failed, from the samples it has.
#[utoipa::path(
    post,
    path = "/v1/evals/{eval_id}/runs/{run_id}/resume",
    tag = "evals",
    params(("eval_id" = String, Path), ("run_id" = String, Path)),
    responses(
        (status = 200, body = Run),
        (status = 403, body = ErrorResponse),
        (status = 404, body = ErrorResponse),
        (status = 409, body = ErrorResponse),
        (status = 429, body = ErrorResponse)
    )
)]
pub async fn resume_run(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path((eval_id, run_id)): Path<(String, String)>,
) -> Result<Json<Run>, ApiError> {
    check_may_begin(&log)?;
    let evals = state.evals()?;
    let run = own_run_of(evals, &log, &eval_id, &run_id).await?;
    let _room = if run.status.is_active() { None } else { room_for_run(evals, &log).await? };
    let row = evals.store.resume_run(&run_id).await?;
    evals.wake();
    answer(row)
}

fn answer(row: RunRow) -> Result<Json<Run>, ApiError> {
    Ok(Json(shape::run(row, None, false)?))
}
