//! What can go wrong with a merge: each says the file, the key, the model or the tensor, and the way out.

use std::path::PathBuf;

use super::config::{ConfigError, Place};
use crate::weights::WeightsError;

#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A model of the configuration that is not there.
    #[error("model {model}: {problem}")]
    Model { model: String, problem: String },
    /// Tensors that do not go together.
    #[error("tensor {tensor}: {problem}")]
    Tensor { tensor: String, problem: String },
    /// The method has no result for these numbers.
    #[error("tensor {tensor}: {why}")]
    Undefined { tensor: String, why: &'static str },
    /// Models that do not go together, and where the configuration names one of them.
    #[error("{}{problem}", at(place.as_ref()))]
    Mismatch { place: Option<Place>, problem: String },
    /// What makes no sense unless the user insists.
    #[error("{}{problem}; --allow-crimes merges them anyway", at(place.as_ref()))]
    Crime { place: Option<Place>, problem: String },
    #[error("{path}: {problem}", path = path.display())]
    Output { path: PathBuf, problem: String },
    #[error("{}: cannot {action}: {source}", path.display())]
    Io { path: PathBuf, action: &'static str, source: std::io::Error },
    /// Stopped by whoever may.
    #[error("interrupted")]
    Interrupted,
}

impl MergeError {
    /// The path of keys at fault in the configuration, if it is there.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Config(error) => error.key(),
            Self::Mismatch { place: Some(place), .. } | Self::Crime { place: Some(place), .. } => {
                Some(place.key.as_str()).filter(|key| !key.is_empty())
            }
            _ => None,
        }
    }

    /// Whether the same merge may succeed later, on top of what is written: it was stopped, or a disk was full or gone.
    pub fn is_resumable(&self) -> bool {
        match self {
            Self::Interrupted | Self::Io { .. } => true,
            Self::Weights(error) => matches!(error, WeightsError::Io { .. }),
            _ => false,
        }
    }

    /// For a configuration that the user did not write.
    #[must_use]
    pub(super) fn without_place(self) -> Self {
        match self {
            Self::Mismatch { problem, .. } => Self::Mismatch { place: None, problem },
            Self::Crime { problem, .. } => Self::Crime { place: None, problem },
            error => error,
        }
    }
}

fn at(place: Option<&Place>) -> String {
    place.map(|place| format!("{place}: ")).unwrap_or_default()
}
