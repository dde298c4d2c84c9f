//! From the bytes of a request body to a typed request, or to one error that names the field.
//!
//! Strict on purpose: a mistyped field name that is ignored costs its sender a day. A field is known and used,
//! known and ignored ([`RequestBody::IGNORED`]), known and refused unless it asks for nothing
//! ([`RequestBody::UNSUPPORTED`]), or unknown; the last two are 400 with `param`. A server may choose to leave unknown
//! fields out and name them ([`parse_naming_unknown`]).

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::nearest::nearest;

/// What is wrong with a request, in the words of the API's error body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadRequest {
    pub message: String,
    pub param: Option<String>,
    pub code: Option<&'static str>,
}

impl BadRequest {
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.into()), code: Some("invalid_value") }
    }

    pub fn missing(param: impl Into<String>) -> Self {
        let param = param.into();
        Self {
            message: format!("`{param}` is required"),
            param: Some(param),
            code: Some("missing_required_parameter"),
        }
    }

    pub fn unsupported(param: impl Into<String>, what: &str) -> Self {
        let message = format!("{what} is not supported yet: leave it out of the request");
        Self { message, param: Some(param.into()), code: Some("unsupported_parameter") }
    }

    pub fn unknown<'a>(
        param: impl Into<String>,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let hint = nearest(name, known).map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
        let message = format!("unknown field `{}`{hint}", clip(name));
        Self { message, param: Some(param.into()), code: Some(UNKNOWN) }
    }
}

const UNKNOWN: &str = "unknown_parameter";

/// A field the server knows and cannot honour.
pub struct Unsupported {
    pub name: &'static str,
    /// JSON texts that ask for nothing, beside `null`, `false`, `""`, `[]` and `{}`.
    pub harmless: &'static [&'static str],
}

/// A request body with its field rules.
pub trait RequestBody: DeserializeOwned + ToSchema {
    /// Fields that clients send and that change nothing about the answer.
    const IGNORED: &'static [&'static str] = &[];
    const UNSUPPORTED: &'static [Unsupported] = &[];

    /// What no field took.
    fn unknown(&self) -> &Map<String, Value>;

    /// Read a flattened part on its own: serde loses the path of an error inside one.
    ///
    /// # Errors
    /// The part's own first error.
    fn read_flattened(_body: &Value) -> Result<(), BadRequest> {
        Ok(())
    }

    /// Rules between fields that need neither limits nor a model.
    ///
    /// # Errors
    /// The first field at fault.
    fn check(&self) -> Result<(), BadRequest> {
        Ok(())
    }
}

/// Fields that may be left out of one request; a body with more was meant for another server.
const LEFT_OUT_MAX: usize = 32;

/// Read a body of at most `depth_max` nested lists and objects.
///
/// # Errors
/// The first thing wrong, with its path in `param` where it has one.
pub fn parse_request<T: RequestBody>(bytes: &[u8], depth_max: usize) -> Result<T, BadRequest> {
    read_checked(&read_body::<T>(bytes, depth_max)?)
}

/// [`parse_request`] without the fields that nobody knows, at any depth, whose paths stand beside the request.
///
/// # Errors
/// The first other thing wrong, or one unknown field too many.
pub fn parse_naming_unknown<T: RequestBody>(
    bytes: &[u8],
    depth_max: usize,
) -> Result<(T, Vec<String>), BadRequest> {
    let mut body = read_body::<T>(bytes, depth_max)?;
    let mut left_out = Vec::new();
    loop {
        let error = match read_checked(&body) {
            Ok(request) => return Ok((request, left_out)),
            Err(error) => error,
        };
        match &error.param {
            Some(path)
                if error.code == Some(UNKNOWN)
                    && left_out.len() < LEFT_OUT_MAX
                    && remove(&mut body, path) =>
            {
                left_out.push(path.clone());
            }
            _ => return Err(error),
        }
    }
}

/// Whether there was something at this path, as errors write it: a field's own name may hold dots.
fn remove(value: &mut Value, path: &str) -> bool {
    if let Value::Object(map) = value
        && map.shift_remove(path).is_some()
    {
        return true;
    }
    let Some((first, rest)) = path.split_once('.') else { return false };
    let inner = match value {
        Value::Object(map) => map.get_mut(first),
        Value::Array(list) => first.parse::<usize>().ok().and_then(|index| list.get_mut(index)),
        _ => None,
    };
    inner.is_some_and(|inner| remove(inner, rest))
}

