//! Trainings: made, listed, looked at, cancelled, paused and resumed.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};

use super::shape;
use crate::api::body::StrictJson;
use crate::api::error::ApiError;
use crate::api::evals::Evals;
use crate::api::routes::evals::query::Pairs;
use crate::api::state::AppState;
use crate::jobs::{TRAINING, TrainingSpec, WrongTraining, files_of, submit_training, told, training_folder};
use crate::protocol::ErrorResponse;
use crate::protocol::List;
use crate::protocol::fine_tuning::CreateFineTuningJob;
use crate::protocol::fine_tuning_jobs::FineTuningJob;
use crate::store::{JobRow, Order, RunStatus, StoreError};

/// Train a model on uploaded files. The result is served under the job's `fine_tuned_model` when it is there.
#[utoipa::path(
    post,
    path = "/v1/fine_tuning/jobs",
    tag = "fine-tuning",
    request_body = CreateFineTuningJob,
    responses(
        (status = 200, body = FineTuningJob),
        (status = 400, body = ErrorResponse),
        (status = 403, body = ErrorResponse)
    )
)]
pub async fn create_fine_tuning_job(
    State(state): State<AppState>,
    StrictJson(request): StrictJson<CreateFineTuningJob>,
) -> Result<Json<FineTuningJob>, ApiError> {
    let evals = state.evals()?;
    let files = named_files(evals, &request).await?;
    let id = format!("ftjob-{}", uuid::Uuid::new_v4().simple());
    let (registry, data) = (state.registry().clone(), evals.data.folder.clone());
    let folder = training_folder(&data, &id);
    // Headers are read: a training that cannot be is told now.
    let planned = tokio::task::spawn_blocking(move || {
        let spec = TrainingSpec::new(request, files, &registry, &data).map_err(wrong)?;
        spec.take_files(&data, &folder).map_err(|error| {
            tracing::error!(%error, "a training's files cannot be put in place");
            // Nobody will look for what is there.
            let _ = std::fs::remove_dir_all(&folder);
            ApiError::internal("the server could not put the files in place; its log says why")
        })?;
        Ok::<_, ApiError>(spec)
    });
    let spec = planned.await.map_err(ApiError::panicked)??;
    let row = submit_training(&evals.store, &id, &spec).await?;
    evals.wake_trainer();
    Ok(Json(shape::job(row)?))
}

fn wrong(WrongTraining { param, message }: WrongTraining) -> ApiError {
    ApiError::invalid(param, message)
}

/// The names of the files of a request, by id.
async fn named_files(
    evals: &Evals,
    request: &CreateFineTuningJob,
) -> Result<BTreeMap<String, String>, ApiError> {
    let mut files = BTreeMap::new();
    for (param, id) in files_of(request) {
        let row = evals.store.file(&id).await.map_err(|error| match error {
            StoreError::NotFound { id, .. } => {
                let message = format!("`{param}`: there is no file `{id}`: upload it with POST /v1/files");
                ApiError::invalid(param, message)
            }
            error => error.into(),
        })?;
        if row.purpose != "fine-tune" {
            let message =
                format!("`{param}`: `{id}` was uploaded for `{}`, not for `fine-tune`", row.purpose);
            return Err(ApiError::invalid(param, message));
        }
        files.insert(id, row.name);
    }
    Ok(files)
}

/// Trainings by age, the newest first, a page at a time.
#[utoipa::path(
    get,
    path = "/v1/fine_tuning/jobs",
    tag = "fine-tuning",
    params(
        ("after" = Option<String>, Query, description = "The id that the page begins after"),
        ("limit" = Option<u32>, Query, description = "From 1 to 100, 20 by default"),
        ("order" = Option<String>, Query, description = "`desc` (the default) or `asc`")
    ),
    responses((status = 200, body = List<FineTuningJob>), (status = 403, body = ErrorResponse))
)]
pub async fn list_fine_tuning_jobs(
    State(state): State<AppState>,
    query: Pairs,
) -> Result<Json<List<FineTuningJob>>, ApiError> {
    let query = query.only(&["after", "limit", "order"])?;
    let page = query.page(Order::Descending)?;
    let page = state.evals()?.store.jobs(TRAINING, &page).await?;
    let data: Vec<FineTuningJob> = page.rows.into_iter().map(shape::job).collect::<Result<_, _>>()?;
    Ok(Json(List::of(data, page.has_more, |job| &job.id)))
}

