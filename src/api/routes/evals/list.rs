//! Evaluations themselves: a name and a suite.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::Value;

use super::ownership::{check_may_change, is_admin, owner};
use super::query::Pairs;
use super::shape;
use crate::api::body::StrictJson;
use crate::api::error::ApiError;
use crate::api::request_log::RequestLog;
use crate::api::state::AppState;
use crate::eval::Suite;
use crate::protocol::ErrorResponse;
use crate::protocol::List;
use crate::protocol::evals::{CreateEvalRequest, DeletedEval, Eval, UpdateEvalRequest};
use crate::protocol::nearest::nearest;
use crate::store::{NewEval, Order};

/// Make an evaluation: a suite that runs will measure models on.
#[utoipa::path(
    post,
    path = "/v1/evals",
    tag = "evals",
    request_body = CreateEvalRequest,
    responses((status = 201, body = Eval), (status = 400, body = ErrorResponse), (status = 503, body = ErrorResponse))
)]
pub async fn create_eval(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    StrictJson(request): StrictJson<CreateEvalRequest>,
) -> Result<(StatusCode, Json<Eval>), ApiError> {
    let suite = request.data_source_config.suite;
    let asked = suite.clone();
    // By name alone: a request may not have the server open a folder of its disk.
    let known = state.blocking(Suite::known).await?;
    if !known.contains(&asked) {
        let hint = match nearest(&asked, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", known.join(", ")),
        };
        let shown: String = asked.chars().take(200).collect();
        return Err(ApiError::invalid(
            "data_source_config.suite",
            format!("there is no suite `{shown}`: {hint}"),
        ));
    }
    let new = NewEval {
        name: request.name.unwrap_or_else(|| suite.clone()),
        spec: shape::eval_spec(&suite),
        metadata: Value::Object(request.metadata.unwrap_or_default()),
        owner: owner(&log),
    };
    let row = state.evals()?.store.create_eval(new).await?;
    Ok((StatusCode::CREATED, Json(shape::eval(row))))
}

/// Evaluations by age, a page at a time.
#[utoipa::path(
    get,
    path = "/v1/evals",
    tag = "evals",
    params(
        ("after" = Option<String>, Query, description = "The id that the page begins after"),
        ("limit" = Option<u32>, Query, description = "From 1 to 100, 20 by default"),
        ("order" = Option<String>, Query, description = "`asc` (the default) or `desc`"),
        ("order_by" = Option<String>, Query, description = "`created_at`, the default and only one")
    ),
    responses((status = 200, body = List<Eval>), (status = 404, body = ErrorResponse))
)]
pub async fn list_evals(State(state): State<AppState>, query: Pairs) -> Result<Json<List<Eval>>, ApiError> {
    let query = query.only(&["after", "limit", "order", "order_by"])?;
    if query.get("order_by").is_some_and(|by| by != "created_at") {
        return Err(ApiError::invalid("order_by", "`order_by` must be `created_at`"));
    }
    let page = state.evals()?.store.evals(&query.page(Order::Ascending)?).await?;
    let data: Vec<Eval> = page.rows.into_iter().map(shape::eval).collect();
    Ok(Json(List::of(data, page.has_more, |eval| &eval.id)))
}

/// One evaluation.
#[utoipa::path(
    get,
    path = "/v1/evals/{eval_id}",
    tag = "evals",
    params(("eval_id" = String, Path)),
    responses((status = 200, body = Eval), (status = 404, body = ErrorResponse))
)]
pub async fn get_eval(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<Eval>, ApiError> {
    Ok(Json(shape::eval(state.evals()?.store.eval(&id).await?)))
}

/// Change an evaluation's name or metadata. With the key that it was made with, or an admin's.
#[utoipa::path(
    post,
    path = "/v1/evals/{eval_id}",
    tag = "evals",
    params(("eval_id" = String, Path)),
    request_body = UpdateEvalRequest,
    responses(
        (status = 200, body = Eval),
        (status = 400, body = ErrorResponse),
        (status = 403, body = ErrorResponse),
        (status = 404, body = ErrorResponse)
    )
)]
pub async fn update_eval(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path(id): Path<String>,
    StrictJson(request): StrictJson<UpdateEvalRequest>,
) -> Result<Json<Eval>, ApiError> {
    let store = &state.evals()?.store;
    check_may_change(&log, "eval", &id, store.eval(&id).await?.owner.as_deref())?;
    let metadata = request.metadata.map(Value::Object);
    Ok(Json(shape::eval(store.update_eval(&id, request.name, metadata).await?)))
}

/// Delete an evaluation with its runs and all their samples. With the key that all of them were made with, or an admin's.
#[utoipa::path(
    delete,
    path = "/v1/evals/{eval_id}",
    tag = "evals",
    params(("eval_id" = String, Path)),
    responses((status = 200, body = DeletedEval), (status = 403, body = ErrorResponse), (status = 404, body = ErrorResponse))
)]
pub async fn delete_eval(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path(id): Path<String>,
) -> Result<Json<DeletedEval>, ApiError> {
    let store = &state.evals()?.store;
    check_may_change(&log, "eval", &id, store.eval(&id).await?.owner.as_deref())?;
    if !is_admin(&log) && store.has_runs_of_others(&id, owner(&log).as_deref()).await? {
        return Err(ApiError::forbidden(
            "other keys have runs of this eval, which would go with it: ask an admin",
        ));
    }
    store.delete_eval(&id).await?;
    Ok(Json(DeletedEval { eval_id: id, object: "eval.deleted".to_owned(), deleted: true }))
}
