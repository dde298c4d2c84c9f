//! What a training tells of itself: as a list, the newest first, or as server-sent events that a reader can take up again without
//! a loss; and its checkpoints.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};

use super::shape;
use crate::api::error::ApiError;
use crate::api::evals::Evals;
use crate::api::routes::evals::query::Pairs;
use crate::api::sse;
use crate::api::state::AppState;
use crate::jobs::TRAINING;
use crate::protocol::ErrorResponse;
use crate::protocol::List;
use crate::protocol::fine_tuning_jobs::{FineTuningCheckpoint, FineTuningEvent};
use crate::store::{JobEventPage, JobRow, Order, RunStatus};

/// Events of a training, the newest first, a page at a time; with `stream=true` as server-sent events, the oldest first, until
/// `[DONE]` at its end.
#[utoipa::path(
    get,
    path = "/v1/fine_tuning/jobs/{job_id}/events",
    tag = "fine-tuning",
    params(
        ("job_id" = String, Path),
        ("after" = Option<String>, Query, description = "The id that the page, or the stream, begins after"),
        ("limit" = Option<u32>, Query, description = "From 1 to 100, 20 by default"),
        ("order" = Option<String>, Query, description = "`desc` (the default) or `asc`"),
        ("stream" = Option<bool>, Query),
        ("Last-Event-ID" = Option<String>, Header, description = "Of a stream: goes before `after`")
    ),
    responses((status = 200, body = List<FineTuningEvent>), (status = 404, body = ErrorResponse))
)]
pub async fn list_fine_tuning_events(
    State(state): State<AppState>,
    Path(job_id): Path<String>,
    headers: HeaderMap,
    query: Pairs,
) -> Result<Response, ApiError> {
    let query = query.only(&["after", "limit", "order", "stream"])?;
    let evals = state.shared_evals()?;
    let job = evals.store.job(TRAINING, &job_id).await?;
    let is_stream = match query.get("stream") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(ApiError::invalid("stream", "`stream` must be `true` or `false`")),
    };
    let after = query.get("after").map(|id| after_of(shape::EVENT, &job, "after", id)).transpose()?;
    if is_stream {
        let last = headers.get("last-event-id").map(|id| id.to_str().unwrap_or("?"));
        let last = last.map(|id| after_of(shape::EVENT, &job, "Last-Event-ID", id)).transpose()?;
        let seen = last.or(after).unwrap_or(0);
        let follower = Follower { evals, job: job.id, seen, was_canceled: false };
        let events = stream::unfold(Some(follower), |follower| async move { follower?.next().await });
        return Ok(sse::keep_alive(events.flat_map(|events| stream::iter(events.into_iter().map(Ok)))));
    }
    let (limit, order) = (query.limit()?, query.order(Order::Descending)?);
    let page = JobEventPage { checkpoints: false, after, limit, order };
    let page = evals.store.job_events(&job.id, page).await?;
    let data: Vec<FineTuningEvent> =
        page.rows.into_iter().map(|event| shape::event(&job.id, event)).collect();
    let list = List::of(data, page.has_more, |event| &event.id);
    Ok(Json(list).into_response())
}

fn after_of(prefix: &str, job: &JobRow, param: &str, id: &str) -> Result<i64, ApiError> {
    shape::sequence_of(prefix, &job.id, id)
        .ok_or_else(|| ApiError::invalid(param, format!("`{param}` must be the id of an entry of this list")))
}

/// Checkpoints of a training, the newest first, a page at a time.
#[utoipa::path(
    get,
    path = "/v1/fine_tuning/jobs/{job_id}/checkpoints",
    tag = "fine-tuning",
    params(
        ("job_id" = String, Path),
        ("after" = Option<String>, Query, description = "The id that the page begins after"),
        ("limit" = Option<u32>, Query, description = "From 1 to 100, 20 by default"),
        ("order" = Option<String>, Query, description = "`desc` (the default) or `asc`")
    ),
    responses((status = 200, body = List<FineTuningCheckpoint>), (status = 404, body = ErrorResponse))
)]
pub async fn list_fine_tuning_checkpoints(
    State(state): State<AppState>,
    Path(job_id): Path<String>,
    query: Pairs,
) -> Result<Json<List<FineTuningCheckpoint>>, ApiError> {
    let query = query.only(&["after", "limit", "order"])?;
    let store = &state.evals()?.store;
    let job = store.job(TRAINING, &job_id).await?;
    let after = query.get("after").map(|id| after_of(shape::CHECKPOINT, &job, "after", id)).transpose()?;
    let (limit, order) = (query.limit()?, query.order(Order::Descending)?);
    let page = store.job_events(&job.id, JobEventPage { checkpoints: true, after, limit, order }).await?;
    let data: Vec<FineTuningCheckpoint> =
        page.rows.into_iter().map(|event| shape::checkpoint(&job.id, event)).collect();
    Ok(Json(List::of(data, page.has_more, |checkpoint| &checkpoint.id)))
}

/// How often a training is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Events read at once.
const BATCH: usize = 200;

/// One reader of a training.
struct Follower {
    evals: Arc<Evals>,
    job: String,
    /// Number of the event last sent.
    seen: i64,
    was_canceled: bool,
}

impl Follower {
    async fn next(mut self) -> Option<(Vec<Event>, Option<Self>)> {
        let mut stopping = self.evals.stopping();
        loop {
            match self.look().await {
                Ok((mut events, true)) => {
                    events.push(sse::done());
                    return Some((events, None));
                }
                Ok((events, false)) if !events.is_empty() => return Some((events, Some(self))),
                Ok(_) => {}
                Err(error) => return Some((vec![sse::error_event(error), sse::done()], None)),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stopping.wait_for(|stop| *stop) => return Some((vec![sse::done()], None)),
            }
        }
    }

    /// What is new, and whether that was all there will be.
    async fn look(&mut self) -> Result<(Vec<Event>, bool), ApiError> {
        // The status first: what a training tells is there before its end is.
        let status = self.evals.store.job(TRAINING, &self.job).await?.status;
        let page = JobEventPage {
            checkpoints: false,
            after: Some(self.seen),
            limit: BATCH,
            order: Order::Ascending,
        };
        let page = self.evals.store.job_events(&self.job, page).await?;
        self.seen = page.rows.last().map_or(self.seen, |last| last.sequence);
        let shown = |event| {
            let shown = shape::event(&self.job, event);
            let event = Event::default().id(shown.id.clone()).event(shown.object.clone());
            event.json_data(shown).unwrap_or_else(|error| {
                sse::error_event(ApiError::internal(format!("an event cannot be written: {error}")))
            })
        };
        let events = page.rows.into_iter().map(shown).collect();
        // A cancellation is told after the fact.
        let has_ended = match status {
            RunStatus::Completed | RunStatus::Failed => true,
            RunStatus::Canceled => std::mem::replace(&mut self.was_canceled, true),
            _ => false,
        };
        Ok((events, has_ended && !page.has_more))
    }
}
