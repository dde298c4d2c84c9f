//! What happens to a run, as server-sent events that a reader can take up again without a loss.
//!
//! Samples and changes of status carry the number that the store gave them as their id; `progress` and `scores` say how
//! things stand and carry none. A reader that reconnects sends the last id it saw in `Last-Event-ID`, as browsers do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::sync::watch;

use super::query::Pairs;
use super::runs::run_of;
use super::shape;
use crate::api::error::ApiError;
use crate::api::evals::Evals;
use crate::api::request_log::RequestLog;
use crate::api::sse;
use crate::api::state::AppState;
use crate::protocol::ErrorResponse;
use crate::store::{Happening, HappeningKind, RunRow, RunStatus};

/// Happenings read at once.
const BATCH: usize = 200;

/// How often a run is looked at while nothing happens, and at most is while much does.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A run's progress as server-sent events: `output_item`, `status`, `progress` and `scores`, then `[DONE]` when the run
/// has come to an end. A reader of a run that ended, which has seen all, gets 204.
#[utoipa::path(
    get,
    path = "/v1/evals/{eval_id}/runs/{run_id}/events",
    tag = "evals",
    params(
        ("eval_id" = String, Path),
        ("run_id" = String, Path),
        ("after" = Option<u64>, Query, description = "Begin after this id; `Last-Event-ID` goes before it"),
        ("Last-Event-ID" = Option<String>, Header)
    ),
    responses(
        (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
        (status = 204, description = "The run has ended and all of it was seen"),
        (status = 404, body = ErrorResponse)
    )
)]
pub async fn run_events(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path((eval_id, run_id)): Path<(String, String)>,
    headers: HeaderMap,
    query: Pairs,
) -> Result<Response, ApiError> {
    let query = query.only(&["after"])?;
    let evals = state.shared_evals()?;
    let run = run_of(&evals, &log, &eval_id, &run_id).await?;
    let seen = match headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?")) {
        Some(sent) => Some(number("Last-Event-ID", sent)?),
        None => query.get("after").map(|sent| number("after", sent)).transpose()?,
    };
    if has_ended(&run) && seen.is_some_and(|seen| seen >= run.sequence) {
        // To an event source, 204 says not to come back.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let stopping = evals.stopping();
    let follower = Follower { evals, run: run_id, seen: seen.unwrap_or(0), told: Told::default(), stopping };
    let events = stream::unfold(Some(follower), |follower| async move { follower?.next().await });
    Ok(sse::keep_alive(events.flat_map(|events| stream::iter(events.into_iter().map(Ok)))))
}

fn number(param: &str, text: &str) -> Result<i64, ApiError> {
    let number = text.trim().parse::<i64>().ok().filter(|number| *number >= 0);
    number.ok_or_else(|| {
        ApiError::invalid(param, format!("`{param}` must be the id of an event, a whole number"))
    })
}

fn has_ended(run: &RunRow) -> bool {
    run.status.is_final() || run.status == RunStatus::Failed
}

/// One reader of a run.
struct Follower {
    evals: Arc<Evals>,
    run: String,
    /// Number of the last thing sent.
    seen: i64,
    told: Told,
    stopping: watch::Receiver<bool>,
}

/// What was last said of how things stand.
#[derive(Default)]
struct Told {
    progress: Option<Progress>,
    /// Number of the last sample in the scores told.
    scores: Option<i64>,
}

struct Progress {
    sequence: i64,
    tokens: i64,
    at: Instant,
}

type Next = Option<(Vec<Event>, Option<Follower>)>;

impl Follower {
    async fn next(mut self) -> Next {
        loop {
            match self.look().await {
                Ok((events, true)) => return Some((end(events), None)),
                Ok((events, false)) if !events.is_empty() => return Some((events, Some(self))),
                Ok(_) => {}
                Err(error) => return Some((vec![sse::error_event(error), sse::done()], None)),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = self.stopping.wait_for(|stop| *stop) => return Some((end(Vec::new()), None)),
            }
        }
    }

    /// What is new, and whether that was all there will be.
    async fn look(&mut self) -> Result<(Vec<Event>, bool), ApiError> {
        let new = self.evals.store.happenings(&self.run, self.seen, BATCH).await?;
        let mut events: Vec<Event> = new.iter().map(happened).collect();
        self.seen = new.last().map_or(self.seen, |last| last.sequence);
        if new.len() >= BATCH {
            return Ok((events, false));
        }
        let run = self.evals.store.run(&self.run).await?;
        events.extend(self.progress(&run));
        events.extend(self.scores(&run).await?);
        Ok((events, has_ended(&run) && self.seen >= run.sequence))
    }

    fn progress(&mut self, run: &RunRow) -> Option<Event> {
        let last = self.told.progress.as_ref();
        // The end is told whenever it comes.
        let is_due = |last: &Progress| has_ended(run) || last.at.elapsed() >= LOOK_EVERY;
        if last.is_some_and(|last| last.sequence == run.sequence || !is_due(last)) {
            return None;
        }
        let rate =
            last.map(|last| (run.completion_tokens - last.tokens) as f64 / last.at.elapsed().as_secs_f64());
        let told = Progress { sequence: run.sequence, tokens: run.completion_tokens, at: Instant::now() };
        self.told.progress = Some(told);
        let data = json!({
            "status": run.status.as_str(),
            "samples_done": run.samples_done,
            "samples_total": run.samples_total,
            "passed": run.passed,
            "failed": run.failed,
            "errored": run.errored,
            "completion_tokens": run.completion_tokens,
            "completion_tokens_per_second": rate,
            "error": run.error,
        });
        Some(Event::default().event("progress").data(data.to_string()))
    }

    async fn scores(&mut self, run: &RunRow) -> Result<Option<Event>, ApiError> {
        let Some(snapshot) = self.evals.scores.current(run).await? else { return Ok(None) };
        if self.told.scores == Some(snapshot.sequence) {
            return Ok(None);
        }
        self.told.scores = Some(snapshot.sequence);
        let data = json!({"samples": snapshot.samples, "scores": *snapshot.results});
        Ok(Some(Event::default().event("scores").data(data.to_string())))
    }
}

fn happened(happening: &Happening) -> Event {
    let event = Event::default().id(happening.sequence.to_string());
    match &happening.kind {
        HappeningKind::Status(data) => event.event("status").data(data.to_string()),
        HappeningKind::Sample(row) => {
            let data = json!({
                "id": shape::item_id(row.key),
                "status": row.status,
                "problem": row.problem,
                "language": row.language,
                "sample": row.key.sample,
                "created_at": shape::seconds(row.created_ms),
                "outcome": row.record["outcome"],
                "following": row.record["following"],
                "completion_tokens": row.record["completion_tokens"],
            });
            event.event("output_item").data(data.to_string())
        }
    }
}

fn end(mut events: Vec<Event>) -> Vec<Event> {
    events.push(sse::done());
    events
}
