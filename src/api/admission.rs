//! A caller's key, its limits and its headers: what stands between `auth` and the routes for requests with a key.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::keys::HeldKey;
use super::rate_limit::{KeyUsage, LimitError, Reservation, Standing};
use super::request_log::RequestLog;

/// Runs a request under its key. Its place is kept by the log, which the answer's body keeps until it has gone out.
pub async fn admit(held: Arc<HeldKey>, log: &RequestLog, request: Request, next: Next) -> Response {
    // Second settings fail and change nothing: a request passes here once.
    let _ = log.key.set(held.clone());
    let mut response = match held.usage.admit() {
        Ok(place) => {
            let _ = log.place.set(place);
            let response = next.run(request).await;
            if response.status() == StatusCode::FORBIDDEN {
                held.usage.count_refused();
            }
            response
        }
        Err(error) => ApiError::from(error).into_response(),
    };
    show_limits(&held.usage, response.headers_mut());
    response
}

/// The headers by which OpenAI's clients pace themselves.
fn show_limits(usage: &KeyUsage, headers: &mut HeaderMap) {
    const REQUESTS: [HeaderName; 3] = [
        HeaderName::from_static("x-ratelimit-limit-requests"),
        HeaderName::from_static("x-ratelimit-remaining-requests"),
        HeaderName::from_static("x-ratelimit-reset-requests"),
    ];
    const TOKENS: [HeaderName; 3] = [
        HeaderName::from_static("x-ratelimit-limit-tokens"),
        HeaderName::from_static("x-ratelimit-remaining-tokens"),
        HeaderName::from_static("x-ratelimit-reset-tokens"),
    ];
    let (requests, tokens) = usage.standing();
    for (names, standing) in [(REQUESTS, requests), (TOKENS, tokens)] {
        let Some(Standing { limit, remaining, reset_ms }) = standing else { continue };
        let [limit_name, remaining_name, reset_name] = names;
        headers.insert(limit_name, HeaderValue::from(limit));
        headers.insert(remaining_name, HeaderValue::from(remaining));
        if let Ok(reset) = HeaderValue::from_str(&duration(reset_ms)) {
            headers.insert(reset_name, reset);
        }
    }
}

/// As Go writes it, which is what OpenAI sends: `120ms`, `1.5s`, `6m0s`.
fn duration(milliseconds: u64) -> String {
    let (minutes, rest) = (milliseconds / 60_000, milliseconds % 60_000);
    let fraction = format!("{:03}", rest % 1000);
    let fraction = fraction.trim_end_matches('0');
    let seconds = match fraction {
        "" => format!("{}s", rest / 1000),
        fraction => format!("{}.{fraction}s", rest / 1000),
    };
    match (minutes, rest) {
        (0, 1..1000) => format!("{rest}ms"),
        (0, _) => seconds,
        (minutes, _) => format!("{minutes}m{seconds}"),
    }
}

/// What the caches of a request's prompt are named with. A key of the file has its own, so that nobody learns by the time of an
/// answer what others asked; what a client sends stands behind the name, and imitates none.
pub fn cache_salt(log: &RequestLog, asked: Option<String>) -> Option<String> {
    let own = log.key.get().map(|held| &held.key).filter(|key| !key.shared_cache);
    match (own, asked) {
        (None, None) => None,
        (None, Some(asked)) => Some(format!("salt:{asked}")),
        (Some(key), None) => Some(format!("key:{}", key.name)),
        (Some(key), Some(asked)) => Some(format!("key:{}:{asked}", key.name)),
    }
}

/// # Errors
/// 400 for what goes before others, with a key that may not.
pub fn check_priority(log: &RequestLog, priority: i32) -> Result<(), ApiError> {
    match log.key.get() {
        Some(held) if priority < 0 && !held.key.priority && !held.key.scopes.admin => {
            let message = "`priority` must be 0 or more for this key: lower runs before what others asked";
            Err(ApiError::invalid("priority", message))
        }
        _ => Ok(()),
    }
}

/// The tokens that a request may use under its key. They are taken when it is admitted and settled when it is dropped, at its
/// end or when its client hangs up.
pub struct Allowance {
    log: Arc<RequestLog>,
    reservation: Option<Reservation>,
    has_begun: bool,
}

impl Allowance {
    /// Nothing yet.
    pub fn none(log: &Arc<RequestLog>) -> Self {
        Self { log: log.clone(), reservation: None, has_begun: false }
    }

    /// # Errors
    /// 429, or 400 for more tokens than the key ever has, which names the prompt where it alone has more.
    pub fn reserve(&mut self, prompt: u64, completion: u64) -> Result<(), ApiError> {
        if let Some(held) = self.log.key.get() {
            let reserved = held.usage.reserve(prompt.saturating_add(completion));
            self.reservation = Some(reserved.map_err(|error| match error {
                LimitError::TooLarge { limit, .. } if prompt > limit => {
                    ApiError::from(error).with_param("prompt")
                }
                error => error.into(),
            })?);
        }
        Ok(())
    }

    /// From now on the prompt counts as used.
    pub fn begin(&mut self) {
        self.has_begun = true;
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        let Some(reservation) = self.reservation.take() else { return };
        let counted = [&self.log.prompt_tokens, &self.log.completion_tokens];
        let used: u64 = counted.into_iter().map(|tokens| tokens.load(Ordering::Relaxed)).sum();
        reservation.settle(if self.has_begun { used } else { 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_openai_writes_them() {
        let check = |milliseconds: u64, expected: &str| assert_eq!(duration(milliseconds), expected);
        check(0, "0s");
        check(17, "17ms");
        check(1000, "1s");
        check(1_050, "1.05s");
        check(59_999, "59.999s");
        check(60_000, "1m0s");
        check(360_000, "6m0s");
        check(61_500, "1m1.5s");
    }
}
