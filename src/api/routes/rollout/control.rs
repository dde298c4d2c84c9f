//! `/pause`, `/resume` and `/is_paused`: engines that stand still while weights change.

use axum::Json;
use axum::extract::State;

use crate::api::error::ApiError;
use crate::api::routes::evals::query::Pairs;
use crate::api::state::AppState;
use crate::engine::PauseMode;
use crate::protocol::ErrorResponse;
use crate::protocol::rollout::PauseStatus;

/// Let every engine stand still. New requests are taken, and wait.
#[utoipa::path(
    post,
    path = "/pause",
    tag = "rollouts",
    params(
        ("mode" = Option<String>, Query, description = "`abort` (the default): what runs and waits ends with the tokens \
            that it has, as `abort`; `keep`: it stands still and goes on; `wait`: it comes to its end first"),
        ("clear_cache" = Option<bool>, Query, description = "Forget cached prefixes (the default)")
    ),
    responses(
        (status = 200, body = PauseStatus),
        (status = 400, body = ErrorResponse),
        (status = 403, body = ErrorResponse)
    )
)]
pub async fn pause(State(state): State<AppState>, query: Pairs) -> Result<Json<PauseStatus>, ApiError> {
    let query = query.only(&["mode", "clear_cache"])?;
    let mode = match query.get("mode") {
        None | Some("abort") => PauseMode::Abort,
        Some("keep") => PauseMode::Keep,
        Some("wait") => PauseMode::Wait,
        Some(_) => return Err(ApiError::invalid("mode", "`mode` must be `abort`, `keep` or `wait`")),
    };
    let clear_cache = match query.get("clear_cache") {
        None | Some("true" | "True" | "1") => true,
        Some("false" | "False" | "0") => false,
        Some(_) => return Err(ApiError::invalid("clear_cache", "`clear_cache` must be `true` or `false`")),
    };
    pause_all(&state, mode).await?;
    if clear_cache {
        for model in state.registry().list() {
            model.handle.reset_prefix_cache().await?;
        }
    }
    Ok(Json(PauseStatus { status: "paused".to_owned(), is_paused: true }))
}

/// Let every engine go on.
#[utoipa::path(
    post,
    path = "/resume",
    tag = "rollouts",
    responses((status = 200, body = PauseStatus), (status = 403, body = ErrorResponse))
)]
pub async fn resume(State(state): State<AppState>) -> Result<Json<PauseStatus>, ApiError> {
    resume_all(&state).await?;
    Ok(Json(PauseStatus { status: "resumed".to_owned(), is_paused: false }))
}

/// Whether an engine stands still.
#[utoipa::path(
    get,
    path = "/is_paused",
    tag = "rollouts",
    responses((status = 200, body = PauseStatus), (status = 403, body = ErrorResponse))
)]
pub async fn is_paused(State(state): State<AppState>) -> Json<PauseStatus> {
    let is_paused = state.registry().list().iter().any(|model| model.handle.is_paused());
    Json(PauseStatus { status: "ok".to_owned(), is_paused })
}

pub(super) async fn pause_all(state: &AppState, mode: PauseMode) -> Result<(), ApiError> {
    for model in state.registry().list() {
        model.handle.pause(mode).await?;
    }
    Ok(())
}

pub(super) async fn resume_all(state: &AppState) -> Result<(), ApiError> {
    for model in state.registry().list() {
        model.handle.resume().await?;
    }
    Ok(())
}
