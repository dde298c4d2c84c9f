//! `/v1/models`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};

use crate::api::error::ApiError;
use crate::api::request_log::RequestLog;
use crate::api::state::{AppState, check_may_ask, check_may_use};
use crate::protocol::ErrorResponse;
use crate::protocol::models::{ModelCard, ModelList};
use crate::registry::{CatalogueEntry, ServedEncoder, ServedModel};

/// The models that are served, then the adapters beside them, text encoders, models that are loaded when they are asked for, and
/// aliases, whose `parent` is the model that they stand for; those alone that the caller's key may use.
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, body = ModelList)))]
pub async fn list_models(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
) -> Json<ModelList> {
    let (models, adapters) = (state.registry().list(), state.registry().adapters());
    let texts = models.iter().chain(&adapters).map(|model| card(model));
    let encoders = state.registry().encoders();
    let (unloaded, aliases) = (state.registry().unloaded(), state.registry().aliases());
    let others = unloaded.iter().map(|(name, entry)| unloaded_card(name, entry));
    let others = others.chain(aliases.iter().map(|(alias, name)| alias_card(alias, name)));
    let all = texts.chain(encoders.iter().map(|encoder| encoder_card(encoder))).chain(others);
    let may_use = |card: &ModelCard| check_may_use(&log, &state.registry().real_name(&card.id)).is_ok();
    Json(ModelList::new(all.filter(may_use).collect()))
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
    Extension(log): Extension<Arc<RequestLog>>,
    Path(name): Path<String>,
) -> Result<Json<ModelCard>, ApiError> {
    check_may_ask(&log, &name, &state.registry().real_name(&name))?;
    if let Some(encoder) = state.registry().encoder(&name) {
        return Ok(Json(encoder_card(&encoder)));
    }
    if let Some((alias, real)) = state.registry().aliases().into_iter().find(|(alias, _)| *alias == name) {
        return Ok(Json(alias_card(&alias, &real)));
    }
    if let Some((name, entry)) = state.registry().unloaded().into_iter().find(|(known, _)| *known == name) {
        return Ok(Json(unloaded_card(&name, &entry)));
    }
    Ok(Json(card(&*state.model_for(&log, Some(&name))?)))
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

fn encoder_card(encoder: &ServedEncoder) -> ModelCard {
    ModelCard {
        id: encoder.name.clone(),
        object: "model".to_owned(),
        created: encoder.created,
        owned_by: "xenoglot".to_owned(),
        root: Some(encoder.source.display().to_string()),
        parent: None,
        max_model_len: Some(encoder.max_tokens() as u64),
    }
}

fn unloaded_card(name: &str, entry: &CatalogueEntry) -> ModelCard {
    ModelCard {
        id: name.to_owned(),
        object: "model".to_owned(),
        created: 0,
        owned_by: "xenoglot".to_owned(),
        root: Some(entry.path.display().to_string()),
        parent: None,
        max_model_len: None,
    }
}

fn alias_card(alias: &str, name: &str) -> ModelCard {
    ModelCard {
        id: alias.to_owned(),
        object: "model".to_owned(),
        created: 0,
        owned_by: "xenoglot".to_owned(),
        root: None,
        parent: Some(name.to_owned()),
        max_model_len: None,
    }
}
