//! What is sent, and the parts of an answer that are not completions.

use std::collections::BTreeSet;

use reqwest::Response;
use serde_json::{Value, json};

use crate::eval::generator::{GenerationRequest, Sampling};

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

/// The body of a request; `unknown` are parameters the server was found not to take.
pub(super) fn body(
    model: &str,
    request: &GenerationRequest,
    n: usize,
    seed: u64,
    unknown: &BTreeSet<&'static str>,
) -> Value {
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
    if let Some(opening) = &request.opening {
        // As vLLM, SGLang and this project's server have it. A server that does not know the fields refuses the request,
        // or, worse, answers as if the opening were a finished turn: docs/suites.md says so.
        if let Some(messages) = body["messages"].as_array_mut() {
            messages.push(json!({"role": "assistant", "content": opening}));
        }
        body["add_generation_prompt"] = json!(false);
        body["continue_final_message"] = json!(true);
    }
    for extension in extensions(sampling).into_iter().filter(|one| !unknown.contains(&one.name)) {
        body[extension.name] = extension.value;
    }
    body
}

/// A parameter of the servers of open models that is not OpenAI's own.
struct Extension {
    name: &'static str,
    value: Value,
    /// Whether a server without it does the same.
    off: bool,
}

/// All are sent, also where they are off: vLLM and this project's server fill in what a request leaves out from the
/// model's generation_config, and the run would measure other sampling than it records.
fn extensions(sampling: &Sampling) -> [Extension; 3] {
    let off = sampling.top_k == 0;
    // -1 is off everywhere; SGLang and older vLLM refuse 0.
    let top_k = if off { json!(-1) } else { json!(sampling.top_k) };
    [
        Extension { name: "top_k", value: top_k, off },
        Extension { name: "min_p", value: json!(shortest(sampling.min_p)), off: sampling.min_p == 0.0 },
        Extension { name: "repetition_penalty", value: json!(1.0), off: true },
    ]
}

/// The extension that a refusal is about and that was off, so that the request can do without it. One that is on
/// cannot be left out: the run would record sampling that it does not have.
pub(super) fn dispensable(
    sampling: &Sampling,
    unknown: &BTreeSet<&'static str>,
    parameter: Option<&str>,
    message: &str,
) -> Option<&'static str> {
    // Several servers name what they do not know in the message alone.
    let meant = |name: &str| parameter.map_or_else(|| message.contains(name), |parameter| parameter == name);
    let sent = extensions(sampling).into_iter().filter(|one| one.off && !unknown.contains(&one.name));
    sent.map(|one| one.name).find(|name| meant(name))
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
    fn only_extensions_that_are_off_can_be_left_out() {
        let check = |top_k: u32, unknown: &[&'static str], refusal: (Option<&str>, &str), expected| {
            let sampling = Sampling { top_k, ..Sampling::default() };
            let unknown = unknown.iter().copied().collect();
            assert_eq!(dispensable(&sampling, &unknown, refusal.0, refusal.1), expected, "{refusal:?}");
        };
        check(0, &[], (Some("top_k"), "unknown"), Some("top_k"));
        check(9, &[], (Some("top_k"), "unknown"), None);
        check(0, &["top_k"], (Some("top_k"), "unknown"), None);
        check(0, &[], (Some("messages"), "too long for a top_k"), None);
        check(0, &[], (None, "Unrecognized request argument supplied: min_p"), Some("min_p"));
        check(0, &["top_k", "min_p"], (None, "no top_k, repetition_penalty"), Some("repetition_penalty"));
        check(0, &[], (None, "the prompt is too long"), None);
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
