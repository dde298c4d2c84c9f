//! Tools of a chat: what the client offers, which it wants called, and the calls in an answer.

use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::parse::BadRequest;

/// Tools of one request.
const TOOLS_MAX: usize = 128;
const NAME_CHARACTERS_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// `function`.
    #[serde(rename = "type")]
    pub kind: String,
    pub function: Function,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// Letters, digits, `_`, `-` and `.`, at most 64.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A JSON schema of the arguments; by default any object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Value>,
    /// The arguments of a call follow the schema exactly, as they always do with `tool_choice` `required` or a function's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

impl Function {
    /// The schema of its arguments.
    pub fn schema(&self) -> Value {
        match &self.parameters {
            Some(given) if given != &json!({}) => given.clone(),
            _ => json!({"type": "object"}),
        }
    }
}

/// Whether tools are called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ToolChoice {
    Word(ToolChoiceWord),
    /// This one is.
    Named(NamedTool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolChoiceWord {
    /// As the model likes.
    Auto,
    /// Not at all; the model is not told of them.
    None,
    /// At least one is.
    Required,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedTool {
    #[serde(rename = "type")]
    pub kind: FunctionKind,
    pub function: FunctionName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FunctionKind {
    Function,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FunctionName {
    pub name: String,
}

impl ToolChoice {
    /// Nothing is called.
    pub fn is_none(&self) -> bool {
        *self == Self::Word(ToolChoiceWord::None)
    }

    /// Something is called, whatever the model would like.
    pub fn is_forced(&self) -> bool {
        matches!(self, Self::Word(ToolChoiceWord::Required) | Self::Named(_))
    }
}

impl<'de> Deserialize<'de> for ToolChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By hand rather than untagged, so that an error says what a choice may be.
        struct Choice;
        impl<'de> Visitor<'de> for Choice {
            type Value = ToolChoice;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str(
                    "`auto`, `none`, `required` or {\"type\": \"function\", \"function\": {\"name\": ..}}",
                )
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<ToolChoice, E> {
                let word = match value {
                    "auto" => ToolChoiceWord::Auto,
                    "none" => ToolChoiceWord::None,
                    "required" => ToolChoiceWord::Required,
                    _ => return Err(E::invalid_value(de::Unexpected::Str(value), &self)),
                };
                Ok(ToolChoice::Word(word))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ToolChoice, A::Error> {
                NamedTool::deserialize(de::value::MapAccessDeserializer::new(map)).map(ToolChoice::Named)
            }
        }
        deserializer.deserialize_any(Choice)
    }
}

/// A call in an assistant's message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ToolCall {
    pub id: String,
    /// `function`.
    #[serde(rename = "type", default = "function")]
    pub kind: String,
    pub function: CalledFunction,
}

fn function() -> String {
    "function".to_owned()
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CalledFunction {
    pub name: String,
    /// JSON, as text. Where nothing made the model follow the schema, it need not.
    pub arguments: String,
}

/// A part of a call, in a stream: the first of each has its id and name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ToolCallDelta {
    /// Which of the choice's calls.
    pub index: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    pub function: CalledFunctionDelta,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CalledFunctionDelta {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// More of the arguments' text.
    #[serde(default)]
    pub arguments: String,
}

/// # Errors
/// The first tool that cannot be offered, or a choice that no tool answers to.
pub fn check_tools(tools: &[Tool], choice: Option<&ToolChoice>) -> Result<(), BadRequest> {
    if tools.len() > TOOLS_MAX {
        let message = format!("`tools` takes at most {TOOLS_MAX}, not {}", tools.len());
        return Err(BadRequest::invalid("tools", message));
    }
    for (at, tool) in tools.iter().enumerate() {
        let Function { name, parameters, .. } = &tool.function;
        if tool.kind != "function" {
            return Err(BadRequest::invalid(format!("tools.{at}.type"), "the type of a tool is `function`"));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > NAME_CHARACTERS_MAX || !name.chars().all(fits) {
            let message =
                format!("a name has from 1 to {NAME_CHARACTERS_MAX} letters, digits, `_`, `-` and `.`");
            return Err(BadRequest::invalid(format!("tools.{at}.function.name"), message));
        }
        if tools[..at].iter().any(|other| other.function.name == *name) {
            let message = format!("there is a tool `{name}` before it");
            return Err(BadRequest::invalid(format!("tools.{at}.function.name"), message));
        }
        if parameters.as_ref().is_some_and(|schema| !schema.is_object()) {
            let message = "a JSON schema of the arguments is an object";
            return Err(BadRequest::invalid(format!("tools.{at}.function.parameters"), message));
        }
    }
    match choice {
        Some(ToolChoice::Word(ToolChoiceWord::Required)) if tools.is_empty() => {
            Err(BadRequest::invalid("tool_choice", "`required` needs `tools` to choose from"))
        }
        Some(ToolChoice::Named(named))
            if !tools.iter().any(|tool| tool.function.name == named.function.name) =>
        {
            let shown: String = named.function.name.chars().take(NAME_CHARACTERS_MAX).collect();
            Err(BadRequest::invalid("tool_choice", format!("`tools` has no function `{shown}`")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::chat::ChatRequest;
    use super::super::parse::parse_request;
    use super::*;

    fn outcome(fields: Value) -> Result<ChatRequest, String> {
        let mut body = json!({"messages": [{"role": "user", "content": "a"}]});
        if let (Value::Object(body), Value::Object(fields)) = (&mut body, fields) {
            body.extend(fields);
        }
        parse_request(body.to_string().as_bytes(), 32).map_err(|error| error.param.unwrap_or_default())
    }

    fn tool(name: &str) -> Value {
        json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}})
    }

    #[test]
    fn choices_are_read_and_checked() {
        let choice = |choice: Value| outcome(json!({"tools": [tool("f")], "tool_choice": choice}));
        let read = |of: Value| choice(of).map(|request| json!(request.tool_choice));
        assert_eq!(read(json!("auto")), Ok(json!("auto")));
        assert_eq!(read(json!("required")), Ok(json!("required")));
        let named = json!({"type": "function", "function": {"name": "f"}});
        assert_eq!(read(named.clone()), Ok(named));
        assert_eq!(
            read(json!({"type": "function", "function": {"name": "g"}})),
            Err("tool_choice".to_owned())
        );
        assert_eq!(read(json!("always")), Err("tool_choice".to_owned()));
        assert_eq!(outcome(json!({"tool_choice": "required"})).unwrap_err(), "tool_choice");
        assert!(outcome(json!({"tool_choice": "none", "tools": [tool("f")]})).is_ok());
    }

    #[test]
    fn tools_that_cannot_be_offered_are_named() {
        let check = |tools: Value, param: &str| {
            assert_eq!(outcome(json!({"tools": tools.clone()})).unwrap_err(), param, "{tools}");
        };
        check(json!([tool("f"), tool("f")]), "tools.1.function.name");
        check(json!([tool("a b")]), "tools.0.function.name");
        check(json!([{"type": "retrieval", "function": {"name": "f"}}]), "tools.0.type");
        check(
            json!([{"type": "function", "function": {"name": "f", "parameters": 5}}]),
            "tools.0.function.parameters",
        );
        check(json!([{"type": "function"}]), "tools.0.function");
        check(json!((0..200).map(|at| tool(&format!("f{at}"))).collect::<Vec<_>>()), "tools");
        let mut strict = tool("f");
        strict["function"]["strict"] = json!(true);
        for held in [
            json!({"tools": [strict]}),
            json!({"tools": [tool("f")], "parallel_tool_calls": false}),
            json!({"tools": [tool("f")], "tool_choice": "required"}),
        ] {
            let mut endless = held.clone();
            endless["ignore_eos"] = json!(true);
            assert!(outcome(held).is_ok_and(|request| request.holds_calls()));
            assert_eq!(outcome(endless).unwrap_err(), "ignore_eos");
        }
        for free in [
            json!({"tools": [tool("f")], "ignore_eos": true}),
            json!({"tools": [strict], "tool_choice": "none", "ignore_eos": true}),
            json!({"parallel_tool_calls": false, "ignore_eos": true}),
        ] {
            assert!(outcome(free).is_ok_and(|request| !request.holds_calls()));
        }
        let form = json!({"tools": [tool("f")], "tool_choice": "required", "response_format": {"type": "json_object"}});
        assert_eq!(outcome(form).unwrap_err(), "tool_choice");
    }
}
