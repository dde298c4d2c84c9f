//! A model's chat template: compiled once at load, rendered for each request.
//!
//! Follows `render_jinja_template` of transformers, `continue_final_message` included. It does not tokenize, and
//! it does not decide which variables a client may set.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind};
use serde_json::{Map, Value as Json};

use super::bounds::OverLimit;
use super::dialect::{self, Raised};
use super::reasoning::{begin_trace, is_open_trace};
use super::source_checks;

/// A prompt longer than this cannot fit any context we serve.
const OUTPUT_BYTES_MAX: usize = 16 << 20;
const SOURCE_BYTES_MAX: usize = 1 << 20;
const NAME: &str = "chat_template";
/// Put after the final message's content, found again in the prompt, and cut off with all that follows.
/// The trailing space tells a template that trims from one that does not.
const CONTINUE_TAG: &str = "CONTINUE_FINAL_MESSAGE_TAG ";
/// Names a message's reasoning is passed under; templates read the first, or `thinking`.
const REASONING_FIELDS: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// Why a conversation did not become a prompt.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error("the chat template does not compile (line {line}): {message}")]
    Compile { line: usize, message: String },
    #[error("the chat template has {bytes} bytes; at most {SOURCE_BYTES_MAX} are accepted")]
    TooBig { bytes: usize },
    /// The template itself refused the conversation; its own words.
    #[error("the chat template refuses these messages (line {line}): {message}")]
    Raised { line: usize, message: String },
    #[error(
        "the chat template did not end within its step limit (line {line}): it loops, or has far too many messages"
    )]
    OutOfFuel { line: usize },
    #[error("the chat template goes beyond what one may use (line {line}): {limit}")]
    OverLimit { line: usize, limit: &'static str },
    #[error("the chat template writes more than {OUTPUT_BYTES_MAX} bytes")]
    OutputTooLong,
    #[error("the chat template failed (line {line}): {message}")]
    Render { line: usize, message: String },
    #[error("messages must be a list of objects")]
    Messages,
    #[error("continue_final_message and add_generation_prompt exclude each other")]
    ContinueAndGenerate,
    #[error("continue_final_message: {0}")]
    Continue(&'static str),
}

/// One conversation to render.
#[derive(Debug, Clone, Copy)]
pub struct RenderOptions<'a> {
    /// A list of `{role, content, ..}` objects, as on the wire.
    pub messages: &'a Json,
    /// A list of tool schemas.
    pub tools: Option<&'a Json>,
    /// End with the opening of an assistant message.
    pub add_generation_prompt: bool,
    /// End within the final message, so that the model goes on with it; one that begins a `<think>` block and does not
    /// end it is gone on with inside the block, whatever the template makes of blocks.
    pub continue_final_message: bool,
    /// More template variables, such as `enable_thinking`.
    pub kwargs: &'a Map<String, Json>,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    special_tokens: Arc<BTreeMap<String, String>>,
    source: Arc<str>,
}

