//! What can go wrong with a merge: each says the file, the key, the model or the tensor, and the way out.

use std::path::PathBuf;

use super::config::ConfigError;
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
    /// What makes no sense unless the user insists.
    #[error("{problem}; --allow-crimes merges them anyway")]
    Crime { problem: String },
    #[error("{path}: {problem}", path = path.display())]
    Output { path: PathBuf, problem: String },
    #[error("{}: cannot {action}: {source}", path.display())]
    Io { path: PathBuf, action: &'static str, source: std::io::Error },
    /// Stopped by whoever may.
    #[error("interrupted")]
    Interrupted,
}
