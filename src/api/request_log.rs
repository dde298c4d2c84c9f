//! Request ids and the one log line a request.
//!
//! `x-request-id` comes back as it came, or is made. The line is written when the last byte has gone out or
//! the client has, whichever is first: every holder (the response's body, the handler) keeps the [`RequestLog`]
//! alive, and its drop writes. Prompts and answers are never logged.

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
use uuid::Uuid;

const HEADER: &str = "x-request-id";
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
    pub model: OnceLock<String>,
    pub prompt_tokens: AtomicU64,
    pub completion_tokens: AtomicU64,
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        let (id, method, path) = (&self.id, &self.method, &self.path);
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
            tracing::debug!(id, method, path, status, outcome, elapsed_ms, "request");
        } else {
            tracing::info!(id, method, path, status, outcome, elapsed_ms, "request");
        }
    }
}

/// The outermost layer: makes the log and the id, puts the id on the response.
pub async fn log_request(mut request: Request, next: Next) -> Response {
    let id = match request.headers().get(HEADER).and_then(|value| value.to_str().ok()) {
        Some(id) if !id.is_empty() && id.len() <= ID_BYTES_MAX => id.to_owned(),
        _ => Uuid::new_v4().to_string(),
    };
    let log = Arc::new(RequestLog {
        id: id.clone(),
        method: request.method().to_string(),
        path: request.uri().path().chars().take(200).collect(),
        started: Instant::now(),
        status: AtomicU16::new(0),
        completed: AtomicBool::new(false),
        model: OnceLock::new(),
        prompt_tokens: AtomicU64::new(0),
        completion_tokens: AtomicU64::new(0),
    });
    request.extensions_mut().insert(log.clone());
    let mut response = next.run(request).await;
    log.status.store(response.status().as_u16(), Ordering::Relaxed);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    response.map(|body| {
        if body.is_end_stream() {
            log.completed.store(true, Ordering::Relaxed);
        }
        Body::new(LoggedBody { body, log })
    })
}

/// Passes a body on and notes that it came to its end.
struct LoggedBody {
    body: Body,
    log: Arc<RequestLog>,
}

impl HttpBody for LoggedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
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
