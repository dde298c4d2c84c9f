//! What a caller may choose about the judgement of two answers.

/// More places than any answer has; a greater precision is cut to it.
pub(super) const PRECISION_MAX: u32 = 200;

/// How strictly two answers are compared, and at what cost at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MathOptions {
    /// Decimal places to which a long decimal has to agree with a value that it cannot express.
    pub precision: u32,
    /// Names of variables and kinds of brackets matter: the pair (1, 2) is not the set {1, 2}.
    pub strict: bool,
    /// Whether `x > 3` may answer for the interval (3, ∞).
    pub allow_set_relation_comparison: bool,
    /// Steps of parsing and arithmetic that one judgement may take; then it is undecided.
    pub budget_steps: u32,
}

impl Default for MathOptions {
    fn default() -> Self {
        Self { precision: 6, strict: true, allow_set_relation_comparison: false, budget_steps: 200_000 }
    }
}
