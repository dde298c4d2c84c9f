//! `/v1/merges`: models merged on the server, followed as they are, and served without a restart.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::response::sse::Event;
use futures::{StreamExt, stream};
use serde_json::Value;

use super::evals::query::Pairs;
use crate::api::body::StrictJson;
use crate::api::error::ApiError;
use crate::api::evals::Evals;
use crate::api::sse;
use crate::api::state::AppState;
use crate::jobs::{MERGE, MergeSpec, submit_merge};
use crate::merge::{MergeError, discard};
use crate::protocol::ErrorResponse;
use crate::protocol::List;
use crate::protocol::merge_plans::{MergePlan, PlanMergeRequest};
use crate::protocol::merges::{CreateMergeRequest, Merge, MergeAmounts};
use crate::registry::new_below;
use crate::store::{JobRow, Order, RunStatus};

/// Merge models of the models directory. The result is served under the output's name when it is there.
#[utoipa::path(
    post,
    path = "/v1/merges",
    tag = "merges",
    request_body = CreateMergeRequest,
    responses(
        (status = 201, body = Merge),
        (status = 400, body = ErrorResponse),
        (status = 403, body = ErrorResponse)
    )
)]
pub async fn create_merge(
    State(state): State<AppState>,
    StrictJson(request): StrictJson<CreateMergeRequest>,
) -> Result<(StatusCode, Json<Merge>), ApiError> {
    let evals = state.evals()?;
    let spec = MergeSpec {
        config: config_text(request.config),
        output: request.output,
        seed: request.seed.unwrap_or(0),
        allow_crimes: request.allow_crimes.unwrap_or(false),
        serve: request.serve.unwrap_or(true),
    };
    if spec.serve {
        check_name(&state, &spec.output)?;
    }
    let (checked, root) = (spec.clone(), state.registry().models_dir().to_owned());
    // Headers are read, and nothing is written: a merge that cannot be is told now.
    let planned = tokio::task::spawn_blocking(move || {
        let folder = checked.folder(&root);
        folder.map_err(|problem| ApiError::invalid("output", format!("`output` {problem}")))?;
        checked.plan(&root).map(drop).map_err(wrong_config)
    });
    planned.await.map_err(ApiError::panicked)??;
    let row = submit_merge(&evals.store, &spec).await?;
    evals.wake_merger();
    Ok((StatusCode::CREATED, Json(shown(row)?)))
}

fn config_text(config: Value) -> String {
    match config {
        Value::String(text) => text,
        config => config.to_string(),
    }
}

/// What a merge would do: each layer of the output with the models it is made of, how, and with which numbers. Nothing is written.
/// What is wrong with the configuration is a 400 whose `param` is `config` and the path of keys, and whose message names the line.
#[utoipa::path(
    post,
    path = "/v1/merges/plan",
    tag = "merges",
    request_body = PlanMergeRequest,
    responses(
        (status = 200, body = MergePlan),
        (status = 400, body = ErrorResponse),
        (status = 403, body = ErrorResponse),
        (status = 409, description = "A model is served under the output's name", body = ErrorResponse)
    )
)]
pub async fn plan_merge(
    State(state): State<AppState>,
    StrictJson(request): StrictJson<PlanMergeRequest>,
) -> Result<Json<MergePlan>, ApiError> {
    let output = request.output;
    let spec = MergeSpec {
        config: config_text(request.config),
        output: output.clone().unwrap_or_default(),
        seed: request.seed.unwrap_or(0),
        allow_crimes: request.allow_crimes.unwrap_or(false),
        serve: request.serve.unwrap_or(true),
    };
    if spec.serve && output.is_some() {
        check_name(&state, &spec.output)?;
    }
    let root = state.registry().models_dir().to_owned();
    let planned = tokio::task::spawn_blocking(move || {
        if output.is_some() {
            spec.folder(&root)
                .map_err(|problem| ApiError::invalid("output", format!("`output` {problem}")))?;
        }
        let job = spec.plan(&root).map_err(|error| match &error {
            MergeError::Config(config) => {
                let param = config.key().map_or("config".to_owned(), |key| format!("config.{key}"));
                wrong_config(error).with_param(param)
            }
            _ => wrong_config(error),
        })?;
        Ok::<_, ApiError>(MergePlan { output, ..job.plan.outline(&job.config, &job.models) })
    });
    Ok(Json(planned.await.map_err(ApiError::panicked)??))
}

fn check_name(state: &AppState, output: &str) -> Result<(), ApiError> {
    if state.registry().get(output).is_err() {
        return Ok(());
    }
    let message = format!("`output`: a model is served under the name `{output}` already");
    Err(ApiError::conflict(message).with_param("output"))
}

/// What is wrong with a merge is wrong with its configuration, whose key and line the message names.
fn wrong_config(error: MergeError) -> ApiError {
    match error {
        error @ (MergeError::Io { .. } | MergeError::Output { .. }) => {
            tracing::error!(%error, "a merge could not be planned");
            ApiError::internal("the server failed on this request; its log says why")
        }
        error => ApiError::invalid("config", format!("`config`: {error}")),
    }
}

