//! What is sent, and the parts of an answer that are not completions.

use reqwest::Response;
use serde_json::{Value, json};

use crate::eval::generator::GenerationRequest;

/// `http://host:port/v1` from what a user may type.
pub(super) fn base_url(url: &str) -> Result<String, String> {
    let url = url.trim().trim_end_matches('/');
    if !(url.starts_with("http://") || url.starts_with("https://")) {
        return Err(format!("{url:?} is no http:// or https:// URL"));
    }
    let url = url.strip_suffix("/chat/completions").unwrap_or(url);
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    // A path that the user gave is kept: not every server stands at /v1.
    Ok(if host.contains('/') { url.to_owned() } else { format!("{url}/v1") })
}

pub(super) fn body(model: &str, request: &GenerationRequest, n: usize, seed: u64) -> Value {
    let sampling = &request.sampling;
    let mut body = json!({
        "model": model,
        "messages": request.messages,
        "n": n,
        "seed": seed,
        "temperature": shortest(sampling.temperature),
        "top_p": shortest(sampling.top_p),
        "max_tokens": sampling.max_tokens,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    // Not OpenAI's own: only sent where they say something, since strict servers refuse them.
    if sampling.top_k > 0 {
        body["top_k"] = json!(sampling.top_k);
    }
    if sampling.min_p > 0.0 {
        body["min_p"] = json!(shortest(sampling.min_p));
    }
    body
}

/// 0.6 as f32 would be sent as 0.6000000238418579.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(value as f64)
}

pub(super) fn is_stream(response: &Response) -> bool {
    let kind =
        response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.starts_with("text/event-stream")
}

/// The message of an OpenAI error object, or the beginning of whatever came, and the parameter at fault.
pub(super) fn error_of(body: &str) -> (String, Option<String>) {
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    let error = parsed.get("error").unwrap_or(&parsed);
    let message = error.get("message").or_else(|| error.get("detail")).unwrap_or(error);
    let message = message.as_str().map_or_else(|| body.chars().take(300).collect(), str::to_owned);
    (message, error.get("param").and_then(Value::as_str).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_as_users_type_them() {
        let check = |url: &str, expected: Result<&str, ()>| {
            assert_eq!(base_url(url).map_err(|_| ()).as_deref(), expected.as_ref().copied(), "{url}");
        };
        check("http://localhost:8000", Ok("http://localhost:8000/v1"));
        check("http://localhost:8000/", Ok("http://localhost:8000/v1"));
        check("https://host/api/v1/", Ok("https://host/api/v1"));
        check("http://host/v1/chat/completions", Ok("http://host/v1"));
        check("localhost:8000", Err(()));
    }

    #[test]
    fn error_bodies() {
        let check = |body: &str, message: &str, parameter: Option<&str>| {
            assert_eq!(error_of(body), (message.to_owned(), parameter.map(str::to_owned)));
        };
        check(r#"{"error": {"message": "too long", "param": null}}"#, "too long", None);
        check(r#"{"error": {"message": "too many", "param": "n"}}"#, "too many", Some("n"));
        check(r#"{"detail": "no"}"#, "no", None);
        check("<html>", "<html>", None);
    }
}