impl ChatTemplate {
    /// Compile a template. `special_tokens` become variables under their own names (`bos_token`, `eos_token`, ..).
    ///
    /// # Errors
    /// `Compile` names the line; `TooBig`.
    pub fn new(source: &str, special_tokens: BTreeMap<String, String>) -> Result<Self, ChatError> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(ChatError::TooBig { bytes: source.len() });
        }
        let replaced = dialect::replace_generation_tags(source);
        let checked = source_checks::insert(&replaced)
            .map_err(|(line, why)| ChatError::Compile { line, message: why.to_owned() })?;
        let compile = |error: &Error| ChatError::Compile { line: line(error), message: describe(error) };
        let mut environment = dialect::environment().map_err(|error| compile(&error))?;
        environment.add_template_owned(NAME, checked).map_err(|error| compile(&error))?;
        Ok(Self {
            environment: Arc::new(environment),
            special_tokens: Arc::new(special_tokens),
            source: Arc::from(source),
        })
    }

    /// Whether a template is Jinja at all, be it one that [`Self::new`] finds no bounds for.
    ///
    /// # Errors
    /// `Compile` names the line.
    pub fn check_syntax(source: &str) -> Result<(), ChatError> {
        let compile = |error: &Error| ChatError::Compile { line: line(error), message: describe(error) };
        let mut environment = dialect::environment().map_err(|error| compile(&error))?;
        let replaced = dialect::replace_generation_tags(source);
        environment.add_template_owned(NAME, replaced).map_err(|error| compile(&error))
    }

    /// The template with marks around what its `{% generation %}` blocks enclose, `None` if it has no such block.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn marked(&self) -> Result<Option<Self>, ChatError> {
        let source = dialect::mark_generation_tags(&self.source);
        if *source == *self.source {
            return Ok(None);
        }
        Self::new(&source, (*self.special_tokens).clone()).map(Some)
    }

    /// What the template was told of special tokens.
    pub fn special_tokens(&self) -> &BTreeMap<String, String> {
        &self.special_tokens
    }

    /// The template as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// # Errors
    /// See [`ChatError`]; all but `Compile` and `TooBig` can come from the conversation.
    pub fn render(&self, options: &RenderOptions<'_>) -> Result<String, ChatError> {
        let mut messages = options.messages.as_array().ok_or(ChatError::Messages)?.clone();
        for message in &mut messages {
            alias_reasoning(message.as_object_mut().ok_or(ChatError::Messages)?);
        }
        if !options.continue_final_message {
            return self.execute(&messages, options);
        }
        if options.add_generation_prompt {
            return Err(ChatError::ContinueAndGenerate);
        }
        if let Some(trace) = open_trace(&messages) {
            // Templates take a trace apart, drop it or close it: the turn is opened by them and the trace put after that.
            let trace = trace.to_owned();
            messages.pop();
            let opened = RenderOptions { add_generation_prompt: true, ..*options };
            return Ok(begin_trace(&self.execute(&messages, &opened)?, &trace));
        }
        let content = tag_final_message(&mut messages)?;
        let rendered = self.execute(&messages, options)?;
        cut_at_tag(&rendered, &content)
    }

    fn execute(&self, messages: &[Json], options: &RenderOptions<'_>) -> Result<String, ChatError> {
        let template = self.environment.get_template(NAME).map_err(|error| render_error(&error))?;
        let mut output = Capped(Vec::new());
        let context = self.context(messages, options);
        match template.render_captured_to(context, &mut output) {
            Ok(_) => Ok(String::from_utf8_lossy(&output.0).into_owned()),
            Err(_) if output.is_full() => Err(ChatError::OutputTooLong),
            Err(error) => Err(render_error(&error)),
        }
    }

    fn context(&self, messages: &[Json], options: &RenderOptions<'_>) -> Value {
        let mut pairs: BTreeMap<&str, Value> = BTreeMap::new();
        for (name, token) in &*self.special_tokens {
            pairs.insert(name, Value::from(token.as_str()));
        }
        for (name, value) in options.kwargs {
            pairs.insert(name, to_value(value));
        }
        pairs.insert("messages", messages.iter().map(to_value).collect());
        pairs.insert("tools", options.tools.map_or_else(|| Value::from(()), to_value));
        pairs.insert("documents", Value::from(()));
        pairs.insert("add_generation_prompt", Value::from(options.add_generation_prompt));
        Value::from_pairs(pairs)
    }
}

/// Takes the marks of a marked template's prompt out, and the ranges of the text between them with it. `None` where they
/// do not pair.
pub fn take_generation_marks(rendered: &str) -> Option<(String, Vec<Range<usize>>)> {
    let [begin, finish] = dialect::GENERATION_MARKS;
    let (mut text, mut spans, mut open) = (String::with_capacity(rendered.len()), Vec::new(), None);
    for c in rendered.chars() {
        if c == begin {
            if open.replace(text.len()).is_some() {
                return None;
            }
        } else if c == finish {
            spans.push(open.take()?..text.len());
        } else {
            text.push(c);
        }
    }
    open.is_none().then_some((text, spans))
}

