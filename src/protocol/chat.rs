//! `/v1/chat/completions`: messages in, a message out, whole or in chunks.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::completions::StopReason;
use super::content::ChatMessage;
use super::language::LanguageReport;
use super::logprobs::{ChatLogprobs, PromptLogprobs};
use super::parse::{BadRequest, RequestBody, Unsupported, read_part};
use super::sampling::SamplingFields;
use super::tools::{Tool, ToolCall, ToolCallDelta, ToolChoice, check_tools};
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
    /// Functions that the model may call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    /// `auto` by default, where there are tools. With `required`, or a function's name, a grammar holds the model to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Whether a choice may call several (the default). Only a grammar can hold a model to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// The language to think and answer in, as BCP 47 (`ja`, `zh-Hant`): a system text asks the model for it, and the answer carries
    /// `language`, in how far it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_language: Option<String>,
    /// Begin the trace in `reasoning_language`, with a sentence that the model goes on from. It raises following, often at some cost
    /// in accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_prefix: Option<bool>,
    /// Subtracted, within the trace, from the logits of tokens with letters of other scripts than those of `reasoning_language`; from 0
    /// (off) to 100. Tells no languages of one script apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_steer: Option<f32>,
    /// Tokens that the trace may have: where they are used up, it is closed with a sentence in `reasoning_language`, and the
    /// answer begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_token_budget: Option<u32>,
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
        "request_id",
        "spaces_between_special_tokens",
    ];
    const UNSUPPORTED: &'static [Unsupported] = &[
        Unsupported { name: "functions", harmless: &[] },
        Unsupported { name: "function_call", harmless: &[r#""none""#] },
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
        Unsupported { name: "logits_processors", harmless: &[] },
        Unsupported { name: "allowed_token_ids", harmless: &[] },
        Unsupported { name: "bad_words", harmless: &[] },
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
        self.check_tools()?;
        self.check_language()?;
        check_opening(self.add_generation_prompt, self.continue_final_message)
    }
}

impl ChatRequest {
    /// The tools that the model is told of.
    pub fn offered_tools(&self) -> &[Tool] {
        let tools = self.tools.as_deref().unwrap_or_default();
        if self.tool_choice.as_ref().is_some_and(ToolChoice::is_none) { &[] } else { tools }
    }

    /// Whether a grammar holds the calls of the answer, if there are any.
    pub fn holds_calls(&self) -> bool {
        let offered = self.offered_tools();
        let forced = self.tool_choice.as_ref().is_some_and(ToolChoice::is_forced);
        let strict = || offered.iter().any(|tool| tool.function.strict == Some(true));
        !offered.is_empty() && (forced || self.parallel_tool_calls == Some(false) || strict())
    }

    fn check_tools(&self) -> Result<(), BadRequest> {
        check_tools(self.tools.as_deref().unwrap_or_default(), self.tool_choice.as_ref())?;
        let forced = self.tool_choice.as_ref().is_some_and(ToolChoice::is_forced);
        if self.holds_calls() && self.sampling.ignore_eos == Some(true) {
            let message = "`ignore_eos` goes on after the end, and a call that a grammar holds ends where its form does";
            return Err(BadRequest::invalid("ignore_eos", message));
        }
        match self.sampling.form()? {
            Some(asked) if forced => {
                let message = format!(
                    "`{}` asks for a form of the answer, and a call that must come is one",
                    asked.field
                );
                Err(BadRequest::invalid("tool_choice", message))
            }
            _ => Ok(()),
        }
    }

    fn check_language(&self) -> Result<(), BadRequest> {
        let needs = |name: &str| {
            let message = format!("`{name}` needs `reasoning_language`");
            Err(BadRequest::invalid(name, message))
        };
        if self.reasoning_language.is_none() && self.thinking_prefix == Some(true) {
            return needs("thinking_prefix");
        }
        let steer = self.reasoning_steer.unwrap_or(0.0);
        if self.reasoning_language.is_none() && steer != 0.0 {
            return needs("reasoning_steer");
        }
        if !(0.0..=100.0).contains(&steer) {
            return Err(BadRequest::invalid("reasoning_steer", "must be a number from 0 to 100"));
        }
        if self.thinking_prefix == Some(true) && self.continue_final_message == Some(true) {
            let message =
                "`continue_final_message` begins the answer itself: put the prefix into the message";
            return Err(BadRequest::invalid("thinking_prefix", message));
        }
        Ok(())
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
    /// Of the only choice, where `reasoning_language` was set; with several, each choice has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<LanguageReport>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatChoice {
    pub index: u32,
    pub message: ChatAnswer,
    #[serde(default)]
    pub logprobs: Option<ChatLogprobs>,
    /// `stop`, `length` or `tool_calls`.
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
    /// Where `reasoning_language` was set and there are several choices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<LanguageReport>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
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
    /// On a chunk before the final usage, where `reasoning_language` was set and there is one choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<LanguageReport>,
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
    /// Where `reasoning_language` was set and there are several choices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<LanguageReport>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCallDelta>>,
}
