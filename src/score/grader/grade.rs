//! What a grader says of a sample.

use serde::Serialize;

use crate::score::Reason;

/// A sample's reward with all that it was made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Graded {
    /// Finite always; 0 where there is a `failure`.
    pub reward: f64,
    /// By name, in the order of `Grader::names`.
    pub parts: Vec<Part>,
    /// Why there is no reward: an item without a field, a formula without a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// The score of one of the graders.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    pub name: String,
    pub score: f64,
    pub reason: GradeReason,
    /// Nothing decides it; the score is 0 all the same.
    pub undecided: bool,
}

/// Why a score is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GradeReason {
    /// `string_check`: the operation holds.
    Holds,
    DoesNotHold,
    /// `language_consistency`: a share was measured.
    Measured,
    /// Nothing in the text tells its language.
    NoWords,
    /// The trace is asked for, and there is none.
    NoTrace,
    /// `think_format`: all that is required is there.
    FormatKept,
    TraceNotOpened,
    TraceNotClosed,
    SeveralTraces,
    TraceEmpty,
    AnswerWithoutBox,
    SeveralBoxes,
    /// `length`: neither too short nor too long.
    WithinLength,
    Overlong,
    TooShort,
    /// The item lacks what the grader asks for; `Graded::failure` says what.
    Failed,
    /// `math_answer`: the scorer's own reason.
    #[serde(untagged)]
    Answer(Reason),
}

/// A part's score before it has its name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Outcome {
    pub score: f64,
    pub reason: GradeReason,
    pub undecided: bool,
}

impl Outcome {
    pub fn new(score: f64, reason: GradeReason) -> Self {
        Self { score, reason, undecided: false }
    }

    /// 1 or 0.
    pub fn binary(holds: bool, reason: GradeReason) -> Self {
        Self::new(f64::from(u8::from(holds)), reason)
    }

    pub fn undecided(reason: GradeReason) -> Self {
        Self { score: 0.0, reason, undecided: true }
    }
}
