//! What scorers need that no suite can say: where things are on this machine, and whom to ask.

use crate::eval::scorers::judge::JudgeOptions;
use crate::eval::scorers::sandbox::SandboxOptions;
use crate::score::Profile;

#[derive(Debug, Clone, Default)]
pub struct ScorerOptions {
    /// For suites of code.
    pub sandbox: SandboxOptions,
    /// For suites that a model judges.
    pub judge: Option<JudgeOptions>,
    /// How answers in math and choices are found and compared.
    pub profile: Profile,
}