#[utoipa::path(
    get,
    path = "/v1/fine_tuning/jobs/{job_id}",
    tag = "fine-tuning",
    params(("job_id" = String, Path)),
    responses((status = 200, body = FineTuningJob), (status = 404, body = ErrorResponse))
)]
pub async fn get_fine_tuning_job(
    State(state): State<AppState>,
    Path(job_id): Path<String>,
) -> Result<Json<FineTuningJob>, ApiError> {
    Ok(Json(shape::job(state.evals()?.store.job(TRAINING, &job_id).await?)?))
}

/// End a training for good; its checkpoints are removed.
#[utoipa::path(
    post,
    path = "/v1/fine_tuning/jobs/{job_id}/cancel",
    tag = "fine-tuning",
    params(("job_id" = String, Path)),
    responses(
        (status = 200, body = FineTuningJob),
        (status = 404, body = ErrorResponse),
        (status = 409, description = "It has come to an end already", body = ErrorResponse)
    )
)]
pub async fn cancel_fine_tuning_job(
    State(state): State<AppState>,
    Path(job_id): Path<String>,
) -> Result<Json<FineTuningJob>, ApiError> {
    let evals = state.evals()?;
    let before = evals.store.job(TRAINING, &job_id).await?.status;
    let row = evals.store.cancel_job(TRAINING, &job_id).await?;
    if before != RunStatus::Canceled {
        tell(evals, &row, "the training was cancelled").await;
    }
    if before != RunStatus::InProgress {
        // Nobody works on it; whoever does removes it when it hears of this.
        let folder = training_folder(&evals.data.folder, &row.id);
        if let Err(error) = tokio::fs::remove_dir_all(&folder).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!(training = row.id, %error, "what a cancelled training wrote could not be removed");
        }
    }
    Ok(Json(shape::job(row)?))
}

/// Let a training stand still, with a checkpoint.
#[utoipa::path(
    post,
    path = "/v1/fine_tuning/jobs/{job_id}/pause",
    tag = "fine-tuning",
    params(("job_id" = String, Path)),
    responses(
        (status = 200, body = FineTuningJob),
        (status = 404, body = ErrorResponse),
        (status = 409, description = "It has come to an end already", body = ErrorResponse)
    )
)]
pub async fn pause_fine_tuning_job(
    State(state): State<AppState>,
    Path(job_id): Path<String>,
) -> Result<Json<FineTuningJob>, ApiError> {
    let evals = state.evals()?;
    let row = evals.store.pause_job(TRAINING, &job_id).await?;
    tell(evals, &row, "the training was paused").await;
    Ok(Json(shape::job(row)?))
}

/// Go on with a training that was paused or has failed, from its last checkpoint.
#[utoipa::path(
    post,
    path = "/v1/fine_tuning/jobs/{job_id}/resume",
    tag = "fine-tuning",
    params(("job_id" = String, Path)),
    responses(
        (status = 200, body = FineTuningJob),
        (status = 404, body = ErrorResponse),
        (status = 409, description = "It has come to its end", body = ErrorResponse)
    )
)]
pub async fn resume_fine_tuning_job(
    State(state): State<AppState>,
    Path(job_id): Path<String>,
) -> Result<Json<FineTuningJob>, ApiError> {
    let evals = state.evals()?;
    let row = evals.store.resume_job(TRAINING, &job_id).await?;
    tell(evals, &row, "the training was resumed").await;
    evals.wake_trainer();
    Ok(Json(shape::job(row)?))
}

async fn tell(evals: &Evals, row: &JobRow, message: &str) {
    if let Err(error) = evals.store.tell_job(&row.id, &[told("info", message)]).await {
        tracing::warn!(training = row.id, %error, "the store takes no events");
    }
}
