//! Admin: the prefix cache, and models that come and go.

use std::path::{Path as FilePath, PathBuf};
use std::str::FromStr;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::models::card;
use crate::api::body::StrictJson;
use crate::api::error::ApiError;
use crate::api::state::AppState;
use crate::protocol::ErrorResponse;
use crate::protocol::admin::{Done, LoadModelRequest, UnloadedModel};
use crate::protocol::models::ModelCard;
use crate::registry::{LoadSpec, existing_below};

/// Forget every cached prefix that no running request holds.
#[utoipa::path(
    post,
    path = "/reset_prefix_cache",
    tag = "admin",
    responses((status = 200, body = Done), (status = 403, body = ErrorResponse))
)]
pub async fn reset_prefix_cache(State(state): State<AppState>) -> Result<Json<Done>, ApiError> {
    for model in state.registry().list() {
        model.handle.reset_prefix_cache().await?;
    }
    Ok(Json(Done { status: "ok".to_owned() }))
}

/// Load a model and serve it. Answers when it is ready.
#[utoipa::path(
    post,
    path = "/v1/admin/models",
    tag = "admin",
    request_body = LoadModelRequest,
    responses(
        (status = 201, body = ModelCard),
        (status = 400, body = ErrorResponse),
        (status = 403, body = ErrorResponse),
        (status = 409, description = "The name is taken", body = ErrorResponse)
    )
)]
pub async fn load_model(
    State(state): State<AppState>,
    StrictJson(request): StrictJson<LoadModelRequest>,
) -> Result<(StatusCode, Json<ModelCard>), ApiError> {
    let registry = state.registry().clone();
    check_name("name", &request.name)?;
    let mut options = registry.defaults().clone();
    if let Some(dtype) = &request.dtype {
        options.dtype = parse("dtype", dtype)?;
    }
    if let Some(quantize) = &request.quantize {
        options.quantize = parse("quantize", quantize)?;
    }
    if request.max_model_len == Some(0) {
        return Err(ApiError::invalid("max_model_len", "`max_model_len` must be at least 1"));
    }
    // The server's own limit was chosen for the model it was started with, which may be made for more.
    options.max_model_len = request.max_model_len.map(|tokens| tokens as usize);
    // Not through `AppState::blocking`: loading takes seconds and must not hold up prompts.
    let loading = tokio::task::spawn_blocking(move || {
        let path = below(registry.models_dir(), &request.path)?;
        Ok::<_, ApiError>(registry.load(LoadSpec { name: request.name, path, options })?)
    });
    let model = loading.await.map_err(|error| {
        tracing::error!(%error, "loading a model panicked");
        ApiError::internal("the server failed to load this model; its log says why")
    })??;
    Ok((StatusCode::CREATED, Json(card(&model))))
}

/// Take a model out of service. Running requests get `drain_timeout_seconds`, then fail; new ones get 404 at once.
#[utoipa::path(
    delete,
    path = "/v1/admin/models/{*model}",
    tag = "admin",
    params(("model" = String, Path, description = "The id from the list")),
    responses((status = 200, body = UnloadedModel), (status = 404, body = ErrorResponse))
)]
pub async fn unload_model(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<UnloadedModel>, ApiError> {
    if let Some(gone) = unload_adapter(&state, &name)? {
        return Ok(Json(gone));
    }
    let removed = state.registry().remove(&name)?;
    // Now and not after the drain: a model of the same name may be loaded in the meantime.
    for model in &removed {
        state.metrics().forget(model);
    }
    let Some(model) = removed.into_iter().next() else {
        return Err(ApiError::internal("the model was taken out of service and left nothing behind"));
    };
    let unloaded = name.clone();
    // A task of its own: a caller that hangs up must not leave the model half unloaded.
    let draining = tokio::spawn(async move {
        if !model.handle.drain_within(state.options().drain_timeout).await {
            tracing::error!(model = unloaded, "the engine did not stop in time");
        }
    });
    draining.await.map_err(|error| {
        tracing::error!(%error, "unloading a model panicked");
        ApiError::internal("the server failed to unload this model; its log says why")
    })?;
    Ok(Json(UnloadedModel { id: name, object: "model".to_owned(), deleted: true }))
}

/// An adapter goes at once; its engine runs on.
fn unload_adapter(state: &AppState, name: &str) -> Result<Option<UnloadedModel>, ApiError> {
    let is_adapter = state.registry().get(name).is_ok_and(|model| model.adapter.is_some());
    if !is_adapter {
        return Ok(None);
    }
    state.metrics().forget(&state.registry().remove_adapter(name)?);
    Ok(Some(UnloadedModel { id: name.to_owned(), object: "model".to_owned(), deleted: true }))
}

/// A name goes into URLs, labels and logs.
pub(super) fn check_name(field: &'static str, name: &str) -> Result<(), ApiError> {
    let fits = |c: char| c.is_alphanumeric() || "-_./:@+".contains(c);
    if name.is_empty() || name.chars().count() > 128 || !name.chars().all(fits) || name.starts_with('/') {
        let message = "a name has 1 to 128 letters, digits and `-_./:@+`, and does not begin with `/`";
        return Err(ApiError::invalid(field, message));
    }
    Ok(())
}

/// An option's value, spelled as in the settings.
fn parse<T: FromStr<Err = String>>(field: &'static str, text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|message: String| ApiError::invalid(field, format!("`{field}`: {message}")))
}

/// # Errors
/// 400 for what is not there and for what lies elsewhere alike.
fn below(root: &FilePath, path: &str) -> Result<PathBuf, ApiError> {
    existing_below(root, path).ok_or_else(|| {
        let root = root.display();
        ApiError::invalid("path", format!("there is no such model below the models directory ({root})"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        let check =
            |name: &str, expected: bool| assert_eq!(check_name("name", name).is_ok(), expected, "{name}");
        check("org/model-1.5B_chat:v2", true);
        check("模型", true);
        check("", false);
        check("/v1", false);
        check("a b", false);
        check("a\nb", false);
        check(&"x".repeat(129), false);
    }
}
