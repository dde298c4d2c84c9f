//! What can be wrong with training data, one variant for each thing their owner can do something about.

use std::io;
use std::path::{Path, PathBuf};

use crate::weights::{WeightsError, printable};

/// What comes from inside a file is printed escaped and clipped, for it may be anything.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refused to read or write.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    /// A line that is not what it should be; the problem names the JSON path.
    #[error("{}:{line}: {}", path.display(), printable(problem))]
    Line { path: PathBuf, line: usize, problem: String },
    /// A file as a whole.
    #[error("{}: {}", path.display(), printable(problem))]
    File { path: PathBuf, problem: String },
    /// An option out of its range, or at odds with another.
    #[error("`{key}` {problem}")]
    Option { key: &'static str, problem: String },
    /// The data were read and give nothing to learn from.
    #[error("nothing to train on: {0}")]
    Nothing(String),
    /// A folder of tokens that cannot be used as it is.
    #[error("{}: {problem}", path.display())]
    Store { path: PathBuf, problem: String },
    /// The tokenizer's own failure, or a checkpoint's.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The model's chat template does not compile.
    #[error(transparent)]
    Template(#[from] crate::chat::ChatError),
    #[error("the preparation of the data was interrupted; start it again, nothing half done is kept")]
    Interrupted,
}

impl DataError {
    /// For `map_err` on what is done to a file.
    pub(super) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }

    pub(super) fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into() }
    }

    pub(super) fn store(path: &Path, problem: impl Into<String>) -> Self {
        Self::Store { path: path.to_owned(), problem: problem.into() }
    }
}
