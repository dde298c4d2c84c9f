//! Answers that are words: the box must say what the gold says, case and typography aside.

use super::extract::extract;
use super::math::normalise::normalise;
use super::{Reason, Sample, Score, Scorer, Verdict};

/// Compares normalised texts; what differs is wrong, never undecided.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextScorer;

impl Scorer for TextScorer {
    fn score(&self, sample: Sample<'_>, completion: &str) -> Score {
        let found = extract(completion);
        let Some(span) = found.span() else { return Score::unanswered(completion, &found) };
        let Some(answer) = normalise(&completion[span]).map(|text| text.to_lowercase()) else {
            return Score::new(&found, Verdict::Undecided, Reason::TooLong, None);
        };
        let gold = normalise(sample.gold).map(|text| text.to_lowercase());
        let (verdict, reason) = if gold.as_deref() == Some(answer.as_str()) {
            (Verdict::Correct, Reason::TextEqual)
        } else {
            (Verdict::Wrong, Reason::TextDiffers)
        };
        Score::new(&found, verdict, reason, Some(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::Language;

    #[track_caller]
    fn check(gold: &str, completion: &str, expected: Verdict) {
        let score = TextScorer.score(Sample { gold, language: Language::En }, completion);
        assert_eq!(score.verdict, expected, "{completion}");
    }

    #[test]
    fn words_compare_without_case_and_wrappers() {
        check("Yes", r"\boxed{\text{yes}}.", Verdict::Correct);
        check("Yes", r"\boxed{no}", Verdict::Wrong);
        check("Yes", "yes", Verdict::Wrong);
    }
}
