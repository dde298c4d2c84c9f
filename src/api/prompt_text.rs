//! From messages and text to prompt ids. CPU-bound: callers run it through `AppState::blocking`.

use serde_json::{Map, Value};

use super::error::ApiError;
use super::limits::Limits;
use super::sampling::at_most;
use super::tools::ToolPlan;
use crate::chat::{RenderOptions, ToolFormat, without_template_support};
use crate::language::Language;
use crate::protocol::{ChatMessage, Content};
use crate::registry::ServedModel;

/// No vocabulary packs more text into one token; a text longer than this many bytes for each token of the context
/// cannot fit and is refused before it costs a core seconds.
const BYTES_PER_TOKEN_MAX: usize = 256;

/// No text may be longer, whatever the context: a tokenizer takes a core for about a second over so much.
pub const TEXT_BYTES_MAX: usize = 4 << 20;

/// What becomes a chat prompt.
pub struct ChatPrompt<'a> {
    pub messages: &'a [ChatMessage],
    /// By default unless the final message is continued.
    pub add_generation_prompt: Option<bool>,
    pub continue_final_message: bool,
    pub arguments: Map<String, Value>,
    pub tools: Option<&'a ToolPlan>,
}

/// The model's template over the messages.
///
/// # Errors
/// A model without a template, or messages that it refuses.
pub fn render(model: &ServedModel, prompt: &ChatPrompt<'_>) -> Result<String, ApiError> {
    let Some(template) = &model.template else {
        let why = model.template_problem.as_deref().unwrap_or("it has no chat template");
        let name = &model.name;
        let message = format!("the model `{name}` takes no messages ({why}): use /v1/completions");
        return Err(ApiError::invalid("messages", message));
    };
    let mut messages: Vec<Value> = prompt.messages.iter().map(ChatMessage::template_value).collect();
    let knows_tools = prompt
        .tools
        .map_or_else(|| ToolFormat::of_template(template.source()).is_some(), |plan| plan.in_template);
    if !knows_tools {
        let tools = prompt.tools.map(|plan| plan.definitions.as_slice()).unwrap_or_default();
        messages = without_template_support(&messages, tools);
    }
    let messages = Value::Array(messages);
    let definitions = prompt.tools.filter(|plan| plan.in_template);
    let definitions = definitions.map(|plan| Value::Array(plan.definitions.clone()));
    let rendered = template.render(&RenderOptions {
        messages: &messages,
        tools: definitions.as_ref(),
        add_generation_prompt: prompt.add_generation_prompt.unwrap_or(!prompt.continue_final_message),
        continue_final_message: prompt.continue_final_message,
        kwargs: &prompt.arguments,
    });
    rendered.map_err(|error| ApiError::invalid("messages", error.to_string()))
}

/// As [`render`], with the text that asks for thinking in `language` before the client's own system text. Where a template takes
/// no system text, it stands before the first of the user's.
///
/// # Errors
/// As [`render`].
pub fn render_in(
    model: &ServedModel,
    prompt: &ChatPrompt<'_>,
    language: Language,
) -> Result<String, ApiError> {
    let asks = language.reasoning_texts().system;
    let before = |message: &ChatMessage| {
        let own = message.content.as_ref().map(Content::text).unwrap_or_default();
        let text = if own.is_empty() { asks.clone() } else { format!("{asks}\n\n{own}") };
        ChatMessage { content: Some(Content::Text(text)), ..message.clone() }
    };
    let with = |messages: Vec<ChatMessage>| {
        render(model, &ChatPrompt { messages: &messages, arguments: prompt.arguments.clone(), ..*prompt })
    };
    let mut messages = prompt.messages.to_vec();
    if let Some(own) =
        messages.first_mut().filter(|first| matches!(first.role.as_str(), "system" | "developer"))
    {
        *own = before(own);
        return with(messages);
    }
    messages.insert(0, ChatMessage::new("system", asks.clone()));
    let rendered = with(messages);
    let user = prompt.messages.iter().position(|message| message.role == "user");
    match (rendered, user) {
        (Err(_), Some(at)) => {
            let mut messages = prompt.messages.to_vec();
            messages[at] = before(&messages[at]);
            with(messages)
        }
        (rendered, _) => rendered,
    }
}

/// `field` is where the text came from.
///
/// # Errors
/// A text over the limit, by its field, or the tokenizer's own failure.
pub fn encode(
    model: &ServedModel,
    field: &str,
    text: &str,
    add_special_tokens: bool,
) -> Result<Vec<u32>, ApiError> {
    at_most(field, text.len(), TEXT_BYTES_MAX, "bytes of text")?;
    let ids = model.tokenizer.encode(text, add_special_tokens);
    ids.map_err(|error| ApiError::internal(error.to_string()))
}

