//! Prompts of MindMerger models: the encoder reads what the user wrote, and the language model reads it through the model's
//! own template in place of a chat template. CPU-bound, as `prompt_text`.

use super::error::ApiError;
use super::generation::PromptIds;
use super::prompt_text::{TEXT_BYTES_MAX, check_fits};
use super::sampling::at_most;
use crate::engine::SoftPrefix;
use crate::model::ModelError;
use crate::model::augmented::{AugmentedPrompt, AugmentedPrompts};
use crate::protocol::{ChatMessage, Content};
use crate::registry::ServedModel;

/// The longest BCP 47 tag in use has fewer characters.
const LANGUAGE_BYTES_MAX: usize = 64;

/// What one query becomes.
pub struct Query<'a> {
    /// Where it came from, for errors.
    pub field: &'a str,
    pub text: &'a str,
    /// What the answer begins with.
    pub opening: &'a str,
    /// As the request names it.
    pub language: Option<&'a str>,
}

/// # Errors
/// A text over the limit, a language without a tag or that cannot be told.
pub fn read(
    model: &ServedModel,
    prompts: &AugmentedPrompts,
    query: &Query<'_>,
) -> Result<PromptIds, ApiError> {
    let Query { field, text, opening, language } = *query;
    at_most(field, text.len().saturating_add(opening.len()), TEXT_BYTES_MAX, "bytes of text")?;
    at_most("language", language.map_or(0, str::len), LANGUAGE_BYTES_MAX, "bytes")?;
    check_fits(model, text)?;
    let AugmentedPrompt { ids, encoder_ids } =
        prompts.read(text, language, opening).map_err(|error| match error {
            ModelError::NoLanguageTag { .. } => ApiError::invalid("language", error.to_string()),
            error => ApiError::internal(error.to_string()),
        })?;
    Ok(PromptIds { ids, soft_prefix: Some(SoftPrefix::Text { encoder_ids }) })
}

/// The last user message, and what the client began the answer with: a last message of the assistant's that is to be
/// continued. What was said before is not read: the model was trained on single questions.
///
/// # Errors
/// No user message.
pub fn last_turn(messages: &[ChatMessage], continue_final: bool) -> Result<(String, String), ApiError> {
    let text = |message: &ChatMessage| message.content.as_ref().map(Content::text).unwrap_or_default();
    let (opening, rest) = match messages.split_last() {
        Some((last, rest)) if continue_final && last.role == "assistant" => (text(last), rest),
        _ => (String::new(), messages),
    };
    let none = "a MindMerger model answers the last message of the role `user`, and there is none";
    let question = rest.iter().rev().find(|message| message.role == "user");
    let question = question.ok_or_else(|| ApiError::invalid("messages", none))?;
    Ok((text(question), opening))
}

/// # Errors
/// `truncate_prompt_tokens`: a question that is cut is another one.
pub fn refuse_truncation(asked: Option<i64>) -> Result<(), ApiError> {
    if asked.is_none() {
        return Ok(());
    }
    let message = "a MindMerger model reads a prompt whole: shorten the text instead";
    Err(ApiError::invalid("truncate_prompt_tokens", message))
}

/// Ids are of one vocabulary, and two models read the prompt.
pub fn refuse_ids(model: &ServedModel) -> ApiError {
    let name = &model.name;
    let message = format!(
        "`{name}` is a MindMerger model, whose encoder has another vocabulary: send the prompt as text"
    );
    ApiError::invalid("prompt", message)
}
