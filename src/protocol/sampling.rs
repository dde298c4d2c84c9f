//! The fields that text and chat completions share: how to sample, when to stop, what to report.
//!
//! Every field is optional and `null` means absent. Ranges are checked by the engine and counts by the
//! server's limits; here are only the types.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;

use super::parse::BadRequest;
use super::structured::{AskedForm, FormFields, ResponseFormat, StructuredOutputs};
use super::usage::StreamOptions;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SamplingFields {
    /// Choices a prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// 0 is greedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// 1 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// 0 and -1 are off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<i64>,
    /// 0 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// 1 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// Token id (as a string) to a number added to its logit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// The same seed and request give the same tokens, whatever else the server runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<Seed>,
    /// Ends a choice when its text contains one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_token_ids: Option<Vec<u32>>,
    /// Keep the matched stop string in the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_stop_str_in_output: Option<bool>,
    /// Go on after the model's end-of-sequence token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_eos: Option<bool>,
    /// Tokens a choice may have; by default the model's own, else 16 for a completion and, for a chat, whatever
    /// the context has left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// The newer name of `max_tokens`; load generators send both to both routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_tokens: Option<u32>,
    /// Leave special tokens out of the text (the default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_special_tokens: Option<bool>,
    /// Add the tokenizer's own special tokens to the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_special_tokens: Option<bool>,
    /// Keep only the last so many prompt tokens; -1 keeps what the context holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate_prompt_tokens: Option<i64>,
    /// Report the logprob of each prompt token and of so many of the likeliest; always raw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_logprobs: Option<u32>,
    /// Which distribution the logprobs of sampled tokens are read from; `raw` by default, on a
    /// rollout backend `processed`. Prompt tokens were not
    /// drawn from a processed one: theirs are raw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs_mode: Option<LogprobsMode>,
    /// Add `prompt_token_ids` and `token_ids` to the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_token_ids: Option<bool>,
    /// Write `token_id:42` for the token's text in logprobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_tokens_as_token_ids: Option<bool>,
    /// The language of the prompt, as BCP 47 (`ja`, `zh-Hant`), for MindMerger models whose encoder is told it; by default
    /// it is detected. Other models do not look at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The form of the answer. With a thinking model it holds for what follows the trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<ResponseFormat>,
    /// The form of the answer, as vLLM names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured_outputs: Option<StructuredOutputs>,
    /// An older name of `structured_outputs.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub guided_json: Option<Value>,
    /// An older name of `structured_outputs.regex`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guided_regex: Option<String>,
    /// An older name of `structured_outputs.choice`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guided_choice: Option<Vec<String>>,
    /// An older name of `structured_outputs.grammar`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guided_grammar: Option<String>,
    /// Lower runs earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Requests with different salts share no cached prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_salt: Option<String>,
    /// Answer with server-sent events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
}

impl SamplingFields {
    /// The limit on a choice's tokens, under either of its names.
    pub fn max_tokens(&self) -> Option<u32> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// The form that the answer is to have.
    ///
    /// # Errors
    /// Contradictory or empty fields, by name.
    pub fn form(&self) -> Result<Option<AskedForm>, BadRequest> {
        let fields = FormFields {
            response_format: self.response_format.as_ref(),
            structured_outputs: self.structured_outputs.as_ref(),
            guided_json: self.guided_json.as_ref(),
            guided_regex: self.guided_regex.as_ref(),
            guided_choice: self.guided_choice.as_ref(),
            guided_grammar: self.guided_grammar.as_ref(),
        };
        fields.form()
    }
}

/// Which distribution logprobs are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum LogprobsMode {
    /// log-softmax of the model's logits.
    #[serde(rename = "raw", alias = "raw_logprobs")]
    Raw,
    /// After bias, penalties and temperature, over the whole vocabulary: what truncation was applied to.
    #[serde(rename = "scaled", alias = "scaled_logprobs")]
    Scaled,
    /// After bias, penalties, temperature and truncation: what the token was drawn from.
    #[serde(rename = "processed", alias = "processed_logprobs")]
    Processed,
}

/// Any integer of 64 bits, signed or not; only its bits matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = i64)]
pub struct Seed(pub u64);

impl Serialize for Seed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Written signed: some peers parse seeds into 64 signed bits.
        serializer.serialize_i64(self.0 as i64)
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bits;
        impl Visitor<'_> for Bits {
            type Value = Seed;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an integer of at most 64 bits")
            }

            fn visit_u64<E>(self, value: u64) -> Result<Seed, E> {
                Ok(Seed(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Seed, E> {
                Ok(Seed(value as u64))
            }
        }
        deserializer.deserialize_any(Bits)
    }
}

/// One stop string or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Stop {
    One(String),
    Many(Vec<String>),
}

impl Stop {
    pub fn into_strings(self) -> Vec<String> {
        match self {
            Stop::One(string) => vec![string],
            Stop::Many(strings) => strings,
        }
    }
}

impl<'de> Deserialize<'de> for Stop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By hand rather than untagged, so that an error keeps the path of the element at fault.
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Stop;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a string or a list of strings")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Stop, E> {
                Ok(Stop::One(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Stop, A::Error> {
                let mut strings = Vec::new();
                while let Some(string) = elements.next_element()? {
                    strings.push(string);
                }
                Ok(Stop::Many(strings))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}
