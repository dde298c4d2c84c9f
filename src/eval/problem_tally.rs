//! What became of each problem in each language, counted in one pass over a run's samples.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::language::Language;
use crate::score::statistics::pass_at_k;

use super::error::EvalError;
use super::record::Outcome;
use super::stored::StoredRun;

/// The samples of one problem in one language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProblemTally {
    pub samples: u32,
    pub correct: u32,
    /// Correct and in the language.
    pub consistent: u32,
    pub following: u32,
    /// Samples with a completion, of which it is known whether they follow.
    pub judged: u32,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// pass@k.
    Pass,
    /// consistent-pass@k: correct and in the language.
    Consistent,
    /// The share of samples in the language; k plays no part.
    Following,
}

impl ProblemTally {
    /// Count one sample.
    pub fn add(&mut self, outcome: Outcome, following: Option<bool>) {
        let (correct, follows) = (outcome == Outcome::Correct, following == Some(true));
        self.samples += 1;
        self.correct += u32::from(correct);
        self.consistent += u32::from(correct && follows);
        self.following += u32::from(follows);
        self.judged += u32::from(following.is_some());
    }

    /// `None` where there are fewer than k samples, or none was judged.
    pub fn value(self, metric: Metric, k: u32) -> Option<f64> {
        let pass = |count: u32| pass_at_k(self.samples as usize, count as usize, k as usize);
        match metric {
            Metric::Pass => pass(self.correct),
            Metric::Consistent => pass(self.consistent),
            Metric::Following => {
                (self.judged > 0).then(|| f64::from(self.following) / f64::from(self.judged))
            }
        }
    }
}

/// By language in the order of `Language`, then problem.
pub type ProblemTallies = BTreeMap<(Language, String), ProblemTally>;

/// The fields of a sample that are counted; the rest of its line is skipped.
#[derive(Deserialize)]
struct Counted {
    problem: String,
    language: Language,
    outcome: Outcome,
    following: Option<bool>,
}

/// # Errors
/// `Io` or `BadRecord`.
pub fn problem_tallies(run: &StoredRun) -> Result<ProblemTallies, EvalError> {
    let mut tallies = ProblemTallies::new();
    for sample in run.samples::<Counted>()? {
        let Counted { problem, language, outcome, following } = sample?;
        tallies.entry((language, problem)).or_default().add(outcome, following);
    }
    Ok(tallies)
}
