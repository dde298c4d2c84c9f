//! `/v1/batches`: files of requests, answered beside the clients that wait for an answer.

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::evals::query::Pairs;
use crate::api::body::StrictJson;
use crate::api::error::ApiError;
use crate::api::evals::Evals;
use crate::api::state::AppState;
use crate::jobs::{BATCH, BatchProgress, BatchSpec, ENDPOINTS, ResultFiles, batch_folder, submit_batch};
use crate::protocol::batches::{Batch, BatchError, BatchErrors, CreateBatchRequest, RequestCounts};
use crate::protocol::{ErrorResponse, List};
use crate::store::{JobRow, Order, RunStatus};

/// The routes of batches with their descriptions.
pub fn all() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create_batch, list_batches))
        .routes(routes!(get_batch))
        .routes(routes!(cancel_batch))
}

/// Answer a file of requests.
#[utoipa::path(
    post,
    path = "/v1/batches",
    tag = "batches",
    request_body = CreateBatchRequest,
    responses(
        (status = 200, body = Batch),
        (status = 400, body = ErrorResponse),
        (status = 403, body = ErrorResponse),
        (status = 404, body = ErrorResponse)
    )
)]
pub async fn create_batch(
    State(state): State<AppState>,
    StrictJson(request): StrictJson<CreateBatchRequest>,
) -> Result<Json<Batch>, ApiError> {
    let evals = state.evals()?;
    if !ENDPOINTS.contains(&request.endpoint.as_str()) {
        let message = format!("`endpoint` must be one of {}", ENDPOINTS.join(", "));
        return Err(ApiError::invalid("endpoint", message));
    }
    let file = evals.store.file(&request.input_file_id).await;
    let file = file.map_err(|error| ApiError::from(error).with_param("input_file_id"))?;
    if file.purpose != "batch" {
        let message =
            format!("the file was uploaded for `{}`: upload it with the purpose `batch`", file.purpose);
        return Err(ApiError::invalid("input_file_id", message));
    }
    let spec = BatchSpec {
        input_file_id: request.input_file_id,
        endpoint: request.endpoint,
        completion_window: request.completion_window.unwrap_or_else(|| "24h".to_owned()),
        metadata: request.metadata.unwrap_or_default(),
    };
    let row = submit_batch(&evals.store, &spec).await?;
    evals.wake_batches();
    Ok(Json(shown(evals, row).await?))
}

/// Batches by age, newest first, a page at a time.
#[utoipa::path(
    get,
    path = "/v1/batches",
    tag = "batches",
    params(
        ("after" = Option<String>, Query, description = "The id that the page begins after"),
        ("limit" = Option<u32>, Query, description = "From 1 to 100, 20 by default")
    ),
    responses((status = 200, body = List<Batch>), (status = 403, body = ErrorResponse))
)]
pub async fn list_batches(
    State(state): State<AppState>,
    query: Pairs,
) -> Result<Json<List<Batch>>, ApiError> {
    let query = query.only(&["after", "limit"])?;
    let evals = state.evals()?;
    let page = evals.store.jobs(BATCH, &query.page(Order::Descending)?).await?;
    let mut data = Vec::with_capacity(page.rows.len());
    for row in page.rows {
        data.push(shown(evals, row).await?);
    }
    Ok(Json(List::of(data, page.has_more, |batch| &batch.id)))
}

#[utoipa::path(
    get,
    path = "/v1/batches/{batch_id}",
    tag = "batches",
    params(("batch_id" = String, Path)),
    responses((status = 200, body = Batch), (status = 404, body = ErrorResponse))
)]
pub async fn get_batch(
    State(state): State<AppState>,
    Path(batch_id): Path<String>,
) -> Result<Json<Batch>, ApiError> {
    let evals = state.evals()?;
    Ok(Json(shown(evals, evals.store.job(BATCH, &batch_id).await?).await?))
}

/// End a batch. What was answered is in its files.
#[utoipa::path(
    post,
    path = "/v1/batches/{batch_id}/cancel",
    tag = "batches",
    params(("batch_id" = String, Path)),
    responses(
        (status = 200, body = Batch),
        (status = 404, body = ErrorResponse),
        (status = 409, description = "It has come to an end already", body = ErrorResponse)
    )
)]
pub async fn cancel_batch(
    State(state): State<AppState>,
    Path(batch_id): Path<String>,
) -> Result<Json<Batch>, ApiError> {
    let evals = state.evals()?;
    Ok(Json(shown(evals, evals.store.cancel_job(BATCH, &batch_id).await?).await?))
}

async fn shown(evals: &Evals, row: JobRow) -> Result<Batch, ApiError> {
    let store = &evals.store;
    let spec: BatchSpec = serde_json::from_value(row.spec)
        .map_err(|error| ApiError::internal(format!("the batch `{}` cannot be read: {error}", row.id)))?;
    let progress: BatchProgress = serde_json::from_value(row.progress).unwrap_or_default();
    let files = ResultFiles::of(&row.id);
    let ended = !matches!(row.status, RunStatus::Queued | RunStatus::InProgress | RunStatus::Paused);
    let there = async |id: String| {
        let file = if ended { store.file(&id).await.ok() } else { None };
        file.map(|file| file.id)
    };
    let (output_file_id, error_file_id) = (there(files.output).await, there(files.errors).await);
    let seconds = |ms: i64| u64::try_from(ms / 1000).unwrap_or(0);
    let ended_at = |status: RunStatus| row.finished_ms.filter(|_| row.status == status).map(seconds);
    let error = |message: String| BatchErrors {
        object: "list".to_owned(),
        data: vec![BatchError { code: "batch_failed".to_owned(), message, line: None, param: None }],
    };
    Ok(Batch {
        object: "batch".to_owned(),
        endpoint: spec.endpoint,
        errors: row.error.map(error),
        input_file_id: spec.input_file_id,
        completion_window: spec.completion_window,
        status: match row.status {
            RunStatus::Queued => "validating",
            RunStatus::InProgress | RunStatus::Paused => "in_progress",
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
            // Until what was answered is in the files.
            RunStatus::Canceled if batch_folder(&evals.data.folder, &row.id).exists() => "cancelling",
            RunStatus::Canceled => "cancelled",
        }
        .to_owned(),
        output_file_id,
        error_file_id,
        created_at: seconds(row.created_ms),
        in_progress_at: row.started_ms.map(seconds),
        expires_at: None,
        finalizing_at: ended_at(RunStatus::Completed),
        completed_at: ended_at(RunStatus::Completed),
        failed_at: ended_at(RunStatus::Failed),
        expired_at: None,
        cancelling_at: ended_at(RunStatus::Canceled),
        cancelled_at: ended_at(RunStatus::Canceled),
        request_counts: RequestCounts {
            total: progress.total,
            completed: progress.completed,
            failed: progress.failed,
        },
        metadata: spec.metadata,
        id: row.id,
    })
}
