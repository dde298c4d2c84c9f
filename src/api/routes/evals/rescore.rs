//! A run judged again, without generating.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::Value;

use super::ownership::owner;
use super::runs::{check_may_begin, check_queue, own_run_of, room_for_run};
use super::shape;
use crate::api::body::StrictJson;
use crate::api::error::ApiError;
use crate::api::request_log::RequestLog;
use crate::api::state::AppState;
use crate::jobs::{Submission, rescoring, submit};
use crate::protocol::ErrorResponse;
use crate::protocol::evals::{RescoreRunRequest, Run};

/// Judge the completions of a complete run again, by another profile or after a scorer changed, as a new run of the same eval; the old one
/// stays as it is. With the key that it was made with, or an admin's.
#[utoipa::path(
    post,
    path = "/v1/evals/{eval_id}/runs/{run_id}/rescore",
    tag = "evals",
    params(("eval_id" = String, Path), ("run_id" = String, Path)),
    request_body = RescoreRunRequest,
    responses(
        (status = 201, description = "The new run", body = Run),
        (status = 400, body = ErrorResponse),
        (status = 403, body = ErrorResponse),
        (status = 404, body = ErrorResponse),
        (status = 409, description = "It is not complete, or its suite is another one now", body = ErrorResponse),
        (status = 429, description = "Too many runs wait", body = ErrorResponse)
    )
)]
pub async fn rescore_run(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path((eval_id, run_id)): Path<(String, String)>,
    StrictJson(request): StrictJson<RescoreRunRequest>,
) -> Result<(StatusCode, Json<Run>), ApiError> {
    check_may_begin(&log)?;
    let evals = state.evals()?;
    let old = own_run_of(evals, &log, &eval_id, &run_id).await?;
    let spec = rescoring(&old, request.profile, &evals.scorers).await.map_err(of_this_request)?;
    check_queue(evals).await?;
    let _room = room_for_run(evals, &log).await?;
    let by = spec.profile.as_deref().unwrap_or("default");
    let name = request.name.unwrap_or_else(|| format!("{} (judged by {by})", old.name));
    let metadata = Value::Object(request.metadata.unwrap_or_default());
    let model = old.model;
    let submission = Submission { eval: eval_id, name, model, metadata, owner: owner(&log), spec };
    let row = submit(&evals.store, submission, &evals.scorers).await?;
    evals.wake();
    Ok((StatusCode::CREATED, Json(shape::run(row, None, false)?)))
}

/// There is no `data_source` here.
fn of_this_request(error: crate::jobs::JobError) -> ApiError {
    ApiError::from(error).without_prefix("data_source.")
}
