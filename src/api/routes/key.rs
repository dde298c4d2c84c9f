//! `/v1/key`: what the caller's key opens, for pages that show each user what they may do. `/v1/admin/keys`: all of them.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Request, State};

use crate::api::auth::{Peer, Scope};
use crate::api::error::ApiError;
use crate::api::keys::HeldKey;
use crate::api::state::AppState;
use crate::protocol::key::{KeyEntry, KeyInfo, KeyLimitsEntry, KeyUsageEntry};
use crate::protocol::{ErrorResponse, List};

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

/// Every key that the server knows, in the order of settings and file: what it opens, its limits, what it has used. Keys themselves
/// are not kept, only their hashes.
#[utoipa::path(
    get,
    path = "/v1/admin/keys",
    tag = "admin",
    responses((status = 200, body = List<KeyEntry>), (status = 403, body = ErrorResponse))
)]
pub async fn list_keys(State(state): State<AppState>) -> Json<List<KeyEntry>> {
    let now_ms = state.keys().clock.now_ms();
    let entries = state.keys().all().iter().map(|held| entry(held, now_ms)).collect();
    Json(List::of(entries, false, |entry: &KeyEntry| &entry.hash))
}

fn entry(HeldKey { key, usage }: &HeldKey, now_ms: u64) -> KeyEntry {
    let given = |limit: Option<NonZeroU32>| limit.map(NonZeroU32::get);
    KeyEntry {
        name: key.name.clone(),
        hash: key.hash.to_string(),
        source: if key.is_of_settings() { "settings" } else { "file" }.to_owned(),
        scopes: key.scopes.names().into_iter().map(str::to_owned).collect(),
        models: key.models.clone(),
        expires: key.expires.as_ref().map(ToString::to_string),
        is_expired: key.expires.as_ref().is_some_and(|expires| expires.is_over(now_ms)),
        shared_cache: key.shared_cache,
        priority: key.priority,
        limits: KeyLimitsEntry {
            requests_per_minute: given(key.limits.requests_per_minute),
            tokens_per_minute: given(key.limits.tokens_per_minute),
            tokens_per_day: given(key.limits.tokens_per_day),
            max_concurrent: given(key.limits.max_concurrent),
        },
        usage: KeyUsageEntry {
            requests: usage.requests.load(Ordering::Relaxed),
            tokens: usage.tokens.load(Ordering::Relaxed),
            tokens_today: usage.tokens_today(),
            refused: usage.refused.load(Ordering::Relaxed),
            running: usage.running(),
        },
    }
}
