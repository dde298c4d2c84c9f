//! `/v1/completions`: text in, text out. A streamed chunk has the same shape as the whole response.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::logprobs::{CompletionLogprobs, PromptLogprobs};
use super::parse::{BadRequest, RequestBody, Unsupported, read_part};
use super::prompt::Prompt;
use super::sampling::{LogprobsMode, SamplingFields};
use super::usage::Usage;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionRequest {
    /// May be left out when the server has one model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Or `prompt_embeds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Prompt>,
    /// Prompts as vectors, one or a list: each a safetensors file in base64, with one tensor `[tokens, hidden]` of F32, F16 or BF16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_embeds: Option<PromptEmbeds>,
    /// Put the prompt before the completion; with `logprobs` its tokens are scored too, raw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<bool>,
    /// Report each token's logprob and so many of the likeliest tokens'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<u32>,
    #[serde(flatten)]
    pub sampling: SamplingFields,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for CompletionRequest {
    const IGNORED: &'static [&'static str] =
        &["user", "store", "metadata", "service_tier", "request_id", "spaces_between_special_tokens"];
    const UNSUPPORTED: &'static [Unsupported] = &[
        Unsupported { name: "best_of", harmless: &["1"] },
        Unsupported { name: "suffix", harmless: &[] },
        Unsupported { name: "use_beam_search", harmless: &[] },
        Unsupported { name: "length_penalty", harmless: &["1", "1.0"] },
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
        self.check_prompt()?;
        let mixes = self.echo == Some(true) && self.logprobs.is_some();
        if mixes && self.sampling.logprobs_mode.is_some_and(|mode| mode != LogprobsMode::Raw) {
            let message = "`logprobs` with `echo` is one list, and a prompt's logprobs are raw: leave out \
                           `logprobs_mode` or `echo`";
            return Err(BadRequest::invalid("logprobs_mode", message));
        }
        Ok(())
    }
}

/// Of base64 texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a string in base64 or a list of them")]
pub enum PromptEmbeds {
    One(String),
    Many(Vec<String>),
}

impl PromptEmbeds {
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    /// What they may take as numbers of 4 bytes: base64 of numbers of 2 becomes half as much again.
    pub fn bytes_max(&self) -> usize {
        self.as_slice().iter().map(|sent| sent.len() / 2 * 3).sum()
    }
}

impl CompletionRequest {
    /// A prompt is text, ids or vectors. Clients whose types want a `prompt` send an empty one beside vectors.
    fn check_prompt(&self) -> Result<(), BadRequest> {
        let Some(_) = &self.prompt_embeds else {
            return self.prompt.as_ref().map(drop).ok_or_else(|| BadRequest::missing("prompt"));
        };
        if self.prompt.as_ref().is_some_and(|prompt| !prompt.is_empty()) {
            let message = "`prompt` and `prompt_embeds` are two prompts: send them as two requests";
            return Err(BadRequest::invalid("prompt_embeds", message));
        }
        let sampling = &self.sampling;
        let of_tokens = [
            ("echo", self.echo == Some(true)),
            ("prompt_logprobs", sampling.prompt_logprobs.is_some()),
            ("truncate_prompt_tokens", sampling.truncate_prompt_tokens.is_some()),
        ];
        match of_tokens.into_iter().find(|(_, asked)| *asked) {
            Some((name, _)) => {
                let message = format!("`{name}` is about a prompt's tokens, and `prompt_embeds` has none");
                Err(BadRequest::invalid(name, message))
            }
            None => Ok(()),
        }
    }
}

impl SamplingFields {
    /// Rules between the shared fields.
    pub(super) fn check(&self) -> Result<(), BadRequest> {
        let stream = self.stream == Some(true);
        if self.stream_options.is_some() && !stream {
            return Err(BadRequest::invalid("stream_options", "`stream_options` needs `stream: true`"));
        }
        if self.prompt_logprobs.is_some() && stream {
            return Err(BadRequest::invalid("prompt_logprobs", "`prompt_logprobs` needs `stream: false`"));
        }
        if let (Some(new), Some(old)) = (self.max_completion_tokens, self.max_tokens)
            && new != old
        {
            let message = "`max_completion_tokens` and `max_tokens` are two names of one limit and differ";
            return Err(BadRequest::invalid("max_completion_tokens", message));
        }
        if self.form()?.is_some() && self.ignore_eos == Some(true) {
            let message =
                "`ignore_eos` goes on after the end, and an answer with a form ends where the form does";
            return Err(BadRequest::invalid("ignore_eos", message));
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionResponse {
    pub id: String,
    /// Always `text_completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    pub model: String,
    /// Prompt-major: choice `c` of prompt `p` has index `p * n + c`.
    pub choices: Vec<CompletionChoice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionChoice {
    pub index: u32,
    pub text: String,
    #[serde(default)]
    pub logprobs: Option<CompletionLogprobs>,
    /// `stop` or `length`; `null` on a chunk that does not end the choice.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub prompt_logprobs: Option<PromptLogprobs>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum StopReason {
    TokenId(u32),
    Text(String),
}
