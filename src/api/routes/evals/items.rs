//! The samples of a run: a page at a time without their texts, or one with everything.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::query::Pairs;
use super::runs::run_of;
use super::shape;
use crate::api::error::ApiError;
use crate::api::request_log::RequestLog;
use crate::api::state::AppState;
use crate::eval::EvalError;
use crate::protocol::ErrorResponse;
use crate::protocol::List;
use crate::protocol::evals::OutputItem;
use crate::store::{ItemPage, Order, SampleStatus};

/// The samples of a run in the order of its problems. Texts are left out unless `include=output` asks for them.
#[utoipa::path(
    get,
    path = "/v1/evals/{eval_id}/runs/{run_id}/output_items",
    tag = "evals",
    params(
        ("eval_id" = String, Path),
        ("run_id" = String, Path),
        ("after" = Option<String>, Query, description = "The id that the page begins after"),
        ("limit" = Option<u32>, Query, description = "From 1 to 100, 20 by default"),
        ("order" = Option<String>, Query, description = "`asc` (the default) or `desc`"),
        ("status" = Option<String>, Query, description = "`pass`, `fail` or `error`"),
        ("include" = Option<String>, Query, description = "`output`: with the completions")
    ),
    responses((status = 200, body = List<OutputItem>), (status = 404, body = ErrorResponse))
)]
pub async fn list_output_items(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path((eval_id, run_id)): Path<(String, String)>,
    query: Pairs,
) -> Result<Json<List<OutputItem>>, ApiError> {
    let query = query.only(&["after", "limit", "order", "status", "include"])?;
    let page = page(&query)?;
    let evals = state.evals()?;
    let run = run_of(evals, &log, &eval_id, &run_id).await?;
    let spec = shape::spec_of(&run)?;
    let rows = evals.store.samples(&run_id, &page).await?;
    let items = rows.rows.into_iter().map(|row| shape::item(&run, &spec, row, Vec::new()));
    let data: Vec<OutputItem> = items.collect::<Result<_, _>>()?;
    Ok(Json(List::of(data, rows.has_more, |item| &item.id)))
}

fn page(query: &Pairs) -> Result<ItemPage, ApiError> {
    let after = query.get("after").map(|id| {
        shape::item_key(id)
            .ok_or_else(|| ApiError::invalid("after", "`after` is not the id of an output item"))
    });
    let status = match query.get("status") {
        None => None,
        Some("pass") => Some(SampleStatus::Passed),
        Some("fail") => Some(SampleStatus::Failed),
        Some("error") => Some(SampleStatus::Errored),
        Some(_) => return Err(ApiError::invalid("status", "`status` must be `pass`, `fail` or `error`")),
    };
    let completions = match query.get("include") {
        None => false,
        Some("output") => true,
        Some(_) => return Err(ApiError::invalid("include", "`include` must be `output`")),
    };
    let order = query.order(Order::Ascending)?;
    Ok(ItemPage { after: after.transpose()?, limit: query.limit()?, order, status, completions })
}

/// One sample with the messages it was asked with and its completion.
#[utoipa::path(
    get,
    path = "/v1/evals/{eval_id}/runs/{run_id}/output_items/{output_item_id}",
    tag = "evals",
    params(("eval_id" = String, Path), ("run_id" = String, Path), ("output_item_id" = String, Path)),
    responses((status = 200, body = OutputItem), (status = 404, body = ErrorResponse))
)]
pub async fn get_output_item(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path((eval_id, run_id, item_id)): Path<(String, String, String)>,
) -> Result<Json<OutputItem>, ApiError> {
    let evals = state.evals()?;
    let run = run_of(evals, &log, &eval_id, &run_id).await?;
    let key = shape::item_key(&item_id).ok_or_else(|| ApiError::not_found("output item", &item_id))?;
    let row = evals.store.sample(&run_id, key).await?;
    let spec = shape::spec_of(&run)?;
    let planned = spec.clone();
    let position = usize::try_from(key.position).unwrap_or(usize::MAX);
    let scorers = evals.scorers.clone();
    let asked =
        state.blocking(move || planned.plan(&scorers).map(|plan| json!(plan.asked(position)))).await?;
    let input = match asked {
        Ok(Value::Array(messages)) => messages,
        Ok(_) => Vec::new(),
        // The sample is there whatever became of its suite.
        Err(error) => without_suite(&run_id, &error),
    };
    Ok(Json(shape::item(&run, &spec, row, input)?))
}

fn without_suite(run: &str, error: &EvalError) -> Vec<Value> {
    tracing::warn!(run, %error, "the messages of a sample cannot be shown");
    Vec::new()
}
