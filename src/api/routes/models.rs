//! `/v1/models`.

use axum::Json;
use axum::extract::{Path, State};

use crate::api::error::ApiError;
use crate::api::state::AppState;
use crate::protocol::ErrorResponse;
use crate::protocol::models::{ModelCard, ModelList};
use crate::registry::ServedModel;

/// The models that are served, then the adapters beside them.
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, body = ModelList)))]
pub async fn list_models(State(state): State<AppState>) -> Json<ModelList> {
    let (models, adapters) = (state.registry().list(), state.registry().adapters());
    Json(ModelList::new(models.iter().chain(&adapters).map(|model| card(model)).collect()))
}

/// One model. Its id may contain slashes.
#[utoipa::path(
    get,
    path = "/v1/models/{*model}",
    tag = "models",
    params(("model" = String, Path, description = "The id from the list")),
    responses((status = 200, body = ModelCard), (status = 404, body = ErrorResponse))
)]
pub async fn get_model(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<ModelCard>, ApiError> {
    Ok(Json(card(&*state.model(Some(&name))?)))
}

pub fn card(model: &ServedModel) -> ModelCard {
    ModelCard {
        id: model.name.clone(),
        object: "model".to_owned(),
        created: model.created,
        owned_by: "xenoglot".to_owned(),
        root: Some(model.source.display().to_string()),
        parent: model.adapter.as_ref().map(|adapter| adapter.base.clone()),
        max_model_len: Some(model.max_model_len as u64),
    }
}
