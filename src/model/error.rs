//! What can be wrong with a model: its config, its tensors, or the two together. Every message names the key
//! or the tensor and the way out.

use crate::ops::OpsError;
use crate::weights::{Checkpoint, WeightsError, printable};

/// What comes from the checkpoint is printed escaped and clipped, for it may be anything.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(
        "{} is not a supported model; supported are {supported} (Hugging Face `model_type`); \
         convert the checkpoint to one of them if its architecture is the same",
        printable(found)
    )]
    UnknownFamily { found: String, supported: String },
    #[error("`{}` is missing; {hint}", printable(key))]
    MissingKey { key: String, hint: String },
    #[error("`{}` is {}, but must be {expected}", printable(key), printable(found))]
    InvalidKey { key: String, found: String, expected: String },
    #[error("{}; {}", printable(what), printable(hint))]
    Contradiction { what: String, hint: String },
    #[error("`{}` = {} is not supported; {}", printable(key), printable(found), printable(hint))]
    Unsupported { key: String, found: String, hint: String },
    /// Of xenoglot.json.
    #[error("`{}` is not a key of a MindMerger model; {hint}", printable(key))]
    UnknownKey { key: String, hint: String },
    #[error(
        "`{key}` is {}, which does not exist; paths are absolute or relative to the file that names them",
        printable(&path.display().to_string())
    )]
    MissingPath { key: &'static str, path: std::path::PathBuf },
    #[error(
        "text {text} of the batch has {tokens} tokens, the encoder takes at most {tokens_max}; truncate it"
    )]
    TextTooLong { text: usize, tokens: usize, tokens_max: usize },
    #[error("the encoder has no tag for language {}; {hint}", printable(language))]
    NoLanguageTag { language: String, hint: String },
    #[error("the config does not fit the tensors:\n{}", lines(problems))]
    Tensors { problems: Vec<String> },
    /// Of weights that are to take the place of a model's.
    #[error("the update does not fit the model, which stays as it is:\n{}", lines(problems))]
    Update { problems: Vec<String> },
    #[error(
        "RoPE's table for {positions} positions would take {mebibytes} MiB, above the limit of {mebibytes_max} MiB; \
         serve the model with a shorter context (--max-model-len), or correct `max_position_embeddings`"
    )]
    RopeTable { positions: usize, mebibytes: usize, mebibytes_max: usize },
    #[error("reading the weights: {0}")]
    Weights(#[from] WeightsError),
    #[error("packing tensor {tensor}: {source}")]
    Pack { tensor: String, source: OpsError },
    /// A LoRA adapter that cannot be used, or not with this decoder.
    #[error("{}: {}", path.display(), printable(problem))]
    Adapter { path: std::path::PathBuf, problem: String },
    #[error("preparing the decoder: {0}")]
    Candle(#[from] candle_core::Error),
    /// Any of these, once it is known of which checkpoint it speaks.
    #[error("{place}: {problem}")]
    At { place: String, problem: Box<ModelError> },
}

impl ModelError {
    /// Says which checkpoint is at fault, and whether its config is a file of its own or comes from GGUF metadata.
    #[must_use]
    pub fn at(self, checkpoint: &Checkpoint) -> Self {
        let place = match &self {
            // These name it.
            Self::Weights(_) | Self::Adapter { .. } | Self::At { .. } => return self,
            Self::RopeTable { .. }
            | Self::Pack { .. }
            | Self::Update { .. }
            | Self::Candle(_)
            | Self::TextTooLong { .. }
            | Self::NoLanguageTag { .. } => checkpoint.path.display().to_string(),
            Self::UnknownFamily { .. }
            | Self::MissingKey { .. }
            | Self::InvalidKey { .. }
            | Self::Contradiction { .. }
            | Self::Unsupported { .. }
            | Self::UnknownKey { .. }
            | Self::MissingPath { .. }
            | Self::Tensors { .. } => checkpoint.config_place.clone(),
        };
        Self::At { place, problem: Box::new(self) }
    }

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

/// Each line for itself, so that a name in one cannot break into the next.
fn lines(problems: &[String]) -> String {
    problems.iter().map(|problem| printable(problem)).collect::<Vec<_>>().join("\n")
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As with `WeightsError`, for names and keys that a checkpoint's author chose.
    #[test]
    fn what_a_file_says_is_escaped_and_clipped() {
        let check = |text: &str, expected: &str| {
            let (key, found, hint, what) =
                (text.to_owned(), text.to_owned(), text.to_owned(), text.to_owned());
            for error in [
                ModelError::UnknownFamily { found: text.to_owned(), supported: String::new() },
                ModelError::MissingKey { key: text.to_owned(), hint: String::new() },
                ModelError::invalid(text, &text.into(), ""),
                ModelError::Contradiction { what, hint: String::new() },
                ModelError::Unsupported { key, found, hint },
                ModelError::Tensors { problems: vec![text.to_owned()] },
            ] {
                let message = error.to_string().replacen(":\n", ": ", 1);
                assert!(message.contains(expected) && !message.contains(char::is_control), "{message:?}");
                assert!(message.chars().count() < 2500, "{message}");
            }
        };
        check("model.layers.0.x.weight", "model.layers.0.x.weight");
        check("a\u{1b}[2J\u{9b}\nb", "a\\u{1b}[2J\\u{9b}\\nb");
        check("\u{202e}gnp", "\\u{202e}gnp");
        check(&"é".repeat(100_000), "characters left out");
    }
}
