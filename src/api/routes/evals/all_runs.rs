//! The runs of all evals: what was measured on what, with which scores.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use super::query::Pairs;
use super::shape;
use crate::api::error::ApiError;
use crate::api::request_log::RequestLog;
use crate::api::state::AppState;
use crate::jobs::listed_scores;
use crate::protocol::ErrorResponse;
use crate::protocol::List;
use crate::protocol::eval_tables::RunSummary;
use crate::store::{Order, RunFilter, RunStatus};

/// The runs of all evals by age, the newest first, a page at a time, with the scores of those that are complete.
#[utoipa::path(
    get,
    path = "/v1/runs",
    tag = "evals",
    params(
        ("after" = Option<String>, Query, description = "The id that the page begins after"),
        ("limit" = Option<u32>, Query, description = "From 1 to 500, 20 by default"),
        ("order" = Option<String>, Query, description = "`desc` (the default) or `asc`"),
        ("model" = Option<String>, Query, description = "Only runs of this model"),
        ("suite" = Option<String>, Query, description = "Only runs on this suite"),
        ("status" = Option<String>, Query, description = "Only runs of this status"),
        ("metric" = Option<String>, Query, description = "Only this metric of the scores, such as `pass@1`")
    ),
    responses((status = 200, body = List<RunSummary>), (status = 404, body = ErrorResponse))
)]
pub async fn list_all_runs(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    query: Pairs,
) -> Result<Json<List<RunSummary>>, ApiError> {
    let query = query.only(&["after", "limit", "order", "model", "suite", "status", "metric"])?;
    let status = query.get("status").map(str::parse::<RunStatus>).transpose();
    let status = status.map_err(|message| ApiError::invalid("status", format!("`status`: {message}")))?;
    let spec = query.get("suite").map(shape::eval_spec);
    let filter = RunFilter {
        status,
        model: query.get("model"),
        eval_spec: spec.as_ref(),
        // What a key may not use it hears nothing of.
        models: log.held_to(),
    };
    let store = &state.evals()?.store;
    let page = store.runs_of_all(&filter, &query.page_up_to(Order::Descending, RUNS_MAX)?).await?;
    let mut data = Vec::with_capacity(page.rows.len());
    for row in page.rows {
        let mut scores = listed_scores(store, &row.run).await?;
        if let (Some(scores), Some(metric)) = (&mut scores, query.get("metric")) {
            let groups = scores.languages.iter_mut().chain([&mut scores.overall]);
            groups.for_each(|group| group.metrics.retain(|name, _| name == metric));
        }
        data.push(shape::summary(row, scores)?);
    }
    Ok(Json(List::of(data, page.has_more, |run| &run.id)))
}

/// A matrix of models and suites is one request.
const RUNS_MAX: usize = 500;
