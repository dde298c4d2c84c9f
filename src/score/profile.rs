//! Named ways of scoring: our own, and those of other harnesses, for numbers that are to be compared with theirs.
//!
//! A profile reproduces a harness' faults too; docs/scoring.md lists them. None but `default` should be believed.

pub(super) mod legacy_passk;
pub(super) mod math_verify;
pub(super) mod mindmerger;
pub(super) mod minerva;
pub(super) mod simple_evals;

use std::ops::Range;

use super::extract::{Extraction, Found, split};
use super::{Reason, Score, Verdict};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    #[default]
    Default,
    MathVerify,
    Minerva,
    LegacyPassk,
    SimpleEvals,
    Mindmerger,
}

impl Profile {
    pub const NAMES: &[&str] =
        &["default", "math-verify", "minerva", "legacy-passk", "simple-evals", "mindmerger"];

    pub fn named(name: &str) -> Option<Self> {
        match name {
            "default" => Some(Self::Default),
            "math-verify" => Some(Self::MathVerify),
            "minerva" => Some(Self::Minerva),
            "legacy-passk" => Some(Self::LegacyPassk),
            "simple-evals" => Some(Self::SimpleEvals),
            "mindmerger" => Some(Self::Mindmerger),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::MathVerify => "math-verify",
            Self::Minerva => "minerva",
            Self::LegacyPassk => "legacy-passk",
            Self::SimpleEvals => "simple-evals",
            Self::Mindmerger => "mindmerger",
        }
    }
}

/// What a profile that compares strings found.
pub(super) struct StringMatch {
    pub span: Option<Range<usize>>,
    pub normalised: Option<String>,
    pub correct: bool,
}

impl StringMatch {
    pub fn none() -> Self {
        Self { span: None, normalised: None, correct: false }
    }

    /// The score of a profile that knows no "undecided".
    pub fn score(self, completion: &str) -> Score {
        let mut found = Extraction::none(split(completion));
        let Some(span) = self.span else { return Score::unanswered(completion, &found) };
        found.take(Found::Phrase, vec![span]);
        let (verdict, reason) = if self.correct {
            (Verdict::Correct, Reason::TextEqual)
        } else {
            (Verdict::Wrong, Reason::TextDiffers)
        };
        Score::new(&found, verdict, reason, self.normalised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_go_by_name() {
        for name in Profile::NAMES {
            assert_eq!(Profile::named(name).map(Profile::name), Some(*name));
        }
        assert_eq!(Profile::named("other"), None);
    }
}
