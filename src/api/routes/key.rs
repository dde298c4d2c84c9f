//! `/v1/key`: what the caller's key opens, for pages that show each user what they may do.

use axum::Json;
use axum::extract::{Request, State};

use crate::api::auth::{Peer, Scope};
use crate::api::error::ApiError;
use crate::api::state::AppState;
use crate::protocol::ErrorResponse;
use crate::protocol::key::KeyInfo;

const SCOPES: [(Scope, &str); 4] = [
    (Scope::Inference, "inference"),
    (Scope::Metrics, "metrics"),
    (Scope::Rollout, "rollouts"),
    (Scope::Admin, "admin"),
];

/// The caller's key: its name, its scopes, its models. Without a key, what is open to this caller. Nothing is counted against the
/// key, so that one whose requests are used up is told from a wrong one.
#[utoipa::path(
    get,
    path = "/v1/key",
    tag = "server",
    responses(
        (status = 200, body = KeyInfo),
        (status = 401, description = "A key is needed, or this one is wrong or over", body = ErrorResponse),
        (status = 403, description = "No key, and the caller is not this machine", body = ErrorResponse)
    )
)]
pub async fn get_key(State(state): State<AppState>, request: Request) -> Result<Json<KeyInfo>, ApiError> {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    // The door itself is asked, so that this never says more or less than it lets in.
    let ask = |scope| state.options().auth.check(state.keys(), scope, request.headers(), peer);
    let opened: Vec<_> =
        SCOPES.into_iter().filter_map(|(scope, name)| Some((name, ask(scope).ok()?))).collect();
    let Some((_, held)) = opened.first() else {
        return Err(ask(Scope::Inference).err().unwrap_or_else(|| ApiError::forbidden("nothing is open")));
    };
    let key = held.as_deref().map(|held| &held.key);
    Ok(Json(KeyInfo {
        name: key.map(|key| key.name.clone()),
        models: key.and_then(|key| key.models.clone()),
        expires: key.and_then(|key| key.expires.as_ref()).map(ToString::to_string),
        scopes: opened.iter().map(|(name, _)| (*name).to_owned()).collect(),
    }))
}
