//! Runs: made, listed, polled, deleted.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::Value;
use tokio::sync::MutexGuard;

use super::ownership::{check_may_change, is_admin, may_see, owner};
use super::query::Pairs;
use super::shape;
use crate::api::body::StrictJson;
use crate::api::error::ApiError;
use crate::api::etag;
use crate::api::evals::Evals;
use crate::api::keys::KeyLimits;
use crate::api::request_log::RequestLog;
use crate::api::state::{AppState, check_may_use};
use crate::eval::{Preset, Protocol, Suite, SuiteError};
use crate::jobs::{EvalRunSpec, Submission, submit};
use crate::language::Language;
use crate::protocol::ErrorResponse;
use crate::protocol::List;
use crate::protocol::evals::{CreateRunRequest, DeletedRun, Run, RunDataSource, RunSampling};
use crate::store::{Order, RunRow, RunStatus};

/// Runs that may wait or run; more are refused with 429.
const ACTIVE_RUNS_MAX: usize = 1000;
/// Of one key that is no admin's.
const ACTIVE_RUNS_OF_A_KEY_MAX: i64 = 8;

/// Measure a model on the eval's suite. The run begins as soon as a worker is free.
#[utoipa::path(
    post,
    path = "/v1/evals/{eval_id}/runs",
    tag = "evals",
    params(("eval_id" = String, Path)),
    request_body = CreateRunRequest,
    responses(
        (status = 201, body = Run),
        (status = 400, body = ErrorResponse),
        (status = 403, body = ErrorResponse),
        (status = 404, body = ErrorResponse),
        (status = 429, description = "Too many runs wait", body = ErrorResponse)
    )
)]
pub async fn create_run(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path(eval_id): Path<String>,
    StrictJson(request): StrictJson<CreateRunRequest>,
) -> Result<(StatusCode, Json<Run>), ApiError> {
    check_may_begin(&log)?;
    let evals = state.evals()?;
    let eval = evals.store.eval(&eval_id).await?;
    let suite = shape::suite_of(&eval);
    let source = request.data_source;
    if source.suite.as_ref().is_some_and(|asked| *asked != suite) {
        let message = format!("`data_source.suite` must be the eval's own, `{suite}`, or left out");
        return Err(ApiError::invalid("data_source.suite", message));
    }
    let model = model(&state, evals, &log, source.model.as_deref())?;
    let spec = tokio::task::spawn_blocking(move || spec(suite, source)).await;
    let spec = spec.map_err(ApiError::panicked)??;
    let n_max = state.options().limits.n_max;
    if state.registry().get(&model).is_ok() && spec.n as usize > n_max {
        let message = format!("`data_source.n` must be at most {n_max} for a model of this server");
        return Err(ApiError::invalid("data_source.n", message));
    }
    check_queue(evals).await?;
    let _room = room_for_run(evals, &log).await?;
    let name = request.name.unwrap_or_else(|| format!("{} on {}", model, spec.suite));
    let metadata = Value::Object(request.metadata.unwrap_or_default());
    let submission = Submission { eval: eval_id, name, model, metadata, owner: owner(&log), spec };
    let row = submit(&evals.store, submission, &evals.scorers).await?;
    evals.wake();
    Ok((StatusCode::CREATED, Json(shape::run(row, None, false)?)))
}

/// # Errors
/// 429 where too many runs wait.
pub async fn check_queue(evals: &Evals) -> Result<(), ApiError> {
    if evals.store.active_runs(ACTIVE_RUNS_MAX).await?.len() < ACTIVE_RUNS_MAX {
        return Ok(());
    }
    Err(ApiError::too_many(format!("{ACTIVE_RUNS_MAX} runs wait already: cancel some, or wait")))
}

/// Workers draw a run's samples under nobody's key.
///
/// # Errors
/// 403 for a key with limits.
pub fn check_may_begin(log: &RequestLog) -> Result<(), ApiError> {
    match log.key.get() {
        Some(held) if held.key.limits != KeyLimits::default() => Err(ApiError::forbidden(format!(
            "the key `{}` has limits, which the samples of a run do not count against: use a key without",
            held.key.name
        ))),
        _ => Ok(()),
    }
}

