//! LoRA adapters come and go while the server runs: vLLM's routes, with its texts of success.

use std::path::PathBuf;

use axum::extract::State;

use super::admin::check_name;
use super::rollout::trainers_path;
use crate::api::body::StrictJson;
use crate::api::error::ApiError;
use crate::api::state::AppState;
use crate::protocol::ErrorResponse;
use crate::protocol::admin::{LoadLoraAdapterRequest, UnloadLoraAdapterRequest};
use crate::registry::{AdapterSpec, RegistryError, existing_below};

/// Load a LoRA adapter and serve it under its own name beside its base. Answers when it is ready.
#[utoipa::path(
    post,
    path = "/v1/load_lora_adapter",
    tag = "admin",
    request_body = LoadLoraAdapterRequest,
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = 400, body = ErrorResponse),
        (status = 403, body = ErrorResponse),
        (status = 404, description = "There is no such folder, or no such base", body = ErrorResponse)
    )
)]
pub async fn load_lora_adapter(
    State(state): State<AppState>,
    StrictJson(request): StrictJson<LoadLoraAdapterRequest>,
) -> Result<String, ApiError> {
    if request.lora_name.is_empty() || request.lora_path.is_empty() {
        let param = if request.lora_name.is_empty() { "lora_name" } else { "lora_path" };
        return Err(ApiError::invalid(param, "Both 'lora_name' and 'lora_path' must be provided."));
    }
    check_name("lora_name", &request.lora_name)?;
    let loader = state.clone();
    let name = request.lora_name.clone();
    // Not through `AppState::blocking`: reading takes a while and must not hold up prompts.
    let loading = tokio::task::spawn_blocking(move || {
        let path = adapter_path(&loader, &request.lora_path)
            .ok_or_else(|| {
                ApiError::not_found("adapter, served or below a folder of models", &request.lora_path)
            })
            .map_err(|error| error.with_param("lora_path"))?;
        let spec = AdapterSpec {
            name: request.lora_name,
            path,
            base: request.base_model_name,
            replace: request.load_inplace == Some(true),
        };
        loader.registry().load_adapter(spec).map_err(refused)
    });
    loading.await.map_err(|error| {
        tracing::error!(%error, "loading an adapter panicked");
        ApiError::internal("the server failed to load this adapter; its log says why")
    })??;
    Ok(format!("Success: LoRA adapter '{name}' added successfully."))
}

/// Take a LoRA adapter out of service. Its running requests go on; new ones get 404.
#[utoipa::path(
    post,
    path = "/v1/unload_lora_adapter",
    tag = "admin",
    request_body = UnloadLoraAdapterRequest,
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = 400, body = ErrorResponse),
        (status = 403, body = ErrorResponse),
        (status = 404, description = "There is no adapter of this name", body = ErrorResponse)
    )
)]
pub async fn unload_lora_adapter(
    State(state): State<AppState>,
    StrictJson(request): StrictJson<UnloadLoraAdapterRequest>,
) -> Result<String, ApiError> {
    let name = request.lora_name;
    if name.is_empty() {
        return Err(ApiError::invalid(
            "lora_name",
            "'lora_name' needs to be provided to unload a LoRA adapter.",
        ));
    }
    let gone = state.registry().remove_adapter(&name).map_err(refused)?;
    state.metrics().forget(&gone);
    Ok(format!("Success: LoRA adapter '{name}' removed successfully."))
}

/// Of an adapter that is served, by its name; else below the trainer's folder, the models directory, or the folder of a model
/// that the server was started with or has loaded.
fn adapter_path(state: &AppState, text: &str) -> Option<PathBuf> {
    let registry = state.registry();
    if let Some(served) = registry.get(text).ok().filter(|model| model.adapter.is_some()) {
        return Some(served.source.clone());
    }
    let below = |folder: &PathBuf| existing_below(folder, text);
    trainers_path(state, text).or_else(|| registry.folders().iter().find_map(below))
}

/// The general answers, with these routes' names of fields.
fn refused(error: RegistryError) -> ApiError {
    let message = error.to_string();
    match error {
        RegistryError::NameTaken { .. } | RegistryError::AdapterLoaded { .. } => {
            ApiError::invalid("lora_name", message)
        }
        RegistryError::UnknownModel { .. } => ApiError::from(error).with_param("base_model_name"),
        RegistryError::AmbiguousBase { .. } => ApiError::invalid("base_model_name", message),
        RegistryError::UnknownAdapter { .. } | RegistryError::TooManyAdapters { .. } => error.into(),
        // What is wrong with an adapter is wrong with the path that names it.
        _ => ApiError::invalid("lora_path", message),
    }
}
