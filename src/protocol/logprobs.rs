//! Log-probabilities in the two shapes of the OpenAI API, and vLLM's `prompt_logprobs`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Of a text completion: parallel lists, one entry a token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionLogprobs {
    /// Where each token starts, in characters of the tokens' texts joined.
    #[serde(default)]
    pub text_offset: Vec<usize>,
    /// The first token of an echoed prompt has none.
    #[serde(default)]
    pub token_logprobs: Vec<Option<f32>>,
    #[serde(default)]
    pub tokens: Vec<String>,
    #[serde(default)]
    pub top_logprobs: Option<Vec<Option<TopLogprobs>>>,
    /// Where tokens were truncated and logprobs are `scaled` or `processed`: the share of the scaled distribution that was left
    /// to draw from. A processed logprob is the scaled one less its logarithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_mass: Option<Vec<f32>>,
}

/// Token text to logprob, best first. A map on the wire.
#[derive(Debug, Clone, Default, PartialEq, ToSchema)]
#[schema(value_type = BTreeMap<String, f32>)]
pub struct TopLogprobs(pub Vec<(String, f32)>);

impl Serialize for TopLogprobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(token, logprob)| (token, logprob)))
    }
}

impl<'de> Deserialize<'de> for TopLogprobs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = TopLogprobs;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object of numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TopLogprobs, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(TopLogprobs(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Of a chat completion.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatLogprobs {
    pub content: Option<Vec<ChatTokenLogprob>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatTokenLogprob {
    pub token: String,
    pub logprob: f32,
    /// The token's exact bytes: one character may be split over several tokens.
    #[serde(default)]
    pub bytes: Option<Vec<u8>>,
    #[serde(default)]
    pub top_logprobs: Vec<ChatTopLogprob>,
    /// As in text completions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_mass: Option<f32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatTopLogprob {
    pub token: String,
    pub logprob: f32,
    #[serde(default)]
    pub bytes: Option<Vec<u8>>,
}

/// One entry a prompt token: token id (as a string) to its logprob; `null` for the first.
pub type PromptLogprobs = Vec<Option<BTreeMap<String, PromptLogprob>>>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PromptLogprob {
    pub logprob: f32,
    /// 1 is the likeliest token.
    #[serde(default)]
    pub rank: Option<u32>,
    #[serde(default)]
    pub decoded_token: Option<String>,
}
