//! What scorers need that no suite can say: where things are on this machine, and whom to ask.

use crate::eval::scorers::judge::JudgeOptions;
use crate::eval::scorers::sandbox::SandboxOptions;

#[derive(Debug, Clone, Default)]
pub struct ScorerOptions {
    /// For suites of code.
    pub sandbox: SandboxOptions,
    /// For suites that a model judges.
    pub judge: Option<JudgeOptions>,
}
