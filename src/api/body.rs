//! Reads a request body into its wire type: bounded in size and time, strict in content.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::error::ApiError;
use super::limits::Limits;
use super::request_log::RequestLog;
use super::state::AppState;
use crate::protocol::parse::{BadRequest, RequestBody, parse_naming_unknown, parse_request};
use crate::settings::UnknownFields;

/// Bodies from this size on are parsed off the async threads.
const LARGE_BYTES: usize = 256 << 10;
/// A body over the limit is read and thrown away up to here: a client that is still sending would otherwise
/// see a broken connection in place of the 413.
const DISCARD_BYTES_MAX: usize = 256 << 20;

/// The extractor of every route that takes a body.
pub struct StrictJson<T>(pub T);

impl<T: RequestBody + Send + 'static> FromRequest<AppState> for StrictJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let limits = &state.options().limits;
        if !is_json(request.headers()) {
            return Err(ApiError::not_json());
        }
        let log = request.extensions().get::<Arc<RequestLog>>().cloned();
        let expects_continue = request.headers().contains_key(header::EXPECT);
        let bytes = read(request.into_body(), limits, expects_continue).await?;
        let (depth_max, unknown) = (limits.json_depth_max, limits.unknown_fields);
        let (request, left_out) = if bytes.len() < LARGE_BYTES {
            parse(&bytes, depth_max, unknown)?
        } else {
            state.blocking(move || parse(&bytes, depth_max, unknown)).await??
        };
        if let Some(log) = log.filter(|_| !left_out.is_empty()) {
            // A second setting fails and changes nothing: a request has one body.
            let _ = log.ignored_fields.set(left_out);
        }
        Ok(Self(request))
    }
}

/// With the fields that were left out.
fn parse<T: RequestBody>(
    bytes: &[u8],
    depth_max: usize,
    unknown: UnknownFields,
) -> Result<(T, Vec<String>), BadRequest> {
    match unknown {
        UnknownFields::Refuse => parse_request(bytes, depth_max).map(|request| (request, Vec::new())),
        UnknownFields::Name => parse_naming_unknown(bytes, depth_max),
    }
}

/// Browsers send `text/plain` and forms across sites without asking; JSON they do not.
fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| {
        essence.eq_ignore_ascii_case("application/json") || essence.to_ascii_lowercase().ends_with("+json")
    })
}

async fn read(body: Body, limits: &Limits, expects_continue: bool) -> Result<Vec<u8>, ApiError> {
    let limit = limits.body_bytes_max;
    let announced = body.size_hint().lower();
    if announced > limit as u64 && (expects_continue || announced > DISCARD_BYTES_MAX as u64) {
        return Err(ApiError::body_too_large(limit));
    }
    let mut kept = Vec::with_capacity((announced as usize).min(limit));
    let mut received = 0;
    let mut pieces = body.into_data_stream();
    let end = Instant::now() + limits.body_timeout;
    loop {
        let idle_end = Instant::now() + limits.body_idle_timeout;
        let piece = match timeout_at(idle_end.min(end), pieces.next()).await {
            Err(_) => return Err(ApiError::body_too_slow()),
            Ok(Some(Err(_))) => return Err(ApiError::body_broken()),
            Ok(Some(Ok(piece))) => piece,
            Ok(None) if received > limit => return Err(ApiError::body_too_large(limit)),
            Ok(None) => return Ok(kept),
        };
        received += piece.len();
        if received > DISCARD_BYTES_MAX.max(limit) {
            return Err(ApiError::body_too_large(limit));
        }
        if received <= limit {
            kept.extend_from_slice(&piece);
        } else {
            kept = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn bodies_over_the_limit_are_read_to_their_end_and_refused() {
        let limits = Limits { body_bytes_max: 10, ..Limits::default() };
        let check = async |bytes: usize, expected: Result<usize, u16>| {
            let got = read(Body::from(vec![b' '; bytes]), &limits, false).await;
            assert_eq!(
                got.map(|kept| kept.len()).map_err(|error| error.status.as_u16()),
                expected,
                "{bytes}"
            );
        };
        check(0, Ok(0)).await;
        check(10, Ok(10)).await;
        check(11, Err(413)).await;
        check(5_000_000, Err(413)).await;
    }

    /// Each piece comes in time, and all of them do not.
    #[tokio::test]
    async fn a_body_that_trickles_ends() {
        let limits = Limits { body_timeout: Duration::from_millis(100), ..Limits::default() };
        let trickle = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Some((Ok::<_, std::io::Error>(" "), ()))
        });
        let got =
            tokio::time::timeout(Duration::from_secs(20), read(Body::from_stream(trickle), &limits, false));
        assert_eq!(got.await.unwrap().unwrap_err().status, 408);
    }

    #[test]
    fn only_json_is_json() {
        let check = |media_type: &str, expected: bool| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, media_type.parse().unwrap())]);
            assert_eq!(is_json(&headers), expected, "{media_type}");
        };
        check("application/json", true);
        check("Application/JSON; charset=utf-8", true);
        check("application/merge-patch+json", true);
        check("text/plain", false);
        check("application/x-www-form-urlencoded", false);
        assert!(!is_json(&HeaderMap::new()));
    }
}
