//! `language_consistency`: in how far a completion is in its language.
//!
//! The share, or its strict reading, is `score::language`'s; `probability` counts a sentence by how likely it is in the target.
//! Budget Alignment rewards the probability that langdetect has for the target over the completion: that depends on a draw, and a
//! formula or a loan word can turn it. A completion that has no words to tell a language by earns nothing here, though it counts as
//! following in evaluations: a bare box would be the cheapest way to the reward.

use std::sync::Arc;

use serde_json::Value;

use super::GraderError;
use super::completion::Completion;
use super::grade::{GradeReason, Outcome};
use super::target::Target;
use super::template::Missing;
use crate::language::Language;
use crate::protocol::graders::{CompletionPart, LanguageConsistencyGrader, LanguageMode};
use crate::score::language::{LanguageScorer, TextScore};

pub(super) struct LanguageConsistency {
    target: Target,
    mode: LanguageMode,
    part: CompletionPart,
    scorer: Arc<LanguageScorer>,
}

impl LanguageConsistency {
    pub fn compile(
        grader: &LanguageConsistencyGrader,
        path: &str,
        scorer: Arc<LanguageScorer>,
    ) -> Result<Self, GraderError> {
        let target = Target::compile(&grader.target, path, "target")?;
        Ok(Self { target, mode: grader.mode, part: grader.part, scorer })
    }

    pub fn check(&self, item: &Value) -> Result<(), Missing> {
        self.target.of(item).map(|_| ())
    }

    pub fn grade(&self, item: &Value, completion: &Completion<'_>) -> Result<Outcome, Missing> {
        let target = self.target.of(item)?;
        if self.part == CompletionPart::Trace && completion.trace().is_none() {
            return Ok(Outcome::new(0.0, GradeReason::NoTrace));
        }
        let share = match self.mode {
            LanguageMode::Probability => self.probability(completion, target),
            LanguageMode::Continuous => self.text_score(completion, target).score,
            LanguageMode::Strict => strict(&self.text_score(completion, target)),
        };
        Ok(match share {
            Some(share) => Outcome::new(share, GradeReason::Measured),
            None => Outcome::undecided(GradeReason::NoWords),
        })
    }

    fn text_score(&self, completion: &Completion<'_>, target: Language) -> TextScore {
        let of = |text: &str| self.scorer.score_text(text, target);
        match self.part {
            CompletionPart::Trace => of(completion.trace().unwrap_or_default()),
            CompletionPart::Answer => of(completion.answer()),
            CompletionPart::Both => {
                self.scorer.whole(&self.scorer.score_completion(&completion.text, target), target)
            }
        }
    }

    fn probability(&self, completion: &Completion<'_>, target: Language) -> Option<f64> {
        let of = |text: &str| self.scorer.likely_share(text, target);
        let trace = of(completion.trace().unwrap_or_default());
        let answer = of(completion.answer());
        match self.part {
            CompletionPart::Trace => trace.share(),
            CompletionPart::Answer => answer.share(),
            CompletionPart::Both => trace.and(answer).share(),
        }
    }
}

/// All of it in the target, down to single letters of other scripts; Latin ones are names and terms.
fn strict(text: &TextScore) -> Option<f64> {
    let only = text.off_target.is_empty() && text.wrong_script_characters == 0;
    text.score.map(|_| f64::from(u8::from(only)))
}
