//! What is wrong with a grader, or with an item that it is to grade.

use std::fmt::Display;

/// Paths are those of the grader's own body: `graders.lang.target`; empty for a single grader as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraderError {
    /// The grader cannot be used: refuse the request.
    #[error("{}{message}", prefix(.path))]
    Definition { path: String, message: String },
    /// The grader is well, this item is not: refuse the data, or leave the item out.
    #[error("{}{message}", prefix(.path))]
    Item { path: String, message: String },
}

impl GraderError {
    pub(super) fn definition(path: &str, message: impl Display) -> Self {
        Self::Definition { path: path.to_owned(), message: message.to_string() }
    }

    pub(super) fn item(path: &str, message: impl Display) -> Self {
        Self::Item { path: path.to_owned(), message: message.to_string() }
    }

    pub fn path(&self) -> &str {
        match self {
            Self::Definition { path, .. } | Self::Item { path, .. } => path,
        }
    }

    pub fn message(&self) -> &str {
        match self {
            Self::Definition { message, .. } | Self::Item { message, .. } => message,
        }
    }

    /// The same, of a grader that stands at `path` of a larger body.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        let joined = |path: String| match (outer.is_empty(), path.is_empty()) {
            (true, _) => path,
            (false, true) => outer.to_owned(),
            (false, false) => format!("{outer}.{path}"),
        };
        match self {
            Self::Definition { path, message } => Self::Definition { path: joined(path), message },
            Self::Item { path, message } => Self::Item { path: joined(path), message },
        }
    }
}

fn prefix(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}