/// Room for one more run of the caller's key. To be held until the run is there, so that nobody counts without it.
///
/// # Errors
/// 429 for a key that has as many runs as one may.
pub async fn room_for_run<'a>(
    evals: &'a Evals,
    log: &RequestLog,
) -> Result<Option<MutexGuard<'a, ()>>, ApiError> {
    let Some(held) = log.key.get().filter(|_| !is_admin(log)) else { return Ok(None) };
    let turn = evals.counting.lock().await;
    if evals.store.active_runs_of(&held.key.identity()).await? < ACTIVE_RUNS_OF_A_KEY_MAX {
        return Ok(Some(turn));
    }
    let name = &held.key.name;
    Err(ApiError::too_many(format!(
        "{ACTIVE_RUNS_OF_A_KEY_MAX} runs of the key `{name}` wait or run: cancel some, or wait"
    )))
}

/// A model of this server or an endpoint of its settings, by name; without one, the only one that the key may use.
fn model(state: &AppState, evals: &Evals, log: &RequestLog, asked: Option<&str>) -> Result<String, ApiError> {
    // Before anything is looked up: what a key may not use it hears nothing of.
    if let Some(name) = asked {
        check_may_use(log, name).map_err(|error| error.with_param("data_source.model"))?;
    }
    let served = state.registry().list();
    let adapters = state.registry().adapters();
    let mut known: Vec<String> = served.iter().chain(&adapters).map(|model| model.name.clone()).collect();
    known.extend(evals.endpoints.iter().map(|endpoint| endpoint.name.clone()));
    known.retain(|name| check_may_use(log, name).is_ok());
    match asked {
        Some(name) if known.iter().any(|known| known == name) => Ok(name.to_owned()),
        Some(name) => Err(ApiError::model_not_found(name, &known).with_param("data_source.model")),
        None if known.len() == 1 => Ok(known.remove(0)),
        None => {
            let message = format!("name one in `data_source.model`: {}", known.join(", "));
            Err(ApiError::invalid("data_source.model", message))
        }
    }
}

/// What is asked for, over the preset, over the suite's own protocol. Reads files of the suite.
fn spec(suite: String, source: RunDataSource) -> Result<EvalRunSpec, ApiError> {
    if source.variants.as_ref().is_some_and(|variants| variants.len() > VARIANTS_MAX) {
        let message = format!("`data_source.variants` names at most {VARIANTS_MAX}");
        return Err(ApiError::invalid("data_source.variants", message));
    }
    let languages = source.languages.map(languages).transpose()?;
    let RunSampling { temperature, top_p, top_k, min_p, max_completion_tokens, seed } =
        source.sampling_params.unwrap_or_default();
    let said = Protocol {
        n: source.n,
        k: Vec::new(),
        shots: source.shots,
        temperature,
        top_p,
        top_k,
        min_p,
        max_tokens: max_completion_tokens,
        thinking_prefix: source.thinking_prefix,
    };
    let wrong = |field: &'static str| {
        move |error: SuiteError| ApiError::invalid(format!("data_source.{field}"), error.to_string())
    };
    let preset = source.preset.as_deref().map(Preset::named).transpose().map_err(wrong("preset"))?;
    let (task, own) = Suite::task_and_protocol(&suite).map_err(wrong("suite"))?;
    let prompts = preset.as_ref().and_then(|preset| preset.prompts_of(task).map(str::to_owned));
    let of_preset = preset.map(|preset| preset.protocol).unwrap_or_default();
    let settled = said.of_task(task).over(&of_preset).over(&own).settled(1).map_err(wrong("n"))?;
    Ok(EvalRunSpec {
        suite,
        prompts: source.prompts.or(prompts),
        variants: source.variants.unwrap_or_default(),
        languages,
        limit: source.limit.map(|limit| limit as usize),
        shots: settled.shots,
        n: settled.n,
        sampling: settled.sampling,
        thinking_prefix: settled.thinking_prefix,
        profile: source.profile,
        seed: seed.unwrap_or(0),
        completions_of: None,
    })
}

const VARIANTS_MAX: usize = 16;

const LANGUAGES_MAX: usize = 200;

fn languages(codes: Vec<String>) -> Result<Vec<Language>, ApiError> {
    if codes.len() > LANGUAGES_MAX {
        let message = format!("`data_source.languages` names at most {LANGUAGES_MAX}");
        return Err(ApiError::invalid("data_source.languages", message));
    }
    let read = |(at, code): (usize, String)| {
        code.parse::<Language>()
            .map_err(|error| ApiError::invalid(format!("data_source.languages.{at}"), error.to_string()))
    };
    codes.into_iter().enumerate().map(read).collect()
}

