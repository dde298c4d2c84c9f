//! `/health`, `/ping`, `/load`, `/version`, `/metrics`: for probes and dashboards.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use crate::api::error::ApiError;
use crate::api::request_log::RequestLog;
use crate::api::state::AppState;
use crate::engine::EngineHandle;
use crate::protocol::ErrorResponse;
use crate::protocol::health::{Health, ModelHealth, ServerLoad, Version};

/// 200 while every model's engine is alive, else 503. Models are named to callers with a key, and where no key is asked for.
#[utoipa::path(
    get,
    path = "/health",
    tag = "server",
    responses((status = 200, body = Health), (status = 503, body = Health))
)]
pub async fn health(State(state): State<AppState>, headers: HeaderMap) -> (StatusCode, Json<Health>) {
    let watchdog = state.options().watchdog;
    let model = |name: &str, engine: &EngineHandle| {
        let reason = problem(engine, watchdog);
        ModelHealth { name: name.to_owned(), healthy: reason.is_none(), reason }
    };
    let mut models: Vec<_> =
        state.registry().list().iter().map(|served| model(&served.name, &served.handle)).collect();
    let healthy = models.iter().all(|model| model.healthy);
    let (status, code) =
        if healthy { ("ok", StatusCode::OK) } else { ("unhealthy", StatusCode::SERVICE_UNAVAILABLE) };
    models.retain(|model| state.options().auth.may_know(state.keys(), &headers, &model.name));
    (code, Json(Health { status: status.to_owned(), models }))
}

/// The same as `/health`, for probes that ask here.
#[utoipa::path(
    get,
    path = "/ping",
    tag = "server",
    responses((status = 200, body = Health), (status = 503, body = Health))
)]
pub async fn ping(state: State<AppState>, headers: HeaderMap) -> (StatusCode, Json<Health>) {
    health(state, headers).await
}

/// What is wrong with an engine. One without work may sleep as long as it likes.
fn problem(engine: &EngineHandle, watchdog: Duration) -> Option<String> {
    if let Some(reason) = engine.stopped() {
        return Some(format!("the engine has stopped: {reason}"));
    }
    let stats = engine.stats();
    let busy =
        stats.requests_running.load(Ordering::Relaxed) + stats.requests_waiting.load(Ordering::Relaxed) > 0;
    let silent_ms = engine.uptime_ms().saturating_sub(stats.heartbeat_ms.load(Ordering::Relaxed));
    let late = busy && u128::from(silent_ms) > watchdog.as_millis();
    late.then(|| format!("the engine has work and has not moved on for {} s", silent_ms / 1000))
}

/// How many requests are computed or wait, for balancers.
#[utoipa::path(
    get,
    path = "/load",
    tag = "server",
    responses((status = 200, body = ServerLoad), (status = 401, body = ErrorResponse))
)]
pub async fn load(State(state): State<AppState>) -> Json<ServerLoad> {
    let of = |engine: &EngineHandle| {
        let stats = engine.stats();
        stats.requests_running.load(Ordering::Relaxed) + stats.requests_waiting.load(Ordering::Relaxed)
    };
    let server_load = state.registry().list().iter().map(|model| of(&model.handle) as u64).sum();
    Json(ServerLoad { server_load })
}

/// The version of the server.
#[utoipa::path(get, path = "/version", tag = "server", responses((status = 200, body = Version)))]
pub async fn version() -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION").to_owned() })
}

/// Counters, gauges and histograms in Prometheus' text format. An inference key sees no series of other keys, and a key that is held to some models none of others.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "server",
    responses(
        (status = 200, body = String, content_type = "text/plain; version=0.0.4"),
        (status = 401, body = ErrorResponse)
    )
)]
pub async fn metrics(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
) -> Result<Response, ApiError> {
    let models = state.registry().list();
    let engines = models.iter().map(|model| (model.name.as_str(), &model.handle));
    let mut keys = state.keys().all().to_vec();
    if let Some(own) =
        log.key.get().map(|held| &held.key).filter(|key| !key.scopes.metrics && !key.scopes.admin)
    {
        keys.retain(|held| held.key.name == own.name);
    }
    let text = state.metrics().scrape(engines, &keys, log.held_to());
    let text = text.map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
