//! `/v1/responses`: OpenAI's newer shape of a chat, in which an answer is a list of items.

use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::language::LanguageReport;
use super::parse::{BadRequest, RequestBody, Unsupported};
use super::sampling::Seed;
use super::structured::{JsonSchemaFormat, ResponseFormat};
use super::tools::{Function, FunctionKind, FunctionName, NamedTool, Tool, ToolChoice, ToolChoiceWord};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResponseRequest {
    /// May be left out when the server has one model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A text, or items: messages, calls of functions and what they gave.
    pub input: Input,
    /// A system text before everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// The conversation that a stored response ended goes on. Its instructions do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_response_id: Option<String>,
    /// Keep the response, for an hour, so that it can be read and gone on with (the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Seed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<ResponseTool>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ResponseToolChoice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextOptions>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<ReasoningOptions>,
    /// As in a chat: the language to think and answer in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_language: Option<String>,
    /// As in a chat: begin the trace in that language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_prefix: Option<bool>,
    /// As in a chat: hold the trace to that language's scripts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_steer: Option<f32>,
    /// As in a chat: tokens that the trace may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_token_budget: Option<u32>,
    /// Kept with the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for ResponseRequest {
    const IGNORED: &'static [&'static str] = &[
        "user",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "include",
        "stream_options",
        "request_id",
    ];
    const UNSUPPORTED: &'static [Unsupported] = &[
        Unsupported { name: "background", harmless: &[] },
        Unsupported { name: "conversation", harmless: &[] },
        Unsupported { name: "prompt", harmless: &[] },
        Unsupported { name: "max_tool_calls", harmless: &[] },
        Unsupported { name: "top_logprobs", harmless: &["0"] },
        Unsupported { name: "truncation", harmless: &[r#""disabled""#] },
    ];

    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    fn check(&self) -> Result<(), BadRequest> {
        match &self.input {
            Input::Items(items) if items.is_empty() => {
                Err(BadRequest::invalid("input", "`input` needs at least one item"))
            }
            Input::Items(items) => {
                items.iter().enumerate().try_for_each(|(at, item)| item.check(&format!("input.{at}")))
            }
            Input::Text(_) => Ok(()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Input {
    Text(String),
    Items(Vec<InputItem>),
}

impl Default for Input {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By hand rather than untagged, so that an error keeps the path of the item at fault.
        struct TextOrItems;
        impl<'de> Visitor<'de> for TextOrItems {
            type Value = Input;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a string or a list of items")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Input, E> {
                Ok(Input::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Input, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = elements.next_element()? {
                    items.push(item);
                }
                Ok(Input::Items(items))
            }
        }
        deserializer.deserialize_any(TextOrItems)
    }
}

/// An item of a conversation; which fields it has depends on its type. Items of an answer can be sent back as they came.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InputItem {
    /// `message` (the default), `function_call`, `function_call_output` or `reasoning`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Of a message: `system`, `developer`, `user` or `assistant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Of a message, or of reasoning: a text or a list of parts with a `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub content: Option<Value>,
    /// Of a call and of what it gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// Of a call: the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of a call: JSON, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// What a call gave: a text or a list of parts with a `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub output: Option<Value>,
    #[serde(default, skip_serializing)]
    #[schema(ignore)]
    pub id: Option<String>,
    #[serde(default, skip_serializing)]
    #[schema(ignore)]
    pub status: Option<String>,
    #[serde(default, skip_serializing)]
    #[schema(ignore)]
    pub summary: Option<Value>,
    #[serde(default, skip_serializing)]
    #[schema(ignore)]
    pub encrypted_content: Option<Value>,
}

impl InputItem {
    pub fn kind(&self) -> &str {
        self.kind.as_deref().unwrap_or("message")
    }

    fn check(&self, path: &str) -> Result<(), BadRequest> {
        let needs = |name: &str, has: bool| {
            if has { Ok(()) } else { Err(BadRequest::missing(format!("{path}.{name}"))) }
        };
        match self.kind() {
            "message" => {
                needs("role", self.role.is_some())?;
                needs("content", self.content.is_some())?;
            }
            "function_call" => {
                needs("call_id", self.call_id.is_some())?;
                needs("name", self.name.is_some())?;
                needs("arguments", self.arguments.is_some())?;
            }
            "function_call_output" => {
                needs("call_id", self.call_id.is_some())?;
                needs("output", self.output.is_some())?;
            }
            "reasoning" => {}
            other => {
                let what = format!("an item of type `{}`", other.chars().take(60).collect::<String>());
                return Err(BadRequest::unsupported(format!("{path}.type"), &what));
            }
        }
        for (name, value) in [("content", &self.content), ("output", &self.output)] {
            if let Some(value) = value {
                text_of(value, &format!("{path}.{name}"))?;
            }
        }
        Ok(())
    }
}

/// The text of a content: itself, or its parts joined by line breaks.
///
/// # Errors
/// The part that is none.
pub fn text_of(content: &Value, path: &str) -> Result<String, BadRequest> {
    let parts = match content {
        Value::Null => return Ok(String::new()),
        Value::String(text) => return Ok(text.clone()),
        Value::Array(parts) => parts,
        _ => return Err(BadRequest::invalid(path, "must be a string or a list of content parts")),
    };
    let text = |(at, part): (usize, &Value)| {
        let kind = part["type"].as_str().unwrap_or_default();
        let field = if kind == "refusal" { "refusal" } else { "text" };
        match (kind, part[field].as_str()) {
            (
                "input_text" | "output_text" | "text" | "reasoning_text" | "summary_text" | "refusal",
                Some(text),
            ) => Ok(text.to_owned()),
            ("input_text" | "output_text" | "text" | "reasoning_text" | "summary_text" | "refusal", None) => {
                Err(BadRequest::missing(format!("{path}.{at}.{field}")))
            }
            (other, _) => {
                let what = format!("a content part of type `{}`", other.chars().take(60).collect::<String>());
                Err(BadRequest::unsupported(format!("{path}.{at}.type"), &what))
            }
        }
    };
    let texts: Result<Vec<String>, BadRequest> = parts.iter().enumerate().map(text).collect();
    Ok(texts?.join("\n"))
}

/// A function, without the nesting that a chat's tools have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponseTool {
    /// `function`; the server has no tools of its own.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

impl From<&ResponseTool> for Tool {
    fn from(tool: &ResponseTool) -> Self {
        let ResponseTool { kind, name, description, parameters, strict } = tool.clone();
        Self { kind, function: Function { name, description, parameters, strict } }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ResponseToolChoice {
    Word(ToolChoiceWord),
    Named(NamedFunction),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedFunction {
    #[serde(rename = "type")]
    pub kind: FunctionKind,
    pub name: String,
}

impl From<&ResponseToolChoice> for ToolChoice {
    fn from(choice: &ResponseToolChoice) -> Self {
        match choice {
            ResponseToolChoice::Word(word) => Self::Word(*word),
            ResponseToolChoice::Named(named) => Self::Named(NamedTool {
                kind: named.kind,
                function: FunctionName { name: named.name.clone() },
            }),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<TextFormat>,
    /// Taken for compatibility.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbosity: Option<String>,
}

/// `response_format` of a chat, without its nesting.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub schema: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

impl From<&TextFormat> for ResponseFormat {
    fn from(format: &TextFormat) -> Self {
        let TextFormat { kind, name, description, schema, strict } = format.clone();
        let json_schema =
            (kind == "json_schema").then_some(JsonSchemaFormat { name, description, schema, strict });
        Self { kind, json_schema }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReasoningOptions {
    /// Told to templates that know `reasoning_effort`; `none` asks those that can to leave thinking out.
    #[serde(default)]
    pub effort: Option<String>,
    /// No summaries are made.
    #[serde(default)]
    pub summary: Option<String>,
    /// The older name of `summary`.
    #[serde(default, skip_serializing)]
    pub generate_summary: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Response {
    pub id: String,
    /// Always `response`.
    pub object: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// `in_progress`, `completed`, `incomplete` or `failed`.
    pub status: String,
    pub error: Option<ResponseError>,
    pub incomplete_details: Option<IncompleteDetails>,
    pub instructions: Option<String>,
    pub max_output_tokens: Option<u32>,
    pub model: String,
    pub output: Vec<OutputItem>,
    pub parallel_tool_calls: bool,
    pub previous_response_id: Option<String>,
    pub reasoning: ReasoningOptions,
    pub store: bool,
    pub temperature: Option<f32>,
    pub text: TextOptions,
    pub tool_choice: ResponseToolChoice,
    pub tools: Vec<ResponseTool>,
    pub top_p: Option<f32>,
    /// Always `disabled`.
    pub truncation: String,
    pub usage: Option<ResponseUsage>,
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// Where `reasoning_language` was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<LanguageReport>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResponseError {
    pub code: String,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncompleteDetails {
    /// `max_output_tokens`.
    pub reason: String,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputItem {
    /// What the model wrote between its thinking marks.
    Reasoning {
        id: String,
        summary: Vec<OutputText>,
        content: Vec<OutputText>,
        status: String,
    },
    Message {
        id: String,
        role: String,
        status: String,
        content: Vec<OutputText>,
    },
    FunctionCall {
        id: String,
        call_id: String,
        name: String,
        arguments: String,
        status: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutputText {
    /// `output_text` or `reasoning_text`.
    #[serde(rename = "type")]
    pub kind: String,
    pub text: String,
    /// Always empty, and only of an `output_text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub annotations: Option<Vec<()>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResponseUsage {
    pub input_tokens: u64,
    pub input_tokens_details: InputTokensDetails,
    pub output_tokens: u64,
    pub output_tokens_details: OutputTokensDetails,
    pub total_tokens: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InputTokensDetails {
    /// Prompt tokens that the prefix cache held already.
    pub cached_tokens: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutputTokensDetails {
    pub reasoning_tokens: u64,
}

/// An event of a stream; what else it has depends on its type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResponseEvent {
    /// `response.created`, `response.output_text.delta`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Counts the stream's events.
    pub sequence_number: u64,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub more: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedResponse {
    pub id: String,
    /// Always `response`.
    pub object: String,
    pub deleted: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::parse::parse_request;
    use super::*;

    #[test]
    fn requests_are_read_or_their_field_is_named() {
        let outcome = |body: Value| {
            let read = parse_request::<ResponseRequest>(body.to_string().as_bytes(), 32);
            read.map(drop).map_err(|error| error.param.unwrap_or_default())
        };
        let ok = |body: Value| assert_eq!(outcome(body.clone()), Ok(()), "{body}");
        let check =
            |body: Value, param: &str| assert_eq!(outcome(body.clone()), Err(param.to_owned()), "{body}");
        ok(
            json!({"input": "Hi", "truncation": "disabled", "user": "u", "store": false, "reasoning": {"effort": "low"}}),
        );
        ok(json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]}));
        ok(json!({"input": [
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
            {"type": "function_call_output", "call_id": "c", "output": "7"}
        ]}));
        ok(
            json!({"input": "Hi", "tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function", "name": "f"}}),
        );
        check(json!({"input": []}), "input");
        check(json!({"input": [{"role": "user"}]}), "input.0.content");
        check(json!({"input": [{"type": "web_search_call"}]}), "input.0.type");
        check(
            json!({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}),
            "input.0.content.0.type",
        );
        check(json!({"input": [{"type": "function_call_output", "call_id": "c"}]}), "input.0.output");
        check(json!({"input": "Hi", "background": true}), "background");
        check(json!({"input": "Hi", "max_tokens": 5}), "max_tokens");
        check(json!({"input": 5}), "input");
        check(json!({}), "input");
    }
}
