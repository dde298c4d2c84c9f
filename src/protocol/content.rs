//! Chat messages: a role and text, plain or as content parts.
//!
//! Answers that clients replay as history carry fields this server does not act on (`refusal`, `annotations`,
//! `audio`); they are taken when empty, and [`ChatMessage::check`] refuses the rest by name.

use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::parse::{BadRequest, is_empty};
use super::tools::{CalledFunction, ToolCall};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatMessage {
    /// `system`, `developer` (the same as `system`), `user`, `assistant` or `tool`.
    pub role: String,
    #[serde(default)]
    pub content: Option<Content>,
    /// The reasoning that came before `content`, for templates that show it.
    #[serde(default, alias = "reasoning", skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing)]
    #[schema(ignore)]
    pub refusal: Option<Value>,
    #[serde(default, skip_serializing)]
    #[schema(ignore)]
    pub annotations: Option<Value>,
    #[serde(default, skip_serializing)]
    #[schema(ignore)]
    pub audio: Option<Value>,
    #[serde(default, skip_serializing)]
    #[schema(ignore)]
    pub function_call: Option<Value>,
    /// The calls of an assistant's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// Which call a `tool`'s message is the result of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Content {
    Text(String),
    Parts(Vec<ContentPart>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContentPart {
    /// `text`; the server takes no images, audio or files.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(flatten)]
    #[schema(ignore)]
    pub other: Map<String, Value>,
}

impl Content {
    /// The text; parts are joined by line breaks.
    pub fn text(&self) -> String {
        match self {
            Content::Text(text) => text.clone(),
            Content::Parts(parts) => {
                parts.iter().filter_map(|part| part.text.as_deref()).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

impl ChatMessage {
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: Some(Content::Text(content.into())),
            reasoning_content: None,
            name: None,
            refusal: None,
            annotations: None,
            audio: None,
            function_call: None,
            tool_calls: None,
            tool_call_id: None,
        }
    }

    /// Refuse what this server cannot honour; `path` is the message's own, such as `messages.0`.
    ///
    /// # Errors
    /// The first field at fault.
    pub fn check(&self, path: &str) -> Result<(), BadRequest> {
        match self.role.as_str() {
            "system" | "developer" | "user" | "assistant" | "tool" => {}
            "function" => {
                let what = "the role `function` (`tool` is its newer name)";
                return Err(BadRequest::unsupported(format!("{path}.role"), what));
            }
            other => {
                let message =
                    format!("role `{other}` is not one of system, developer, user, assistant, tool");
                return Err(BadRequest::invalid(format!("{path}.role"), message));
            }
        }
        let tool_fields = [("audio", &self.audio), ("function_call", &self.function_call)];
        for (name, value) in tool_fields {
            if value.as_ref().is_some_and(|value| !is_empty(value)) {
                return Err(BadRequest::unsupported(
                    format!("{path}.{name}"),
                    &format!("`{name}` in a message"),
                ));
            }
        }
        self.check_calls(path)?;
        match &self.content {
            None if self.role == "assistant" => Ok(()),
            None => Err(BadRequest::missing(format!("{path}.content"))),
            Some(Content::Text(_)) => Ok(()),
            Some(Content::Parts(parts)) => {
                parts.iter().enumerate().try_for_each(|(i, part)| part.check(&format!("{path}.content.{i}")))
            }
        }
    }

    fn check_calls(&self, path: &str) -> Result<(), BadRequest> {
        let calls = self.tool_calls.as_deref().unwrap_or_default();
        if self.role != "assistant" && !calls.is_empty() {
            let message = "only an assistant's message has calls";
            return Err(BadRequest::invalid(format!("{path}.tool_calls"), message));
        }
        Ok(())
    }

    /// What a chat template sees: `role`, `content` as one string, and what else is given.
    pub fn template_value(&self) -> Value {
        // Templates know `system`; `developer` is OpenAI's newer word for it.
        let role = if self.role == "developer" { "system" } else { &self.role };
        let mut value =
            json!({ "role": role, "content": self.content.as_ref().map(Content::text).unwrap_or_default() });
        if let Some(reasoning) = &self.reasoning_content {
            value["reasoning_content"] = json!(reasoning);
        }
        if let Some(name) = &self.name {
            value["name"] = json!(name);
        }
        if let Some(calls) = self.tool_calls.as_ref().filter(|calls| !calls.is_empty()) {
            // As transformers' templates want them: the arguments as an object.
            let call = |call: &ToolCall| {
                let CalledFunction { name, arguments } = &call.function;
                let arguments = match arguments.trim() {
                    // Of functions without parameters.
                    "" => json!({}),
                    // What a model wrote unguided need be no JSON.
                    text => serde_json::from_str(text).unwrap_or_else(|_| json!(arguments)),
                };
                json!({"id": call.id, "type": call.kind, "function": {"name": name, "arguments": arguments}})
            };
            value["tool_calls"] = calls.iter().map(call).collect();
        }
        if let Some(id) = &self.tool_call_id {
            value["tool_call_id"] = json!(id);
        }
        value
    }
}

impl ContentPart {
    fn check(&self, path: &str) -> Result<(), BadRequest> {
        if self.kind != "text" {
            let what = format!("a content part of type `{}`", self.kind);
            return Err(BadRequest::unsupported(format!("{path}.type"), &what));
        }
        // `cache_control` is a hint for other vendors' prompt caches.
        if let Some(name) = self.other.keys().find(|name| *name != "cache_control") {
            return Err(BadRequest::unknown(format!("{path}.{name}"), name, ["type", "text"]));
        }
        if self.text.is_none() { Err(BadRequest::missing(format!("{path}.text"))) } else { Ok(()) }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By hand rather than untagged, so that an error keeps the path of the part at fault.
        struct TextOrParts;
        impl<'de> Visitor<'de> for TextOrParts {
            type Value = Content;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a string or a list of content parts")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Content, E> {
                Ok(Content::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Content, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = elements.next_element()? {
                    parts.push(part);
                }
                Ok(Content::Parts(parts))
            }
        }
        deserializer.deserialize_any(TextOrParts)
    }
}