/// The JSON of a body without what asks for nothing.
fn read_body<T: RequestBody>(bytes: &[u8], depth_max: usize) -> Result<Value, BadRequest> {
    let plain = |message: String, code| BadRequest { message, param: None, code: Some(code) };
    if let Err(error) = std::str::from_utf8(bytes) {
        let message = format!("the body is not valid UTF-8 (byte {})", error.valid_up_to());
        return Err(plain(message, "invalid_json"));
    }
    let depth = nesting_depth(bytes);
    if depth > depth_max {
        let message = format!("the body nests {depth} levels of lists and objects, deeper than {depth_max}");
        return Err(plain(message, "invalid_json"));
    }
    let body: Value = serde_json::from_slice(bytes)
        .map_err(|error| plain(format!("the body is not valid JSON: {error}"), "invalid_json"))?;
    let Value::Object(mut body) = body else {
        return Err(plain("the body must be a JSON object".to_owned(), "invalid_json"));
    };
    for name in T::IGNORED {
        body.shift_remove(*name);
    }
    for Unsupported { name, harmless } in T::UNSUPPORTED {
        if let Some(value) = body.shift_remove(*name)
            && !is_empty(&value)
            && !harmless.contains(&value.to_string().as_str())
        {
            return Err(BadRequest::unsupported(*name, &format!("`{name}`")));
        }
    }
    for value in body.values_mut() {
        whole_float_to_integer(value);
    }
    Ok(Value::Object(body))
}

fn read_checked<T: RequestBody>(body: &Value) -> Result<T, BadRequest> {
    T::read_flattened(body)?;
    let request: T = read_part(body)?;
    if let Some(name) = request.unknown().keys().next() {
        let known = field_names::<T>();
        return Err(BadRequest::unknown(clip(name), name, known.iter().map(String::as_str)));
    }
    request.check()?;
    Ok(request)
}

/// Deserialise, turning an error into the path of the value at fault and words that need no Rust.
pub(super) fn read_part<T: DeserializeOwned>(body: &Value) -> Result<T, BadRequest> {
    serde_path_to_error::deserialize(body).map_err(|error| {
        let path: Vec<String> = error.path().iter().filter_map(segment).collect();
        let path = path.join(".");
        let message = error.into_inner().to_string();
        let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        if let Some(name) = quoted_after(&message, "missing field `") {
            return BadRequest::missing(join(name));
        }
        if let Some(name) = quoted_after(&message, "unknown field `") {
            let known = message.split("expected").nth(1).unwrap_or_default().split('`').skip(1).step_by(2);
            // The path may or may not end with the field itself, as the reader had got to it or not.
            let param =
                if path == name || path.ends_with(&format!(".{name}")) { path.clone() } else { join(name) };
            return BadRequest::unknown(clip(&param), name, known);
        }
        let param = (!path.is_empty()).then_some(path);
        let message = match &param {
            Some(param) => format!("{param}: {}", in_json_words(&message)),
            None => in_json_words(&message),
        };
        BadRequest { message: clip(&message), param, code: Some("invalid_type") }
    })
}

/// `null`, `false`, `""`, `[]` and `{}` ask for nothing.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn segment(segment: &serde_path_to_error::Segment) -> Option<String> {
    match segment {
        serde_path_to_error::Segment::Seq { index } => Some(index.to_string()),
        serde_path_to_error::Segment::Map { key } => Some(key.clone()),
        _ => None,
    }
}

fn quoted_after<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    message.strip_prefix(start)?.split('`').next()
}

/// serde names what it expected in Rust's types; a client thinks in JSON's.
fn in_json_words(message: &str) -> String {
    let Some((found, expected)) = message.split_once(", expected ") else { return message.to_owned() };
    let expected = match expected {
        "u32" => "an integer from 0 to 4294967295",
        "u64" | "usize" => "an integer from 0 to 18446744073709551615",
        "i32" => "an integer from -2147483648 to 2147483647",
        "i64" => "an integer from -9223372036854775808 to 9223372036854775807",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    };
    format!("{found}, expected {expected}")
}

