//! One line of fine-tuning data: OpenAI's conversations and TRL's shapes.
//!
//! | shape | what it is |
//! |---|---|
//! | `{"messages": [..], "tools"?}` | a conversation; an assistant message with `"weight": 0` is not trained |
//! | `{"prompt": [..], "completion": [..], "tools"?}` | a conversation whose second part is the completion |
//! | `{"prompt": "..", "completion": ".."}` | text that is given and text that is trained |
//! | `{"text": ".."}` | text, all of it trained |
//!
//! Messages become what chat templates expect: `developer` is `system`, content parts of text are joined by line breaks as in
//! the server, and the arguments of tool calls are objects, as vLLM makes them, where OpenAI writes JSON in a string. Other
//! fields of a line are metadata of data sets and are not read.

use serde_json::{Map, Value};

/// More than any conversation has; each assistant turn is rendered with all that is before it.
const MESSAGES_MAX: usize = 1024;

#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    Text(String),
    Completion { prompt: String, completion: String },
    Conversation(Conversation),
}

/// Messages as a template takes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// Objects, each with a `role`.
    pub messages: Vec<Value>,
    /// How many of them are the prompt of a completion; `None` for a conversation without such parts.
    pub prompt: Option<usize>,
    /// Those whose `weight` is 0.
    pub unweighted: Vec<usize>,
    pub tools: Option<Value>,
    /// TRL's `chat_template_kwargs`.
    pub kwargs: Map<String, Value>,
}

impl Conversation {
    pub fn is_assistant(&self, message: usize) -> bool {
        self.messages.get(message).is_some_and(|message| message["role"] == "assistant")
    }
}

impl Record {
    /// # Errors
    /// The JSON path at fault, what was found, and what it should be.
    pub fn parse(line: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| {
            format!("is not JSON (column {}): {error}; a line is one JSON object", error.column())
        })?;
        let Value::Object(mut fields) = value else {
            return Err(format!("is {}, not a JSON object", kind(&value)));
        };
        let has = |key: &str| fields.get(key).is_some_and(|value| !value.is_null());
        match (has("messages"), has("prompt") || has("completion"), has("text")) {
            (true, false, false) => conversation(&mut fields, &["messages"]).map(Self::Conversation),
            (false, true, false) if fields.get("prompt").is_some_and(Value::is_array) => {
                conversation(&mut fields, &["prompt", "completion"]).map(Self::Conversation)
            }
            (false, true, false) => Ok(Self::Completion {
                prompt: text(&mut fields, "prompt")?,
                completion: text(&mut fields, "completion")?,
            }),
            (false, false, true) => text(&mut fields, "text").map(Self::Text),
            (false, false, false) => {
                let found: Vec<&String> = fields.keys().take(10).collect();
                Err(format!(
                    "has none of `messages`, `prompt` with `completion`, and `text`; its keys are {found:?}"
                ))
            }
            _ => Err("has more than one of `messages`, `prompt` with `completion`, and `text`: keep one"
                .to_owned()),
        }
    }
}

/// What a policy is asked: `{"prompt": ".."}`, `{"prompt": [..]}` or `{"messages": [..]}`.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    Text(String),
    Conversation(Conversation),
}

impl Question {
    /// Of a line's fields; the others are for whoever rewards the answer.
    ///
    /// # Errors
    /// As [`Record::parse`].
    pub fn of(mut fields: Map<String, Value>) -> Result<Self, String> {
        let has = |key: &str| fields.get(key).is_some_and(|value| !value.is_null());
        match (has("messages"), has("prompt")) {
            (true, false) => conversation(&mut fields, &["messages"]).map(Self::Conversation),
            (false, true) if fields.get("prompt").is_some_and(Value::is_array) => {
                conversation(&mut fields, &["prompt"]).map(Self::Conversation)
            }
            (false, true) => text(&mut fields, "prompt").map(Self::Text),
            (true, true) => Err("has both `messages` and `prompt`: keep one".to_owned()),
            (false, false) => {
                let found: Vec<&String> = fields.keys().take(10).collect();
                Err(format!("has neither `messages` nor `prompt`; its keys are {found:?}"))
            }
        }
    }
}

fn text(fields: &mut Map<String, Value>, key: &str) -> Result<String, String> {
    match fields.remove(key) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("`{key}` is {}, not a string", kind(&other))),
        None => Err(format!("`{key}` is missing")),
    }
}