/// `encode` for a prompt, which must fit the context; `truncate` keeps the last so many tokens.
///
/// # Errors
/// `context_length_exceeded` for a text that no tokenizer could make fit.
pub fn encode_prompt(
    model: &ServedModel,
    field: &str,
    text: &str,
    add_special_tokens: bool,
    truncate: Option<usize>,
) -> Result<Vec<u32>, ApiError> {
    if truncate.is_none() {
        check_fits(model, text)?;
    }
    let mut ids = encode(model, field, text, add_special_tokens)?;
    truncate_front(&mut ids, truncate);
    Ok(ids)
}

/// # Errors
/// `context_length_exceeded` for a text that no tokenizer could make fit.
pub fn check_fits(model: &ServedModel, text: &str) -> Result<(), ApiError> {
    let context = model.max_model_len;
    if text.len() / BYTES_PER_TOKEN_MAX <= context {
        return Ok(());
    }
    let message = format!(
        "the prompt has {} bytes, more than the model's context of {context} tokens can hold: shorten it",
        text.len()
    );
    Err(ApiError::context_exceeded(message))
}

/// Keeps the last `keep` ids.
pub fn truncate_front(ids: &mut Vec<u32>, keep: Option<usize>) {
    if let Some(surplus) = keep.and_then(|keep| ids.len().checked_sub(keep)) {
        ids.drain(..surplus);
    }
}

/// The tokens that `truncate_prompt_tokens` keeps: a number, or -1 for what the context holds beside the answer.
///
/// # Errors
/// 0, or less than -1, or more than the context.
pub fn truncation(asked: Option<i64>, context: usize, max_tokens: usize) -> Result<Option<usize>, ApiError> {
    match asked {
        None => Ok(None),
        Some(-1) => Ok(Some(context.saturating_sub(max_tokens).max(1))),
        Some(keep) => match usize::try_from(keep) {
            Ok(keep) if (1..=context).contains(&keep) => Ok(Some(keep)),
            _ => {
                let message = format!("`truncate_prompt_tokens` must be -1 or from 1 to {context}");
                Err(ApiError::invalid("truncate_prompt_tokens", message))
            }
        },
    }
}

/// # Errors
/// Too many messages, or one with too many parts or too long a name.
pub fn check_message_counts(messages: &[ChatMessage], limits: &Limits) -> Result<(), ApiError> {
    at_most("messages", messages.len(), limits.messages_max, "messages")?;
    for (i, message) in messages.iter().enumerate() {
        if let Some(Content::Parts(parts)) = &message.content {
            at_most(&format!("messages.{i}.content"), parts.len(), limits.content_parts_max, "parts")?;
        }
        let name_bytes = message.name.as_ref().map_or(0, String::len);
        at_most(&format!("messages.{i}.name"), name_bytes, limits.name_bytes_max, "bytes")?;
    }
    Ok(())
}

/// # Errors
/// The first argument that the allow-list lacks, that is no scalar or that is too long.
pub fn check_template_arguments(
    arguments: Option<&Map<String, Value>>,
    limits: &Limits,
) -> Result<(), ApiError> {
    for (name, value) in arguments.into_iter().flatten() {
        let param = || format!("chat_template_kwargs.{}", name.chars().take(100).collect::<String>());
        if !limits.template_arguments.contains(name) {
            let allowed = limits.template_arguments.join(", ");
            return Err(ApiError::invalid(param(), format!("a request may set {allowed} and nothing else")));
        }
        if value.is_array() || value.is_object() {
            return Err(ApiError::invalid(param(), "must be a string, a number or a boolean"));
        }
        let bytes = value.as_str().map_or(0, str::len);
        at_most(&param(), bytes, limits.template_argument_bytes_max, "bytes")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn truncation_keeps_the_end() {
        let check = |asked: Option<i64>, expected: Result<&[u32], ()>| {
            let mut ids = vec![1, 2, 3, 4, 5];
            let keep = truncation(asked, 8, 6).map_err(drop);
            let got = keep.map(|keep| {
                truncate_front(&mut ids, keep);
                ids.as_slice()
            });
            assert_eq!(got, expected, "{asked:?}");
        };
        check(None, Ok(&[1, 2, 3, 4, 5]));
        check(Some(2), Ok(&[4, 5]));
        check(Some(8), Ok(&[1, 2, 3, 4, 5]));
        check(Some(-1), Ok(&[4, 5]));
        check(Some(0), Err(()));
        check(Some(9), Err(()));
        check(Some(-2), Err(()));
    }

    #[test]
    fn template_arguments_are_listed_scalars() {
        let check = |arguments: Value, param: Option<&str>| {
            let got = check_template_arguments(arguments.as_object(), &Limits::default());
            assert_eq!(got.err().and_then(|error| error.body.param).as_deref(), param, "{arguments}");
        };
        check(json!({"enable_thinking": false}), None);
        check(json!({"messages": []}), Some("chat_template_kwargs.messages"));
        check(json!({"enable_thinking": [1]}), Some("chat_template_kwargs.enable_thinking"));
        check(json!({"date_string": "x".repeat(1025)}), Some("chat_template_kwargs.date_string"));
    }
}
