//! What can be wrong with the tests of a problem.

use crate::eval::scorers::sandbox::SandboxError;

#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    #[error(
        "the problem has no tests: it must have test and entry_point (HumanEval), test_list (MBPP), or \
         public_test_cases or private_test_cases (LiveCodeBench)"
    )]
    NoTests,
    #[error("{field}: {message}")]
    Field { field: String, message: String },
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

impl CodeError {
    pub(super) fn field(field: &str, message: impl Into<String>) -> Self {
        Self::Field { field: field.to_owned(), message: message.into() }
    }
}
