//! What can go wrong with a job, told apart by whose it is to mend.

use crate::eval::EvalError;
use crate::store::{RunStatus, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was asked cannot be run.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// More than one answer holds.
    #[error(
        "the run `{run}` has {samples} samples, and at most {most} are shown at once: page through its output items"
    )]
    TooManySamples { run: String, samples: i64, most: i64 },
    #[error("no worker has begun the run `{run}`: there is nothing of it yet")]
    NothingYet { run: String },
    #[error("the run `{run}` is {status}: its completions are judged again when it is complete")]
    NotComplete { run: String, status: RunStatus },
    #[error(
        "the suite {suite} is not what the run `{run}` was of any more: its samples cannot be judged by it"
    )]
    OtherSuite { run: String, suite: String },
    /// What is in the store was not written by this program, or by a newer one.
    #[error("the run `{run}` cannot be read: {message}")]
    Damaged { run: String, message: String },
    /// The disk did not take what a job made.
    #[error("the job's files: {message}")]
    Files { message: String },
    /// A worker's code panicked: a bug.
    #[error("the work on the run failed: {message}")]
    Internal { message: String },
}

impl From<tokio::task::JoinError> for JobError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Internal { message: error.to_string() }
    }
}
