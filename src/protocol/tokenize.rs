//! `/tokenize` and `/detokenize`, in vLLM's shapes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::chat::{check_messages, check_opening};
use super::content::ChatMessage;
use super::parse::{BadRequest, RequestBody, Unsupported};
use super::tools::{Tool, check_tools};

/// Exactly one of `prompt` and `messages`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TokenizeRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Rendered with the model's chat template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<ChatMessage>>,
    /// Add the tokenizer's own special tokens; by default for a prompt and not for messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_special_tokens: Option<bool>,
    /// Add `token_strs` to the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_token_strs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_generation_prompt: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continue_final_message: Option<bool>,
    /// As a chat's: the template is told of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    /// The language of the messages, for MindMerger models whose encoder is told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<Map<String, Value>>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenizeResponse {
    pub count: usize,
    pub max_model_len: usize,
    pub tokens: Vec<u32>,
    /// The vocabulary's own spelling of each token.
    #[serde(default)]
    pub token_strs: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DetokenizeRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    pub tokens: Vec<u32>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DetokenizeResponse {
    pub prompt: String,
}

/// What a client needs to count and render as the server does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenizerInfo {
    pub model: String,
    /// The highest id of the tokenizer plus one.
    pub vocab_size: usize,
    pub model_max_length: usize,
    #[serde(default)]
    pub bos_token: Option<String>,
    #[serde(default)]
    pub eos_token: Option<String>,
    #[serde(default)]
    pub pad_token: Option<String>,
    #[serde(default)]
    pub unk_token: Option<String>,
    /// Ids that end an answer.
    pub eos_token_ids: Vec<u32>,
    /// Jinja; `null` for a model without one.
    #[serde(default)]
    pub chat_template: Option<String>,
}

impl RequestBody for TokenizeRequest {
    const UNSUPPORTED: &'static [Unsupported] = &[
        Unsupported { name: "chat_template", harmless: &[] },
        Unsupported { name: "mm_processor_kwargs", harmless: &[] },
    ];

    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    fn check(&self) -> Result<(), BadRequest> {
        check_opening(self.add_generation_prompt, self.continue_final_message)?;
        check_tools(self.tools.as_deref().unwrap_or_default(), None)?;
        if self.tools.is_some() && self.messages.is_none() {
            return Err(BadRequest::invalid(
                "tools",
                "`tools` needs `messages`, whose template is told of them",
            ));
        }
        match (&self.prompt, &self.messages) {
            (Some(_), None) => Ok(()),
            (None, Some(messages)) => check_messages(messages),
            (Some(_), Some(_)) => {
                Err(BadRequest::invalid("messages", "send `prompt` or `messages`, not both"))
            }
            (None, None) => Err(BadRequest::missing("prompt")),
        }
    }
}

impl RequestBody for DetokenizeRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}
