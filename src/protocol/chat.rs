//! `/v1/chat/completions`: messages in, a message out, whole or in chunks.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::completions::StopReason;
use super::content::ChatMessage;
use super::logprobs::{ChatLogprobs, PromptLogprobs};
use super::parse::{BadRequest, RequestBody, Unsupported, read_part};
use super::sampling::SamplingFields;
use super::usage::Usage;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatRequest {
    /// May be left out when the server has one model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    pub messages: Vec<ChatMessage>,
    /// Report each token's logprob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<bool>,
    /// Report so many of the likeliest tokens too; needs `logprobs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<u32>,
    /// End the rendered prompt with the opening of an assistant's turn (the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_generation_prompt: Option<bool>,
    /// Leave the last message open and continue it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continue_final_message: Option<bool>,
    /// Variables of the chat template, such as `enable_thinking`; the server keeps the list of what may be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<Map<String, Value>>,
    /// Split the answer at its thinking marks; by default as the model was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separate_reasoning: Option<bool>,
    #[serde(flatten)]
    pub sampling: SamplingFields,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for ChatRequest {
    const IGNORED: &'static [&'static str] = &[
        "user",
        "store",
        "metadata",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "parallel_tool_calls",
        "request_id",
        "spaces_between_special_tokens",
    ];
    const UNSUPPORTED: &'static [Unsupported] = &[
        Unsupported { name: "tools", harmless: &[] },
        Unsupported { name: "tool_choice", harmless: &[r#""none""#, r#""auto""#] },
        Unsupported { name: "functions", harmless: &[] },
        Unsupported { name: "function_call", harmless: &[r#""none""#] },
        Unsupported { name: "response_format", harmless: &[r#"{"type":"text"}"#] },
        Unsupported { name: "modalities", harmless: &[r#"["text"]"#] },
        Unsupported { name: "audio", harmless: &[] },
        Unsupported { name: "prediction", harmless: &[] },
        Unsupported { name: "web_search_options", harmless: &[] },
        Unsupported { name: "reasoning_effort", harmless: &[] },
        Unsupported { name: "verbosity", harmless: &[r#""medium""#] },
        Unsupported { name: "best_of", harmless: &["1"] },
        Unsupported { name: "use_beam_search", harmless: &[] },
        Unsupported { name: "length_penalty", harmless: &["1", "1.0"] },
        Unsupported { name: "echo", harmless: &[] },
        Unsupported { name: "chat_template", harmless: &[] },
        Unsupported { name: "documents", harmless: &[] },
        Unsupported { name: "structured_outputs", harmless: &[] },
        Unsupported { name: "guided_json", harmless: &[] },
        Unsupported { name: "guided_regex", harmless: &[] },
        Unsupported { name: "guided_choice", harmless: &[] },
        Unsupported { name: "guided_grammar", harmless: &[] },
        Unsupported { name: "logits_processors", harmless: &[] },
        Unsupported { name: "allowed_token_ids", harmless: &[] },
        Unsupported { name: "bad_words", harmless: &[] },
        Unsupported { name: "thinking_token_budget", harmless: &[] },
    ];

    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    fn read_flattened(body: &Value) -> Result<(), BadRequest> {
        read_part::<SamplingFields>(body).map(drop)
    }

    fn check(&self) -> Result<(), BadRequest> {
        self.sampling.check()?;
        check_messages(&self.messages)?;
        if self.top_logprobs.is_some_and(|top| top > 0) && self.logprobs != Some(true) {
            return Err(BadRequest::invalid("top_logprobs", "`top_logprobs` needs `logprobs: true`"));
        }
        check_opening(self.add_generation_prompt, self.continue_final_message)
    }
}

/// # Errors
/// An empty list, or the first message that cannot be honoured.
pub fn check_messages(messages: &[ChatMessage]) -> Result<(), BadRequest> {
    if messages.is_empty() {
        return Err(BadRequest::invalid("messages", "`messages` needs at least one message"));
    }
    messages.iter().enumerate().try_for_each(|(i, message)| message.check(&format!("messages.{i}")))
}

/// # Errors
/// A prompt cannot both open a new turn and continue the last one.
pub fn check_opening(add: Option<bool>, continue_final: Option<bool>) -> Result<(), BadRequest> {
    if add == Some(true) && continue_final == Some(true) {
        let message = "`continue_final_message` needs `add_generation_prompt: false`";
        return Err(BadRequest::invalid("continue_final_message", message));
    }
    Ok(())
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatResponse {
    pub id: String,
    /// Always `chat.completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    pub model: String,
    pub choices: Vec<ChatChoice>,
    #[serde(default)]
    pub usage: Option<Usage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub prompt_logprobs: Option<PromptLogprobs>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatChoice {
    pub index: u32,
    pub message: ChatAnswer,
    #[serde(default)]
    pub logprobs: Option<ChatLogprobs>,
    /// `stop` or `length`.
    #[serde(default)]
    pub finish_reason: Option<String>,
    /// The stop string or token id that ended the choice; `null` at the model's own end of sequence.
    #[serde(default)]
    pub stop_reason: Option<StopReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
    /// With what ends the choice: the version of the weights that its last token was drawn with, which counts their updates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_version: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatAnswer {
    /// Always `assistant`.
    pub role: String,
    #[serde(default)]
    pub content: Option<String>,
    /// What the model wrote between its thinking marks.
    #[serde(default, alias = "reasoning", skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatChunk {
    pub id: String,
    /// Always `chat.completion.chunk`.
    pub object: String,
    /// Seconds since 1970; the same on every chunk of a stream.
    pub created: u64,
    pub model: String,
    /// Empty on the chunk that carries the final usage.
    pub choices: Vec<ChatChunkChoice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// On the first chunk, if `return_token_ids` asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatChunkChoice {
    pub index: u32,
    pub delta: ChatDelta,
    #[serde(default)]
    pub logprobs: Option<ChatLogprobs>,
    #[serde(default)]
    pub finish_reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
    /// With what ends the choice: the version of the weights that its last token was drawn with, which counts their updates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_version: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatDelta {
    /// `assistant`, on the first chunk of a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[serde(default, alias = "reasoning", skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
}