/// The runs of an evaluation by age, a page at a time, without scores.
#[utoipa::path(
    get,
    path = "/v1/evals/{eval_id}/runs",
    tag = "evals",
    params(
        ("eval_id" = String, Path),
        ("after" = Option<String>, Query, description = "The id that the page begins after"),
        ("limit" = Option<u32>, Query, description = "From 1 to 100, 20 by default"),
        ("order" = Option<String>, Query, description = "`asc` (the default) or `desc`"),
        ("status" = Option<String>, Query, description = "Only runs of this status")
    ),
    responses((status = 200, body = List<Run>), (status = 404, body = ErrorResponse))
)]
pub async fn list_runs(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path(eval_id): Path<String>,
    query: Pairs,
) -> Result<Json<List<Run>>, ApiError> {
    let query = query.only(&["after", "limit", "order", "status"])?;
    let status = query.get("status").map(str::parse::<RunStatus>).transpose();
    let status = status.map_err(|message| ApiError::invalid("status", format!("`status`: {message}")))?;
    let store = &state.evals()?.store;
    store.eval(&eval_id).await?;
    let page = store.runs(&eval_id, status, log.held_to(), &query.page(Order::Ascending)?).await?;
    let data: Vec<Run> =
        page.rows.into_iter().map(|row| shape::run(row, None, false)).collect::<Result<_, _>>()?;
    Ok(Json(List::of(data, page.has_more, |run| &run.id)))
}

/// A run with its current scores and their intervals. Made for polling: send the `ETag` back in `If-None-Match`, and
/// nothing new is 304.
#[utoipa::path(
    get,
    path = "/v1/evals/{eval_id}/runs/{run_id}",
    tag = "evals",
    params(("eval_id" = String, Path), ("run_id" = String, Path), ("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, body = Run, headers(("ETag" = String))),
        (status = 304, description = "Nothing is new"),
        (status = 404, body = ErrorResponse)
    )
)]
pub async fn get_run(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path((eval_id, run_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let evals = state.evals()?;
    let row = run_of(evals, &log, &eval_id, &run_id).await?;
    let snapshot = evals.scores.current(&row).await?;
    // Everything that happens to a run takes a number.
    let tag = format!("\"{}-{}\"", row.sequence, snapshot.as_ref().map_or(0, |scores| scores.sequence));
    if etag::matches(&headers, &tag) {
        return Ok(etag::not_modified(&tag));
    }
    Ok(etag::tagged(Json(shape::run(row, snapshot.as_ref(), true)?).into_response(), &tag))
}

/// Delete a run with its samples. With the key that it was made with, or an admin's.
#[utoipa::path(
    delete,
    path = "/v1/evals/{eval_id}/runs/{run_id}",
    tag = "evals",
    params(("eval_id" = String, Path), ("run_id" = String, Path)),
    responses((status = 200, body = DeletedRun), (status = 403, body = ErrorResponse), (status = 404, body = ErrorResponse))
)]
pub async fn delete_run(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path((eval_id, run_id)): Path<(String, String)>,
) -> Result<Json<DeletedRun>, ApiError> {
    let evals = state.evals()?;
    own_run_of(evals, &log, &eval_id, &run_id).await?;
    evals.store.delete_run(&run_id).await?;
    Ok(Json(DeletedRun { run_id, object: "eval.run.deleted".to_owned(), deleted: true }))
}

/// A run of this eval that the caller may see.
pub async fn run_of(
    evals: &Evals,
    log: &RequestLog,
    eval_id: &str,
    run_id: &str,
) -> Result<RunRow, ApiError> {
    let row = evals.store.run(run_id).await?;
    if row.eval == eval_id && may_see(log, &row) { Ok(row) } else { Err(ApiError::not_found("run", run_id)) }
}

/// A run of this eval that the caller may change.
pub async fn own_run_of(
    evals: &Evals,
    log: &RequestLog,
    eval_id: &str,
    run_id: &str,
) -> Result<RunRow, ApiError> {
    let row = run_of(evals, log, eval_id, run_id).await?;
    check_may_change(log, "run", run_id, row.owner.as_deref())?;
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_asks_for_likelihoods_once() {
        let check = |suite: &str, n: Option<u32>, expected: (u32, Option<&str>)| {
            let source = serde_json::json!({"type": "xenoglot_suite", "preset": "budget-alignment", "n": n});
            let spec = spec(suite.to_owned(), serde_json::from_value(source).unwrap()).unwrap();
            assert_eq!((spec.n, spec.prompts.as_deref()), expected, "{suite}");
        };
        check("openbookqa", None, (1, None));
        // The plan of the run refuses it.
        check("openbookqa", Some(4), (4, None));
        check("mgsm", None, (32, Some("budget-alignment")));
    }
}