fn conversation(fields: &mut Map<String, Value>, parts: &[&str]) -> Result<Conversation, String> {
    let (mut messages, mut unweighted, mut prompt) = (Vec::new(), Vec::new(), None);
    for part in parts {
        if *part == "completion" {
            prompt = Some(messages.len());
        }
        let list = match fields.remove(*part) {
            Some(Value::Array(list)) if !list.is_empty() => list,
            Some(Value::Array(_)) => return Err(format!("`{part}` is empty")),
            Some(other) => return Err(format!("`{part}` is {}, not a list of messages", kind(&other))),
            None => return Err(format!("`{part}` is missing")),
        };
        for (at, value) in list.into_iter().enumerate() {
            let (message, is_weighted) = message(value, &format!("{part}[{at}]"))?;
            if !is_weighted {
                unweighted.push(messages.len());
            }
            messages.push(message);
        }
    }
    if messages.len() > MESSAGES_MAX {
        return Err(format!("has {} messages, at most {MESSAGES_MAX} are read: split it", messages.len()));
    }
    Ok(Conversation {
        messages,
        prompt,
        unweighted,
        tools: tools(fields.remove("tools"))?,
        kwargs: kwargs(fields.remove("chat_template_kwargs"))?,
    })
}

/// A message as templates take it, and whether it counts.
fn message(value: Value, path: &str) -> Result<(Value, bool), String> {
    let Value::Object(mut message) = value else {
        return Err(format!("`{path}` is {}, not an object", kind(&value)));
    };
    match message.get("role") {
        Some(Value::String(role)) if role == "developer" => {
            message.insert("role".to_owned(), "system".into());
        }
        Some(Value::String(role)) if !role.is_empty() => {}
        Some(other) => return Err(format!("`{path}.role` is {}, not a name", kind(other))),
        None => return Err(format!("`{path}.role` is missing")),
    }
    let is_assistant = message["role"] == "assistant";
    let is_weighted = match message.shift_remove("weight") {
        None | Some(Value::Null) => true,
        Some(_) if !is_assistant => {
            return Err(format!(
                "`{path}.weight` is of an assistant message alone, not of {}",
                message["role"]
            ));
        }
        Some(weight) if weight.as_f64() == Some(0.0) => false,
        Some(weight) if weight.as_f64() == Some(1.0) => true,
        Some(weight) => return Err(format!("`{path}.weight` is {weight}, not 0 or 1")),
    };
    let calls = tool_calls(message.get_mut("tool_calls"), path)?;
    let content = content(message.get("content"), path)?;
    if content.is_none() && !calls {
        return Err(format!("`{path}.content` is missing"));
    }
    message.insert("content".to_owned(), content.unwrap_or_default().into());
    Ok((Value::Object(message), is_weighted))
}

fn content(value: Option<&Value>, path: &str) -> Result<Option<String>, String> {
    let parts = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(text.clone())),
        Some(Value::Array(parts)) => parts,
        Some(other) => {
            return Err(format!("`{path}.content` is {}, not a string or a list of parts", kind(other)));
        }
    };
    let mut texts = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        match (&part["type"], &part["text"]) {
            (Value::String(kind), Value::String(text)) if kind == "text" => texts.push(text.as_str()),
            (kind, _) => {
                return Err(format!(
                    "`{path}.content[{at}]` is a part of type {kind}; parts of text are read alone"
                ));
            }
        }
    }
    Ok(Some(texts.join("\n")))
}

/// Whether there are any; their arguments become objects.
fn tool_calls(value: Option<&mut Value>, path: &str) -> Result<bool, String> {
    let calls = match value {
        None | Some(Value::Null) => return Ok(false),
        Some(Value::Array(calls)) => calls,
        Some(other) => return Err(format!("`{path}.tool_calls` is {}, not a list", kind(other))),
    };
    for (at, call) in calls.iter_mut().enumerate() {
        if !call.is_object() {
            return Err(format!("`{path}.tool_calls[{at}]` is {}, not an object", kind(call)));
        }
        let Some(arguments) = call.pointer_mut("/function/arguments") else { continue };
        if let Some(Ok(object @ Value::Object(_))) = arguments.as_str().map(serde_json::from_str) {
            *arguments = object;
        }
    }
    Ok(!calls.is_empty())
}

/// A list, which TRL's data sets also write as JSON in a string.
fn tools(value: Option<Value>) -> Result<Option<Value>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) if list.is_empty() => Ok(None),
        Some(list @ Value::Array(_)) => Ok(Some(list)),
        Some(Value::String(text)) => match serde_json::from_str(&text) {
            Ok(list @ Value::Array(_)) => Ok(Some(list)),
            _ => Err("`tools` is a string that is no JSON list".to_owned()),
        },
        Some(other) => Err(format!("`tools` is {}, not a list", kind(&other))),
    }
}

fn kwargs(value: Option<Value>) -> Result<Map<String, Value>, String> {
    match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(kwargs)) => Ok(kwargs),
        Some(other) => Err(format!("`chat_template_kwargs` is {}, not an object", kind(&other))),
    }
}

/// What a value is, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
