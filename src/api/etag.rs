//! `If-None-Match`, for whatever is asked about again (RFC 9110, 13.1.2).

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Whether the client has the representation with this tag, which is a strong one with its quotes.
pub fn matches(headers: &HeaderMap, tag: &str) -> bool {
    let sent = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = sent.flat_map(|value| value.split(',')).map(str::trim);
    // A proxy that compresses marks tags as weak.
    tags.any(|sent| sent == "*" || sent.strip_prefix("W/").unwrap_or(sent) == tag)
}

/// A response with its tag, which the client keeps to ask again with.
pub fn tagged(mut response: Response, tag: &str) -> Response {
    let headers = response.headers_mut();
    // Kept to be asked about again, not to be used unasked.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

pub fn not_modified(tag: &str) -> Response {
    tagged(StatusCode::NOT_MODIFIED.into_response(), tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_weak_tags_and_any() {
        let check = |sent: &[&'static str], expected: bool| {
            let headers: HeaderMap =
                sent.iter().map(|value| (header::IF_NONE_MATCH, value.parse().unwrap())).collect();
            assert_eq!(matches(&headers, "\"a\""), expected, "{sent:?}");
        };
        check(&["\"a\""], true);
        check(&["\"b\", \"a\""], true);
        check(&["\"b\"", "W/\"a\""], true);
        check(&["*"], true);
        check(&["\"b\""], false);
        check(&["a"], false);
        check(&[], false);
    }
}
