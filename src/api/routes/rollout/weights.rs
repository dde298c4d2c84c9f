//! Weight updates in vLLM's shapes: over a connection to the trainer, or from a checkpoint's folder.
//!
//! The work of a call goes on when its caller hangs up: half an update would leave trainer and server out of step.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::body::StrictJson;
use crate::api::error::ApiError;
use crate::api::state::AppState;
use crate::protocol::ErrorResponse;
use crate::protocol::rollout::{InitWeightTransferRequest, UpdateWeightsRequest, WeightsStatus};
use crate::registry::{Announcement, ServedModel, Trainer, UpdateError, existing_below};

/// Connect to a trainer that listens for it, now or within five seconds.
#[utoipa::path(
    post,
    path = "/init_weight_transfer_engine",
    tag = "rollouts",
    request_body = InitWeightTransferRequest,
    responses(
        (status = 200, body = WeightsStatus),
        (status = 400, description = "The address is not allowed, or nobody listens there", body = ErrorResponse),
        (status = 403, body = ErrorResponse)
    )
)]
pub async fn init_weight_transfer_engine(
    State(state): State<AppState>,
    StrictJson(request): StrictJson<InitWeightTransferRequest>,
) -> Result<Json<WeightsStatus>, ApiError> {
    let (model, updates) = (state.model(None)?, state.weight_updates());
    let info = request.init_info;
    let trainer =
        Trainer { host: info.master_address, port: info.master_port, checksum: info.checksum == Some(true) };
    to_the_end(async move { updates.connect(trainer).await }).await?;
    Ok(status(&model))
}

/// Begin a weight update; what an earlier one that was not finished received is forgotten.
#[utoipa::path(
    post,
    path = "/start_weight_update",
    tag = "rollouts",
    responses((status = 200, body = WeightsStatus), (status = 403, body = ErrorResponse))
)]
pub async fn start_weight_update(State(state): State<AppState>) -> Result<Json<WeightsStatus>, ApiError> {
    let model = state.model(None)?;
    state.weight_updates().start().await;
    Ok(status(&model))
}

/// Receive tensors from the trainer, which take effect together when the update is finished; or read a checkpoint's folder,
/// which takes effect at once. Answers when all of it is there and checked.
#[utoipa::path(
    post,
    path = "/update_weights",
    tag = "rollouts",
    request_body = UpdateWeightsRequest,
    responses(
        (status = 200, body = WeightsStatus),
        (status = 400, description = "The old weights go on serving", body = ErrorResponse),
        (status = 403, body = ErrorResponse),
        (status = 409, description = "No update was started, or no trainer is connected", body = ErrorResponse)
    )
)]
pub async fn update_weights(
    State(state): State<AppState>,
    StrictJson(request): StrictJson<UpdateWeightsRequest>,
) -> Result<Json<WeightsStatus>, ApiError> {
    let model = state.model(None)?;
    if let Some(path) = &request.weight_dir {
        replace_from(&state, &model, "weight_dir", path).await?;
        return Ok(status(&model));
    }
    let (updates, receiver) = (state.weight_updates(), model.clone());
    let info = request.update_info.unwrap_or_default();
    let announced = Announcement { names: info.names, dtypes: info.dtype_names, shapes: info.shapes };
    to_the_end(async move { updates.receive(&receiver, announced).await }).await?;
    Ok(status(&model))
}

/// Compute with what the update received, from the engine's next step on.
#[utoipa::path(
    post,
    path = "/finish_weight_update",
    tag = "rollouts",
    responses(
        (status = 200, body = WeightsStatus),
        (status = 403, body = ErrorResponse),
        (status = 409, description = "Something of the update failed; the old weights go on serving", body = ErrorResponse)
    )
)]
pub async fn finish_weight_update(State(state): State<AppState>) -> Result<Json<WeightsStatus>, ApiError> {
    let model = state.model(None)?;
    let (updates, receiver) = (state.weight_updates(), model.clone());
    to_the_end(async move { updates.finish(&receiver).await }).await?;
    Ok(status(&model))
}

/// The version of the weights, once those of a folder are computed with.
pub(super) async fn replace_from(
    state: &AppState,
    model: &Arc<ServedModel>,
    field: &'static str,
    path: &str,
) -> Result<u64, ApiError> {
    let folder = trainers_path(state, path)
        .ok_or_else(|| ApiError::not_found("folder below `weights_dir` or the models directory", path))
        .map_err(|error| error.with_param(field))?;
    let (updates, receiver) = (state.weight_updates(), model.clone());
    let replaced = to_the_end(async move { updates.replace_from(&receiver, folder).await }).await;
    replaced.map_err(|error| if error.body.param.is_none() { error.with_param(field) } else { error })
}

/// The real path of what a trainer wrote.
pub fn trainers_path(state: &AppState, path: &str) -> Option<PathBuf> {
    let weights_dir = state.options().rollouts.weights_dir.as_deref();
    let mut roots = weights_dir.into_iter().chain([state.registry().models_dir()]);
    roots.find_map(|root: &Path| existing_below(root, path))
}

async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, UpdateError>> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::spawn(work).await.map_err(|error| {
        tracing::error!(%error, "a weight update panicked");
        ApiError::internal("the server failed on this weight update; its log says why")
    })?;
    done.map_err(|error| {
        tracing::warn!(%error, "a weight update was refused");
        error.into()
    })
}

fn status(model: &ServedModel) -> Json<WeightsStatus> {
    Json(WeightsStatus { status: "ok".to_owned(), weight_version: model.weight_version() })
}
