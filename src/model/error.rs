//! What can be wrong with a model: its config, its tensors, or the two together. Every message names the key
//! or the tensor and the way out.

use crate::ops::OpsError;
use crate::weights::WeightsError;

#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(
        "config.json: {found} is not a supported model; supported are {supported} (Hugging Face `model_type`); \
         convert the checkpoint to one of them if its architecture is the same"
    )]
    UnknownFamily { found: String, supported: String },
    #[error("config.json: `{key}` is missing; {hint}")]
    MissingKey { key: String, hint: String },
    #[error("config.json: `{key}` is {found}, but must be {expected}")]
    InvalidKey { key: String, found: String, expected: String },
    #[error("config.json: {what}; {hint}")]
    Contradiction { what: String, hint: String },
    #[error("config.json: `{key}` = {found} is not supported; {hint}")]
    Unsupported { key: String, found: String, hint: String },
    #[error("the checkpoint does not fit its config.json:\n{}", .problems.join("\n"))]
    Tensors { problems: Vec<String> },
    #[error(
        "RoPE's table for {positions} positions would take {mebibytes} MiB, above the limit of {mebibytes_max} MiB; \
         serve the model with a shorter context (--max-model-len), or correct `max_position_embeddings`"
    )]
    RopeTable { positions: usize, mebibytes: usize, mebibytes_max: usize },
    #[error("reading the weights: {0}")]
    Weights(#[from] WeightsError),
    #[error("packing tensor `{tensor}`: {source}")]
    Pack { tensor: String, source: OpsError },
    #[error("preparing the decoder: {0}")]
    Candle(#[from] candle_core::Error),
}

impl ModelError {
    pub(super) fn invalid(key: &str, found: &serde_json::Value, expected: impl Into<String>) -> Self {
        Self::InvalidKey { key: key.to_owned(), found: shorten(found), expected: expected.into() }
    }

    pub(super) fn unsupported(key: &str, found: &serde_json::Value, hint: impl Into<String>) -> Self {
        Self::Unsupported { key: key.to_owned(), found: shorten(found), hint: hint.into() }
    }

    pub(super) fn contradiction(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Contradiction { what: what.into(), hint: hint.into() }
    }
}

/// A value as JSON, cut so that a hostile config cannot fill the terminal.
fn shorten(value: &serde_json::Value) -> String {
    const CHARACTERS_MAX: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= CHARACTERS_MAX {
        return text;
    }
    text.chars().take(CHARACTERS_MAX).chain("…".chars()).collect()
}
