//! Why a training cannot go on, one variant for each thing its owner can do something about.

use std::path::{Path, PathBuf};

use super::data::DataError;
use crate::model::ModelError;
use crate::ops::OpsError;
use crate::weights::WeightsError;

#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Ops(#[from] OpsError),
    /// What an operation reports.
    #[error("the model failed: {0}")]
    Forward(#[from] candle_core::Error),
    /// An option out of its range, or at odds with another.
    #[error("`{key}` {problem}")]
    Option { key: &'static str, problem: String },
    /// Somebody else holds the weights that are to be changed.
    #[error("`{tensor}` is in use elsewhere and cannot be trained: give the training a model of its own")]
    Shared { tensor: String },
    /// A mask that does not go with the model.
    #[error("{}: {problem}", path.display())]
    Mask { path: PathBuf, problem: String },
    /// The loss or the gradient is no number, or far from what it was.
    #[error(
        "step {step}: {what} is {value} ({batch}); the weights are those of the checkpoint before: \
         lower the learning rate, or look at these examples"
    )]
    Diverged { step: u64, what: &'static str, value: f64, batch: String },
    #[error("it was stopped while the model was read")]
    Interrupted,
    #[error("completions cannot be sampled: {message}")]
    Sampling { message: String },
    /// The sampler and the trainer compute other log-probabilities for the same tokens.
    #[error(
        "step {step}: the sampler's log-probabilities differ from training's by {max:.1e} at most and {mean:.1e} in the mean, \
         {bound_max:.1e} and {bound_mean:.1e} are allowed: train in f32, or raise `logp_difference_max` and \
         `logp_difference_mean`"
    )]
    Gap { step: u64, max: f64, mean: f64, bound_max: f64, bound_mean: f64 },
    #[error("{} is in use by another training: wait for it, or choose another folder", path.display())]
    Locked { path: PathBuf },
    /// What is kept at once would not fit.
    #[error(
        "{}: checkpoints and result take {:.1} GiB, {:.1} GiB are free: lower `save_total_limit`, or choose another folder",
        path.display(), gibibytes(*needed), gibibytes(*free)
    )]
    Disk { path: PathBuf, needed: u64, free: u64 },
    #[error("{}: cannot {action}: {source}", path.display())]
    Io { path: PathBuf, action: &'static str, source: std::io::Error },
    /// A checkpoint that is damaged, or of another training.
    #[error("{}: {problem}", path.display())]
    Checkpoint { path: PathBuf, problem: String },
}

fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / (1_u64 << 30) as f64
}

impl TrainError {
    /// For `map_err` on what is done to a file.
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }

    pub(super) fn option(key: &'static str, problem: impl Into<String>) -> Self {
        Self::Option { key, problem: problem.into() }
    }

    pub(super) fn checkpoint(path: &Path, problem: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.to_owned(), problem: problem.into() }
    }
}
