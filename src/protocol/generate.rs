//! SGLang's `/generate`: text or token ids in, tokens with their logprobs out.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::parse::{BadRequest, RequestBody, Unsupported, is_empty};
use super::prompt::Prompt;
use super::sampling::{LogprobsMode, SamplingFields, Seed, Stop};

/// Exactly one of `text` and `input_ids`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GenerateRequest {
    /// One prompt or several; special tokens are added as the tokenizer does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Prompt>,
    /// One prompt's token ids, or several prompts'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_ids: Option<Prompt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling_params: Option<GenerateSampling>,
    /// Report `output_token_logprobs`: at the request's temperature, before truncation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_logprob: Option<bool>,
    /// Report `input_token_logprobs` from this position on, raw; -1 (the default) is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprob_start_len: Option<i64>,
    /// Report so many of the likeliest tokens at each position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_logprobs_num: Option<u32>,
    /// The name of a LoRA adapter that is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_path: Option<String>,
    /// Lower runs earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for GenerateRequest {
    const IGNORED: &'static [&'static str] = &["rid", "log_metrics", "return_text_in_logprobs", "background"];
    const UNSUPPORTED: &'static [Unsupported] = &[
        Unsupported { name: "stream", harmless: &[] },
        Unsupported { name: "image_data", harmless: &[] },
        Unsupported { name: "audio_data", harmless: &[] },
        Unsupported { name: "video_data", harmless: &[] },
        Unsupported { name: "input_embeds", harmless: &[] },
        Unsupported { name: "token_ids_logprob", harmless: &[] },
        Unsupported { name: "return_hidden_states", harmless: &[] },
        Unsupported { name: "return_routed_experts", harmless: &[] },
        Unsupported { name: "custom_logit_processor", harmless: &[] },
        Unsupported { name: "session_params", harmless: &[] },
    ];

    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    fn check(&self) -> Result<(), BadRequest> {
        match (&self.text, &self.input_ids) {
            (Some(_), Some(_)) => {
                Err(BadRequest::invalid("input_ids", "`input_ids` and `text` exclude each other"))
            }
            (Some(Prompt::Ids(_) | Prompt::IdLists(_)), _) => {
                Err(BadRequest::invalid("text", "`text` takes strings; token ids are `input_ids`"))
            }
            (_, Some(Prompt::Text(_) | Prompt::Texts(_))) => {
                Err(BadRequest::invalid("input_ids", "`input_ids` takes token ids; strings are `text`"))
            }
            (None, None) => Err(BadRequest::missing("input_ids")),
            _ => self.sampling_params.as_ref().map_or(Ok(()), GenerateSampling::check),
        }
    }
}

impl GenerateRequest {
    /// The prompts, and whether the answer is a list.
    pub fn prompts(&self) -> (Prompt, bool) {
        let prompt = self.text.clone().or_else(|| self.input_ids.clone()).unwrap_or_default();
        let many = matches!(prompt, Prompt::Texts(_) | Prompt::IdLists(_));
        (prompt, many || self.sampling_params.as_ref().is_some_and(|params| params.n.is_some_and(|n| n > 1)))
    }
}

/// SGLang's sampling parameters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GenerateSampling {
    pub n: Option<u32>,
    /// 128 by default.
    pub max_new_tokens: Option<u32>,
    pub min_new_tokens: Option<u32>,
    /// 0 is greedy.
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    /// -1 is off.
    pub top_k: Option<i64>,
    pub min_p: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub presence_penalty: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub logit_bias: Option<std::collections::BTreeMap<String, f32>>,
    pub sampling_seed: Option<Seed>,
    pub stop: Option<Stop>,
    pub stop_token_ids: Option<Vec<u32>>,
    pub ignore_eos: Option<bool>,
    pub skip_special_tokens: Option<bool>,
    /// Keep the matched stop string in the text.
    pub no_stop_trim: Option<bool>,
    /// Known and without effect.
    pub spaces_between_special_tokens: Option<bool>,
    /// Not supported yet, as the following.
    #[schema(value_type = Option<Object>)]
    pub json_schema: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub regex: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub ebnf: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub structural_tag: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub stop_regex: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub custom_params: Option<Value>,
}

/// SGLang's own default.
const MAX_NEW_TOKENS: u32 = 128;

impl GenerateSampling {
    fn check(&self) -> Result<(), BadRequest> {
        let unsupported = [
            ("json_schema", &self.json_schema),
            ("regex", &self.regex),
            ("ebnf", &self.ebnf),
            ("structural_tag", &self.structural_tag),
            ("stop_regex", &self.stop_regex),
            ("custom_params", &self.custom_params),
        ];
        match unsupported.iter().find(|(_, value)| value.as_ref().is_some_and(|value| !is_empty(value))) {
            Some((name, _)) => {
                Err(BadRequest::unsupported(format!("sampling_params.{name}"), &format!("`{name}`")))
            }
            None => Ok(()),
        }
    }

    /// The same in the words of completions.
    pub fn fields(&self) -> SamplingFields {
        SamplingFields {
            n: self.n,
            temperature: self.temperature.or(Some(1.0)),
            top_p: self.top_p.or(Some(1.0)),
            top_k: self.top_k.or(Some(-1)),
            min_p: self.min_p.or(Some(0.0)),
            repetition_penalty: self.repetition_penalty.or(Some(1.0)),
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: self.logit_bias.clone(),
            seed: self.sampling_seed,
            stop: self.stop.clone(),
            stop_token_ids: self.stop_token_ids.clone(),
            include_stop_str_in_output: self.no_stop_trim,
            ignore_eos: self.ignore_eos,
            max_tokens: Some(self.max_new_tokens.unwrap_or(MAX_NEW_TOKENS)),
            min_tokens: self.min_new_tokens,
            skip_special_tokens: self.skip_special_tokens,
            logprobs_mode: Some(LogprobsMode::Scaled),
            ..SamplingFields::default()
        }
    }
}

/// One choice, or a list of them, prompt-major, where a list of prompts or several choices were asked for.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum GenerateAnswer {
    One(Generated),
    Many(Vec<Generated>),
}

/// One choice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Generated {
    pub text: String,
    pub output_ids: Vec<u32>,
    pub meta_info: MetaInfo,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetaInfo {
    pub id: String,
    pub finish_reason: GenerateFinish,
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
    pub cached_tokens: usize,
    /// The version of the weights that the last token was drawn with.
    pub weight_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Vec<Object>>>)]
    pub input_token_logprobs: Option<Vec<GeneratedLogprob>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Vec<Object>>>)]
    pub output_token_logprobs: Option<Vec<GeneratedLogprob>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub input_top_logprobs: Option<Vec<Option<Vec<GeneratedLogprob>>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub output_top_logprobs: Option<Vec<Option<Vec<GeneratedLogprob>>>>,
}

/// Logprob, token id, and the token's text, which is always `null`.
pub type GeneratedLogprob = (Option<f32>, u32, Option<String>);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GenerateFinish {
    /// `stop`, `length` or `abort`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The stop string or token id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched: Option<super::completions::StopReason>,
    /// With `length`: the tokens of the choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// With `abort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