/// 16.0 is the integer 16 in JSON; 16.5 stays, and is refused where an integer is wanted.
fn whole_float_to_integer(value: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    if let Some(number) = value.as_f64()
        && value.is_f64()
        && number.fract() == 0.0
        && number.abs() < EXACT
    {
        *value = Value::from(number as i64);
    }
}

/// The deepest nesting of brackets outside strings. Runs before the parser, which recurses.
fn nesting_depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The fields of a request, read from its schema, flattened parts included.
pub(super) fn field_names<T: ToSchema>() -> Vec<String> {
    let mut parts = vec![(String::new(), T::schema())];
    T::schemas(&mut parts);
    let schemas: Vec<(String, Value)> = parts
        .into_iter()
        .filter_map(|(name, schema)| Some((name, serde_json::to_value(schema).ok()?)))
        .collect();
    let mut names = Vec::new();
    if let Some((_, root)) = schemas.first() {
        collect_properties(root, &schemas, &mut names);
    }
    names
}

fn collect_properties(schema: &Value, schemas: &[(String, Value)], names: &mut Vec<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        names.extend(properties.keys().cloned());
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        let referred = part["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
        match referred {
            Some(name) => {
                if let Some((_, part)) = schemas.iter().find(|(other, _)| other == name) {
                    collect_properties(part, &[], names);
                }
            }
            None => collect_properties(part, schemas, names),
        }
    }
}