/// Older names of the reasoning field fill the one that templates read, as in transformers.
fn alias_reasoning(message: &mut Map<String, Json>) {
    let found = REASONING_FIELDS.iter().find_map(|name| message.get(*name).filter(|value| !value.is_null()));
    if let Some(reasoning) = found.cloned() {
        message.entry("thinking").or_insert_with(|| reasoning.clone());
        message.insert("reasoning_content".to_owned(), reasoning);
    }
}

/// The text of a final message of the model's that is the beginning of a trace.
fn open_trace(messages: &[Json]) -> Option<&str> {
    let last = messages.last().filter(|last| last["role"] == "assistant")?;
    last["content"].as_str().filter(|text| is_open_trace(text))
}

/// Appends the tag to the final message's text and returns that text without it.
fn tag_final_message(messages: &mut [Json]) -> Result<String, ChatError> {
    let last = messages.last_mut().ok_or(ChatError::Continue("there is no message to continue"))?;
    let text = match last.get_mut("content") {
        Some(Json::String(text)) => text,
        Some(Json::Array(parts)) => parts
            .iter_mut()
            .rev()
            .find_map(|part| match part.get_mut("text") {
                Some(Json::String(text)) => Some(text),
                _ => None,
            })
            .ok_or(ChatError::Continue("the final message has no text to continue"))?,
        _ => return Err(ChatError::Continue("the final message has no content to continue")),
    };
    let content = text.clone();
    text.push_str(CONTINUE_TAG);
    Ok(content)
}

fn cut_at_tag(rendered: &str, content: &str) -> Result<String, ChatError> {
    let tag_at = rendered.rfind(CONTINUE_TAG.trim_end());
    let Some(tag_at) = tag_at.filter(|_| rendered.contains(content.trim())) else {
        return Err(ChatError::Continue(
            "the chat template does not write the final message's content as it is",
        ));
    };
    let kept = &rendered[..tag_at];
    let preserves_space = rendered[tag_at..].starts_with(CONTINUE_TAG);
    Ok(if preserves_space { kept } else { kept.trim_end() }.to_owned())
}

fn to_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => number
            .as_i64()
            .map(Value::from)
            .or_else(|| number.as_u64().map(Value::from))
            .unwrap_or_else(|| Value::from(number.as_f64().unwrap_or_default())),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(to_value).collect(),
        Json::Object(fields) => {
            Value::from_pairs(fields.iter().map(|(name, value)| (name.as_str(), to_value(value))))
        }
    }
}

fn render_error(error: &Error) -> ChatError {
    let line = line(error);
    if error.kind() == ErrorKind::OutOfFuel {
        return ChatError::OutOfFuel { line };
    }
    if let Some(OverLimit(limit)) = cause(error) {
        return ChatError::OverLimit { line, limit };
    }
    match cause(error) {
        Some(Raised(message)) => ChatError::Raised { line, message: message.clone() },
        None => ChatError::Render { line, message: describe(error) },
    }
}

/// What of this type made the error, at whatever depth of macros.
fn cause<T: std::error::Error + 'static>(error: &Error) -> Option<&T> {
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        if let Some(found) = source.downcast_ref() {
            return Some(found);
        }
        next = source.source();
    }
    None
}

fn line(error: &Error) -> usize {
    error.line().unwrap_or(1)
}

fn describe(error: &Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()))
}

/// Refuses what goes beyond [`OUTPUT_BYTES_MAX`].
struct Capped(Vec<u8>);

impl Capped {
    fn is_full(&self) -> bool {
        self.0.len() >= OUTPUT_BYTES_MAX
    }
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = OUTPUT_BYTES_MAX - self.0.len();
        if bytes.len() > room {
            self.0.resize(OUTPUT_BYTES_MAX, b' ');
            return Err(io::Error::other("the output limit is reached"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
