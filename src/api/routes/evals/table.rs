//! All samples of a run at once, as columns.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::query::Pairs;
use super::runs::run_of;
use super::shape;
use crate::api::error::ApiError;
use crate::api::etag;
use crate::api::request_log::RequestLog;
use crate::api::state::AppState;
use crate::jobs::{RunBriefs, sample_table};
use crate::protocol::ErrorResponse;
use crate::protocol::eval_tables::SampleTable;

/// All samples of a run as columns, without texts: made for tables of a hundred thousand. Send the `ETag` back in
/// `If-None-Match`, and nothing new is 304.
#[utoipa::path(
    get,
    path = "/v1/evals/{eval_id}/runs/{run_id}/sample_table",
    tag = "evals",
    params(("eval_id" = String, Path), ("run_id" = String, Path), ("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, body = SampleTable, headers(("ETag" = String))),
        (status = 304, description = "Nothing is new"),
        (status = 400, description = "The run has more samples than one answer holds", body = ErrorResponse),
        (status = 404, body = ErrorResponse)
    )
)]
pub async fn get_sample_table(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path((eval_id, run_id)): Path<(String, String)>,
    headers: HeaderMap,
    query: Pairs,
) -> Result<Response, ApiError> {
    query.only(&[])?;
    let evals = state.evals()?;
    let run = run_of(evals, &log, &eval_id, &run_id).await?;
    let tag = format!("\"{}\"", run.sequence);
    if etag::matches(&headers, &tag) {
        return Ok(etag::not_modified(&tag));
    }
    let suite = shape::spec_of(&run)?.suite;
    let turn = evals.turn_to_read().await?;
    let briefs = RunBriefs::read(&evals.store, &run).await?;
    // Megabytes of JSON: not on an async thread.
    let written = state.blocking(move || {
        let text = serde_json::to_vec(&sample_table(&run, suite, &briefs));
        // Whether the client waits for it or not.
        drop(turn);
        text
    });
    let text = written.await?;
    let text = text.map_err(|error| ApiError::internal(error.to_string()))?;
    let response = ([(header::CONTENT_TYPE, "application/json")], text).into_response();
    Ok(etag::tagged(response, &tag))
}
