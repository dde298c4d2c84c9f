//! Why a grammar cannot guide an answer.

/// What is wrong with a grammar, or with walking it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuideError {
    #[error("the model's vocabulary cannot be guided: {0}")]
    Vocabulary(String),
    /// `path` is the JSON pointer of the smallest part of a schema that fails alone; empty for the whole, and for other grammars.
    #[error("{}{problem}", at(path))]
    Grammar { path: String, problem: String },
    #[error(
        "the grammar is too costly: one token of the answer took more work than a token may; simplify its expressions (nested \
         repetitions, large counts, many alternatives with a common beginning)"
    )]
    Work,
    #[error("the answer cannot go on by its grammar: {0}")]
    Stuck(String),
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("at {path}: ") }
}
