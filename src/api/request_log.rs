//! Request ids and the one log line a request.
//!
//! `x-request-id` comes back as it came, or is made where none came or one that no log should have; every line that is
//! written for a request carries it, in a span. The line of a request is written when the last byte has gone out or
//! the client has, whichever is first: every holder (the response's body, the handler) keeps the [`RequestLog`]
//! alive, and its drop writes. Prompts and answers are never logged, and of a key its name alone.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::keys::HeldKey;
use super::rate_limit::Place;

const HEADER: &str = "x-request-id";
const IGNORED_FIELDS: &str = "x-xenoglot-ignored-fields";
const ID_BYTES_MAX: usize = 128;

#[derive(Debug)]
pub struct RequestLog {
    pub id: String,
    method: String,
    path: String,
    started: Instant,
    status: AtomicU16,
    /// The whole response went out.
    completed: AtomicBool,
    /// That the request came with.
    pub key: OnceLock<Arc<HeldKey>>,
    /// Among the key's requests, until this one has ended.
    pub place: OnceLock<Place>,
    /// Fields that the request was answered without.
    pub ignored_fields: OnceLock<Vec<String>>,
    pub model: OnceLock<String>,
    pub prompt_tokens: AtomicU64,
    pub completion_tokens: AtomicU64,
}

impl RequestLog {
    /// The name of the key that the request came with.
    pub fn key_name(&self) -> Option<&str> {
        self.key.get().map(|held| held.key.name.as_str())
    }

    /// The models that the key may use, where it has a list of them.
    pub fn held_to(&self) -> Option<&[String]> {
        self.key.get().and_then(|held| held.key.models.as_deref())
    }

    /// By what things that are kept name the key; `None` without one.
    pub fn key_identity(&self) -> Option<String> {
        self.key.get().map(|held| held.key.identity())
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        let (id, method, path) = (&self.id, &self.method, &self.path);
        let key = self.key_name();
        let status = self.status.load(Ordering::Relaxed);
        let elapsed_ms = self.started.elapsed().as_millis() as u64;
        let outcome = if self.completed.load(Ordering::Relaxed) { "completed" } else { "client gone" };
        if let Some(model) = self.model.get() {
            let prompt_tokens = self.prompt_tokens.load(Ordering::Relaxed);
            let completion_tokens = self.completion_tokens.load(Ordering::Relaxed);
            tracing::info!(
                id,
                method,
                path,
                key,
                status,
                outcome,
                elapsed_ms,
                model,
                prompt_tokens,
                completion_tokens,
                "request"
            );
        } else if path == "/health" || path == "/metrics" {
            // Probes every few seconds would drown the rest.
            tracing::debug!(id, method, path, key, status, outcome, elapsed_ms, "request");
        } else {
            tracing::info!(id, method, path, key, status, outcome, elapsed_ms, "request");
        }
    }
}

/// The outermost layer: makes the log, the id and the span of the log lines, puts the id on the response.
pub async fn log_request(mut request: Request, next: Next) -> Response {
    let sent = request.headers().get(HEADER).and_then(|value| value.to_str().ok());
    let id = sent.filter(|id| is_sane(id)).map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
    let log = Arc::new(RequestLog {
        id: id.clone(),
        method: request.method().to_string(),
        path: request.uri().path().chars().take(200).collect(),
        started: Instant::now(),
        status: AtomicU16::new(0),
        completed: AtomicBool::new(false),
        key: OnceLock::new(),
        place: OnceLock::new(),
        ignored_fields: OnceLock::new(),
        model: OnceLock::new(),
        prompt_tokens: AtomicU64::new(0),
        completion_tokens: AtomicU64::new(0),
    });
    request.extensions_mut().insert(log.clone());
    // Of the level of errors, so that every line has it, whatever is filtered.
    let span = tracing::error_span!("request", id, method = log.method, path = log.path);
    #[cfg(feature = "otel")]
    super::trace_parent::adopt(&span, request.headers());
    let mut response = next.run(request).instrument(span.clone()).await;
    log.status.store(response.status().as_u16(), Ordering::Relaxed);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    if let Some(value) = log.ignored_fields.get().and_then(|names| header_of(names)) {
        response.headers_mut().insert(IGNORED_FIELDS, value);
    }
    response.map(|body| {
        if body.is_end_stream() {
            log.completed.store(true, Ordering::Relaxed);
        }
        Body::new(LoggedBody { body, log, span })
    })
}

/// An id stands in headers, logs and labels of others: plain characters, not too many.
fn is_sane(id: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Names that a client made up, as a header takes them.
fn header_of(names: &[String]) -> Option<HeaderValue> {
    const NAME_CHARACTERS_MAX: usize = 64;
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '?' };
    let names: Vec<String> =
        names.iter().map(|name| name.chars().take(NAME_CHARACTERS_MAX).map(plain).collect()).collect();
    HeaderValue::from_str(&names.join(",")).ok()
}

/// Passes a body on and notes that it came to its end.
struct LoggedBody {
    body: Body,
    log: Arc<RequestLog>,
    span: Span,
}

impl HttpBody for LoggedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let span = self.span.clone();
        let frame = span.in_scope(|| Pin::new(&mut self.body).poll_frame(context));
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.log.completed.store(true, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_clients_are_plain_or_not_taken() {
        let check = |id: &str, expected: bool| assert_eq!(is_sane(id), expected, "{id:?}");
        check("req-1:2/3", true);
        check(&"x".repeat(128), true);
        check(&"x".repeat(129), false);
        check("", false);
        check("a b", false);
        check("a\tb", false);
    }

    #[test]
    fn names_that_a_client_made_up_are_no_headers_of_its_own() {
        let names = ["a_b.0.c", "x\r\nset-cookie: 1", "名前"].map(str::to_owned);
        let header = header_of(&names).unwrap();
        assert_eq!(header, "a_b.0.c,x??set-cookie??1,??");
        assert_eq!(header_of(&["x".repeat(500)]).unwrap().len(), 64);
    }
}