/// Merges by age, a page at a time.
#[utoipa::path(
    get,
    path = "/v1/merges",
    tag = "merges",
    params(
        ("after" = Option<String>, Query, description = "The id that the page begins after"),
        ("limit" = Option<u32>, Query, description = "From 1 to 100, 20 by default"),
        ("order" = Option<String>, Query, description = "`asc` (the default) or `desc`")
    ),
    responses((status = 200, body = List<Merge>), (status = 403, body = ErrorResponse))
)]
pub async fn list_merges(State(state): State<AppState>, query: Pairs) -> Result<Json<List<Merge>>, ApiError> {
    let query = query.only(&["after", "limit", "order"])?;
    let page = state.evals()?.store.jobs(MERGE, &query.page(Order::Ascending)?).await?;
    let data: Vec<Merge> = page.rows.into_iter().map(shown).collect::<Result<_, _>>()?;
    Ok(Json(List::of(data, page.has_more, |merge| &merge.id)))
}

#[utoipa::path(
    get,
    path = "/v1/merges/{merge_id}",
    tag = "merges",
    params(("merge_id" = String, Path)),
    responses((status = 200, body = Merge), (status = 404, body = ErrorResponse))
)]
pub async fn get_merge(
    State(state): State<AppState>,
    Path(merge_id): Path<String>,
) -> Result<Json<Merge>, ApiError> {
    Ok(Json(shown(state.evals()?.store.job(MERGE, &merge_id).await?)?))
}

/// End a merge; what it wrote is removed.
#[utoipa::path(
    post,
    path = "/v1/merges/{merge_id}/cancel",
    tag = "merges",
    params(("merge_id" = String, Path)),
    responses(
        (status = 200, body = Merge),
        (status = 404, body = ErrorResponse),
        (status = 409, description = "It has come to an end already", body = ErrorResponse)
    )
)]
pub async fn cancel_merge(
    State(state): State<AppState>,
    Path(merge_id): Path<String>,
) -> Result<Json<Merge>, ApiError> {
    let canceled = shown(state.evals()?.store.cancel_job(MERGE, &merge_id).await?)?;
    let (root, output) = (state.registry().models_dir().to_owned(), canceled.output.clone());
    // Where nobody works on it; whoever does removes it when it hears of this.
    let cleared = tokio::task::spawn_blocking(move || match new_below(&root, &output) {
        Ok(folder) => discard(&folder).map_err(|error| error.to_string()),
        Err(problem) => Err(format!("`{output}` {problem}")),
    })
    .await;
    if let Ok(Err(error)) = cleared {
        tracing::error!(merge = canceled.id, %error, "what a canceled merge wrote could not be removed");
    }
    Ok(Json(canceled))
}

/// A merge's progress as server-sent events: `merge`, the merge as `GET` shows it, whenever it changed; `[DONE]` at its end.
#[utoipa::path(
    get,
    path = "/v1/merges/{merge_id}/events",
    tag = "merges",
    params(("merge_id" = String, Path)),
    responses(
        (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
        (status = 404, body = ErrorResponse)
    )
)]
pub async fn merge_events(
    State(state): State<AppState>,
    Path(merge_id): Path<String>,
) -> Result<Response, ApiError> {
    let evals = state.shared_evals()?;
    evals.store.job(MERGE, &merge_id).await?;
    let follower = Follower { evals, merge: merge_id, seen: -1 };
    let events = stream::unfold(Some(follower), |follower| async move { follower?.next().await });
    Ok(sse::keep_alive(events.flat_map(|events| stream::iter(events.into_iter().map(Ok)))))
}

/// How often a merge is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

struct Follower {
    evals: Arc<Evals>,
    merge: String,
    /// Number of the change last told.
    seen: i64,
}

impl Follower {
    async fn next(mut self) -> Option<(Vec<Event>, Option<Self>)> {
        let mut stopping = self.evals.stopping();
        loop {
            let row = match self.evals.store.job(MERGE, &self.merge).await {
                Ok(row) => row,
                Err(error) => return Some((vec![sse::error_event(error.into()), sse::done()], None)),
            };
            if row.sequence != self.seen {
                self.seen = row.sequence;
                let has_ended = row.status.is_final() || row.status == RunStatus::Failed;
                let shown = shown(row).and_then(|merge| {
                    Event::default()
                        .event("merge")
                        .json_data(merge)
                        .map_err(|error| ApiError::internal(error.to_string()))
                });
                let event = shown.unwrap_or_else(sse::error_event);
                return Some(if has_ended {
                    (vec![event, sse::done()], None)
                } else {
                    (vec![event], Some(self))
                });
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stopping.wait_for(|stop| *stop) => return Some((vec![sse::done()], None)),
            }
        }
    }
}

fn shown(row: JobRow) -> Result<Merge, ApiError> {
    let unreadable = |error: serde_json::Error| {
        tracing::error!(%error, "a merge cannot be read");
        ApiError::internal("the merge cannot be read; the log says why")
    };
    let spec: MergeSpec = serde_json::from_value(row.spec).map_err(unreadable)?;
    let seconds = |milliseconds: i64| (milliseconds / 1000).max(0) as u64;
    let amount = |name: &str| row.progress[name].as_u64().unwrap_or_default();
    Ok(Merge {
        object: "merge".to_owned(),
        created_at: seconds(row.created_ms),
        started_at: row.started_ms.map(seconds),
        finished_at: row.finished_ms.map(seconds),
        status: row.status.as_str().to_owned(),
        output: spec.output,
        seed: spec.seed,
        config: spec.config,
        model: row.progress["model"].as_str().map(str::to_owned),
        progress: MergeAmounts {
            tensors_done: amount("tensors_done"),
            tensors_total: amount("tensors_total"),
            bytes_done: amount("bytes_done"),
            bytes_total: amount("bytes_total"),
        },
        error: row.error,
        id: row.id,
    })
}
