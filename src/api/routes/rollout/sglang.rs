//! SGLang's routes for what trainers of its kind do: weights from a folder, pauses.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;

use super::control::{pause_all, resume_all};
use super::weights::replace_from;
use crate::api::body::StrictJson;
use crate::api::error::ApiError;
use crate::api::state::AppState;
use crate::engine::PauseMode;
use crate::protocol::ErrorResponse;
use crate::protocol::rollout::{PauseGenerationRequest, PauseStatus, UpdateFromDiskRequest, UpdatedFromDisk};

/// Compute with the weights of a checkpoint's folder from the engine's next step on.
#[utoipa::path(
    post,
    path = "/update_weights_from_disk",
    tag = "rollouts",
    request_body = UpdateFromDiskRequest,
    responses(
        (status = 200, body = UpdatedFromDisk),
        (status = 400, description = "The old weights go on serving", body = ErrorResponse),
        (status = 403, body = ErrorResponse),
        (status = 404, description = "There is no such folder", body = ErrorResponse)
    )
)]
pub async fn update_weights_from_disk(
    State(state): State<AppState>,
    StrictJson(request): StrictJson<UpdateFromDiskRequest>,
) -> Result<Json<UpdatedFromDisk>, ApiError> {
    // A caller that hangs up must not leave half of it done.
    tokio::spawn(update_from_disk(state, request)).await.map_err(|error| {
        tracing::error!(%error, "a weight update panicked");
        ApiError::internal("the server failed on this weight update; its log says why")
    })?
}

async fn update_from_disk(
    state: AppState,
    request: UpdateFromDiskRequest,
) -> Result<Json<UpdatedFromDisk>, ApiError> {
    let model = state.model(None)?;
    let aside = if request.abort_all_requests { Some(model.handle.stand_aside().await?) } else { None };
    let was_paused = aside.as_ref().map_or_else(|| model.handle.is_paused(), |aside| aside.was_paused);
    let replaced = replace_from(&state, &model, "model_path", &request.model_path).await;
    let stats = model.handle.stats();
    let waiting =
        stats.requests_running.load(Ordering::Relaxed) + stats.requests_waiting.load(Ordering::Relaxed);
    drop(aside);
    if request.flush_cache != Some(false) {
        model.handle.reset_prefix_cache().await?;
    }
    Ok(Json(UpdatedFromDisk {
        success: true,
        message: "Succeeded to update model weights.".to_owned(),
        weight_version: replaced?,
        num_paused_requests: if was_paused { waiting } else { 0 },
    }))
}

/// Let the engine stand still. New requests are taken, and wait.
#[utoipa::path(
    post,
    path = "/pause_generation",
    tag = "rollouts",
    request_body = PauseGenerationRequest,
    responses(
        (status = 200, body = PauseStatus),
        (status = 400, body = ErrorResponse),
        (status = 403, body = ErrorResponse)
    )
)]
pub async fn pause_generation(
    State(state): State<AppState>,
    StrictJson(request): StrictJson<PauseGenerationRequest>,
) -> Result<Json<PauseStatus>, ApiError> {
    let mode = match request.mode.as_deref() {
        None | Some("abort") => PauseMode::Abort,
        Some("in_place" | "retract") => PauseMode::Keep,
        Some(_) => {
            return Err(ApiError::invalid("mode", "`mode` must be `abort`, `in_place` or `retract`"));
        }
    };
    pause_all(&state, mode).await?;
    Ok(Json(PauseStatus { status: "ok".to_owned(), is_paused: true }))
}

/// Let the engine go on.
#[utoipa::path(
    post,
    path = "/continue_generation",
    tag = "rollouts",
    responses((status = 200, body = PauseStatus), (status = 403, body = ErrorResponse))
)]
pub async fn continue_generation(State(state): State<AppState>) -> Result<Json<PauseStatus>, ApiError> {
    resume_all(&state).await?;
    Ok(Json(PauseStatus { status: "ok".to_owned(), is_paused: false }))
}
