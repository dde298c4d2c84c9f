//! `/v1/embeddings`: texts in, vectors out.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::parse::{BadRequest, RequestBody, Unsupported};
use super::prompt::Prompt;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EmbeddingRequest {
    /// May be left out when the server has one encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A text, texts, ids or lists of ids. Prefixes that a model was trained with (E5's `query: `) are the client's to write.
    pub input: Prompt,
    /// `float` (the default), or `base64` of little-endian 32-bit floats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding_format: Option<String>,
    /// Must be the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
    /// Cut texts to so many tokens, special tokens included; -1 to what the model reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate_prompt_tokens: Option<i64>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for EmbeddingRequest {
    const IGNORED: &'static [&'static str] = &["user", "request_id", "priority"];
    const UNSUPPORTED: &'static [Unsupported] = &[Unsupported { name: "input_type", harmless: &[] }];

    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    fn check(&self) -> Result<(), BadRequest> {
        match self.encoding_format.as_deref() {
            None | Some("float" | "base64") => Ok(()),
            Some(_) => {
                Err(BadRequest::invalid("encoding_format", "`encoding_format` must be `float` or `base64`"))
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EmbeddingResponse {
    /// Always `list`.
    pub object: String,
    pub data: Vec<Embedding>,
    pub model: String,
    pub usage: EmbeddingUsage,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Embedding {
    /// Always `embedding`.
    pub object: String,
    /// Of the input's texts.
    pub index: u32,
    pub embedding: Vector,
}

/// A vector of length 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Vector {
    Floats(Vec<f32>),
    Base64(String),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EmbeddingUsage {
    pub prompt_tokens: u64,
    pub total_tokens: u64,
}