/// Echo at most this much of what a client sent.
fn clip(text: &str) -> String {
    const CHARACTERS_MAX: usize = 300;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::chat::ChatRequest;
    use super::super::completions::CompletionRequest;
    use super::*;

    /// `expected` is `param: words the message contains`, or `ok`.
    fn outcome<T: RequestBody>(json: &[u8], expected: &str) {
        let json_text = String::from_utf8_lossy(json).into_owned();
        let got = parse_request::<T>(json, 16).map(|_| ());
        if expected == "ok" {
            assert_eq!(got, Ok(()), "{json_text}");
            return;
        }
        let error = got.expect_err(&json_text);
        let (param, words) = expected.split_once(": ").unwrap();
        assert_eq!(error.param.as_deref().unwrap_or("-"), param, "{json_text}: {error:?}");
        assert!(error.message.contains(words), "{json_text}: `{}` lacks `{words}`", error.message);
    }

    #[test]
    fn names_the_field_of_a_bad_completion() {
        let check = |json: &str, expected: &str| outcome::<CompletionRequest>(json.as_bytes(), expected);
        check(r#"{"model": "m", "prompt": "a"}"#, "ok");
        check(r#"{"prompt": "a", "max_tokens": 16.0, "temperature": 1}"#, "ok");
        check(r#"{"prompt": "a", "seed": -9223372036854775808}"#, "ok");
        check(r#"{"prompt": "a", "seed": 18446744073709551615}"#, "ok");
        check(r#"{"prompt": "a", "seed": 1e30}"#, "seed: 64 bits");
        check(r#"{"prompt": "a", "user": "u", "best_of": 1, "suffix": null, "echo": true}"#, "ok");
        check(r#"{"max_tokens": 1}"#, "prompt: required");
        check(r#"{"prompt": null, "prompt_embeds": "aa"}"#, "ok");
        check(r#"{"prompt": "", "prompt_embeds": ["aa", "bb"]}"#, "ok");
        check(r#"{"prompt": [], "prompt_embeds": []}"#, "ok");
        check(r#"{"prompt_embeds": 5}"#, "prompt_embeds: a string in base64 or a list of them");
        check(r#"{"prompt": "a", "prompt_embeds": "aa"}"#, "prompt_embeds: two prompts");
        check(r#"{"prompt_embeds": "aa", "echo": true}"#, "echo: about a prompt's tokens");
        check(r#"{"prompt_embeds": "aa", "prompt_logprobs": 1}"#, "prompt_logprobs: about");
        check(r#"{"prompt_embeds": "aa", "truncate_prompt_tokens": 9}"#, "truncate_prompt_tokens: about");
        check(r#"{"prompt": "a", "best_of": 3}"#, "best_of: not supported yet");
        check(r#"{"prompt": "a", "temprature": 1}"#, "temprature: did you mean `temperature`");
        check(r#"{"prompt": "a", "promt": 1}"#, "promt: did you mean `prompt`");
        check(r#"{"prompt": "a", "max_tokens": -1}"#, "max_tokens: integer from 0 to 4294967295");
        check(r#"{"prompt": "a", "max_tokens": 1.5}"#, "max_tokens: integer from 0 to 4294967295");
        check(r#"{"prompt": "a", "max_tokens": 5, "max_completion_tokens": 5}"#, "ok");
        check(
            r#"{"prompt": "a", "max_tokens": 5, "max_completion_tokens": 6}"#,
            "max_completion_tokens: max_tokens",
        );
        check(r#"{"prompt": "a", "n": 99999999999}"#, "n: integer from 0 to 4294967295");
        check(r#"{"prompt": "a", "temperature": "hot"}"#, "temperature: expected a number");
        check(r#"{"prompt": "a", "stop": ["x", 3]}"#, "stop.1: expected a string");
        check(
            r#"{"prompt": "a", "stop_token_ids": [1, -3]}"#,
            "stop_token_ids.1: integer from 0 to 4294967295",
        );
        check(r#"{"prompt": "a", "logit_bias": {"7": "x"}}"#, "logit_bias.7: number");
        check(r#"{"prompt": "a", "logprobs_mode": "cooked"}"#, "logprobs_mode: cooked");
        check(r#"{"prompt": "a", "logprobs_mode": "processed", "logprobs": 1}"#, "ok");
        check(r#"{"prompt": "a", "logprobs_mode": "processed", "echo": true}"#, "ok");
        check(
            r#"{"prompt": "a", "logprobs_mode": "processed", "echo": true, "logprobs": 1}"#,
            "logprobs_mode: raw",
        );
        check(
            r#"{"prompt": "a", "stream": true, "stream_options": {"include_use": true}}"#,
            "stream_options.include_use: did you mean `include_usage`",
        );
        check(r#"{"prompt": "a", "stream_options": {"include_usage": true}}"#, "stream_options: stream");
        check(r#"{"prompt": [[1, 2], [3, -4]]}"#, "prompt.1.1: integer from 0 to 4294967295");
        check(r#"{"prompt": 5}"#, "prompt: a string, a list");
        check("{}", "prompt: required");
        check("[]", "-: must be a JSON object");
        check("{", "-: not valid JSON");
        check("{\"prompt\": \"a\"} x", "-: not valid JSON");
        check(
            &format!("{}{}", "[".repeat(1000), "]".repeat(1000)),
            "-: nests 1000 levels of lists and objects, deeper than 16",
        );
        check(r#"{"prompt": "[[[[[[[[[[[[[[[[[[[[[[[[\"[[[["}"#, "ok");
        check(
            &format!(r#"{{"prompt": "a", "{}": 1}}"#, "x".repeat(5000)),
            &format!("{}...: unknown", "x".repeat(300)),
        );
        outcome::<CompletionRequest>(b"{\"prompt\": \"\xff\"}", "-: not valid UTF-8 (byte 12)");
    }

    #[test]
    fn names_the_field_of_a_bad_chat() {
        let check = |json: &str, expected: &str| outcome::<ChatRequest>(json.as_bytes(), expected);
        let with = |field: &str| format!(r#"{{"messages": [{{"role": "user", "content": "a"}}], {field}}}"#);
        check(&with(r#""model": "m""#), "ok");
        check(&with(r#""tools": [], "tool_choice": "none", "response_format": {"type": "text"}"#), "ok");
        check(&with(r#""tools": [{"type": "function"}]"#), "tools.0.function: required");
        check(&with(r#""functions": [{"name": "f"}]"#), "functions: not supported yet");
        check(
            &with(r#""response_format": {"type": "json_schema"}"#),
            "response_format.json_schema: required",
        );
        check(&with(r#""thinking_prefix": true"#), "thinking_prefix: needs `reasoning_language`");
        check(
            &with(r#""reasoning_language": "ja", "reasoning_steer": 101"#),
            "reasoning_steer: from 0 to 100",
        );
        check(&with(r#""logprobs": 5"#), "logprobs: boolean");
        check(&with(r#""top_logprobs": 5"#), "top_logprobs: logprobs");
        check(&with(r#""chat_template_kwargs": {"enable_thinking": false}"#), "ok");
        check(&with(r#""chat_template_kwargs": 5"#), "chat_template_kwargs: object");
        check(&with(r#""max_tokens": 5, "max_completion_tokens": 5"#), "ok");
        check(&with(r#""max_tokens": 5, "max_completion_tokens": 6"#), "max_completion_tokens: max_tokens");
        check(r#"{"messages": "hi"}"#, "messages: list");
        check(r#"{"messages": []}"#, "messages: at least one");
        check(r#"{"messages": [{"role": "user", "content": 5}]}"#, "messages.0.content: a string or a list");
        check(
            r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}"#,
            "messages.0.content.0.text: string",
        );
        check(r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}"#, "ok");
        check(
            r#"{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}"#,
            "messages.0.content.0.type: not supported yet",
        );
        check(r#"{"messages": [{"role": "usr", "content": "a"}]}"#, "messages.0.role: not one of");
        check(r#"{"messages": [{"role": "user"}]}"#, "messages.0.content: required");
        check(r#"{"messages": [{"content": "a"}]}"#, "messages.0.role: required");
        check(
            r#"{"messages": [{"role": "user", "contents": "a"}]}"#,
            "messages.0.contents: did you mean `content`",
        );
        check(
            r#"{"messages": [{"role": "assistant", "content": "a", "refusal": null, "tool_calls": null}]}"#,
            "ok",
        );
        check(r#"{"messages": [{"role": "tool", "content": "a", "tool_call_id": "c"}]}"#, "ok");
        check(
            r#"{"messages": [{"role": "function", "content": "a"}]}"#,
            "messages.0.role: not supported yet",
        );
        let called = |arguments: &str| {
            format!(
                r#"{{"messages": [{{"role": "assistant", "tool_calls":
                    [{{"id": "c", "type": "function", "function": {{"name": "f", "arguments": "{arguments}"}}}}]}}]}}"#
            )
        };
        check(&called("{}"), "ok");
        check(&called(""), "ok");
        check(&called("[1"), "ok");
        check(&called("{}").replace("assistant", "user"), "messages.0.tool_calls: only an assistant");
    }

    #[test]
    fn unknown_fields_are_named_where_they_are_left_out() {
        let check = |more: &str, expected: Result<&[&str], &str>| {
            let json = format!(r#"{{"messages": [{{"role": "user", "content": "a", "mood": 1}}], {more}}}"#);
            let got = parse_naming_unknown::<ChatRequest>(json.as_bytes(), 16).map(|(_, left_out)| left_out);
            let got = got.as_ref().map(Vec::as_slice).map_err(|error| error.param.as_deref().unwrap_or("-"));
            let expected =
                expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            assert_eq!(got, expected.as_deref().map_err(|param| *param), "{json}");
        };
        let mood = "messages.0.mood";
        check(r#""n": 1"#, Ok(&[mood]));
        check(r#""temprature": 1, "a.b": [[]], "seed": 1"#, Ok(&[mood, "temprature", "a.b"]));
        check(r#""stream": true, "stream_options": {"usage": true}"#, Ok(&["stream_options.usage", mood]));
        check(r#""tools": [{"type": "function"}]"#, Err("tools.0.function"));
        check(r#""chat_template": "x""#, Err("chat_template"));
        check(r#""n": -1"#, Err("n"));
        let many: Vec<String> = (0..40).map(|i| format!("\"x{i}\": 1")).collect();
        check(&many.join(", "), Err("x31"));
        let long = "x".repeat(5000);
        check(&format!("\"{long}\": 1"), Err(&format!("{}...", "x".repeat(300))));
    }

    #[test]
    fn knows_its_own_fields() {
        let names = field_names::<ChatRequest>();
        for name in ["messages", "temperature", "top_logprobs", "stream_options", "seed"] {
            assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
        }
        assert!(!names.iter().any(|known| known == "unknown"), "{names:?}");
    }
}
