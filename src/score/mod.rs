//! Scoring of one completion, pure and synchronous: extraction, equivalence, language, statistics.
//!
//! Nothing here does I/O, touches tensors or knows a suite. A scorer sees one problem's gold answer and one
//! completion and says what it found, where, and why it judged so.

mod answer;
mod beside_words;
pub mod case;
mod choice;
pub mod conduct;
pub mod extract;
pub mod grader;
pub mod instructions;
pub mod language;
pub mod math;
mod options;
mod phrases;
mod profile;
pub mod statistics;
mod text;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::language::Language;
use extract::{Extraction, Found};

pub use answer::AnswerScorer;
pub use choice::ChoiceScorer;
pub use math::MathScorer;
pub use options::{AnswerKind, OptionError, ScoreOptions};
pub use profile::Profile;
pub use text::TextScorer;

/// What a scorer needs to know of a problem.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    pub gold: &'a str,
    /// Decides how separators in the completion's number are read.
    pub language: Language,
}

/// Judges a completion against a problem. Implementations keep no state that changes a verdict.
pub trait Scorer: Send + Sync {
    fn score(&self, sample: Sample<'_>, completion: &str) -> Score;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Correct,
    Wrong,
    /// An answer is there, but no rule decides it. Counts as wrong; its rate is reported.
    Undecided,
}

/// Why the verdict is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    NumberEqual,
    /// Equal after rounding to six places, where one side is a fraction or a long decimal.
    RoundedEqual,
    TextEqual,
    NumberDiffers,
    TextDiffers,
    NotANumber,
    /// The gold answer equals the other reading of a separator ("1,234" in a language that writes 1.234).
    AmbiguousSeparator,
    /// Adjacent boxes state several values.
    SeveralAnswers,
    TooLong,
    ChoiceEqual,
    ChoiceDiffers,
    /// A letter that the problem does not offer.
    OutsideChoices,
    /// The answer is no single letter.
    NotAChoice,
    /// The answer's only box was never closed.
    UnclosedBox,
    /// The sentence after the box announces another value.
    Contradicted,
    /// What stands around the box makes another value of it: `-\boxed{5}`, "not \boxed{5}".
    Changed,
    NoBox,
    /// The completion, or what follows its trace, holds nothing.
    Empty,
    /// The completion ends inside its trace.
    UnclosedTrace,
    /// A program passed all its tests.
    TestsPassed,
    /// A program printed or returned something else than a test expects.
    OutputDiffers,
    /// A program ended by an error of its own.
    ProgramFailed,
    TimeLimit,
    MemoryLimit,
    OutputLimit,
    /// A program tried what the sandbox does not permit.
    Forbidden,
    /// The answer holds no program.
    NoCode,
    InstructionsFollowed,
    InstructionsNotFollowed,
    /// Which of the instructions were followed cannot be told for all of them.
    InstructionsUndecided,
    JudgedCorrect,
    JudgedWrong,
    /// The judge gave no verdict that can be read.
    NoVerdict,
    /// The answer is, or is not, wholly in the problem's language.
    LanguageFollowed,
    LanguageNotFollowed,
    /// Nothing in the answer tells its language.
    LanguageUndecidable,
    /// Equal in exact form: formulas, lists, sets, relations, matrices.
    FormulaEqual,
    FormulaDiffers,
    /// One is a number and the other a set, or the like.
    KindDiffers,
    /// Equal numbers in two known units.
    UnitDiffers,
    /// A formula with two readings ("1/2x").
    AmbiguousFormula,
    /// Neither equality nor difference could be proven.
    NotProven,
    /// The step budget ran out.
    BudgetSpent,
}

/// The judgement on one completion, with how the answer was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    pub verdict: Verdict,
    pub reason: Reason,
    /// Bytes of the completion that hold the answer.
    pub span: Option<Range<usize>>,
    /// The pieces of the answer within the span: one, or the contents of adjacent boxes.
    pub answers: Vec<Range<usize>>,
    pub found: Option<Found>,
    pub boxes: usize,
    pub unclosed_box: bool,
    /// The answer in canonical form: equal answers have equal forms (majority votes count them).
    pub normalised: Option<String>,
}

impl Score {
    pub fn is_correct(&self) -> bool {
        self.verdict == Verdict::Correct
    }

    /// The text that was judged; adjacent boxes are joined by a comma.
    pub fn extracted(&self, completion: &str) -> Option<String> {
        let texts: Vec<&str> = self.answers.iter().map(|span| &completion[span.clone()]).collect();
        (!texts.is_empty()).then(|| texts.join(", "))
    }

    fn new(found: &Extraction, verdict: Verdict, reason: Reason, normalised: Option<String>) -> Self {
        Self {
            verdict,
            reason,
            span: found.span(),
            answers: found.answers.clone(),
            found: found.found,
            boxes: found.boxes,
            unclosed_box: found.unclosed_box,
            normalised,
        }
    }

    /// The score of a completion without an answer.
    fn unanswered(completion: &str, found: &Extraction) -> Self {
        let reason = if found.parts.unclosed_trace {
            Reason::UnclosedTrace
        } else if found.unclosed_box {
            Reason::UnclosedBox
        } else if completion[found.parts.answer.clone()].trim().is_empty() {
            Reason::Empty
        } else {
            Reason::NoBox
        };
        Self::new(found, Verdict::Wrong, reason, None)
    }
}
