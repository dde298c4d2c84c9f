//! The numbers of one group of samples: a language's, or all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::language::Language;
use crate::score::statistics::Interval;

use super::Scored;
use super::values::{Table, mean};
use crate::eval::record::Outcome;

/// Results of one language, or of all together (`language` null).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupResults {
    pub language: Option<Language>,
    pub problems: usize,
    pub samples: usize,
    /// Samples without a completion count as wrong.
    pub pass_at: BTreeMap<u32, Option<Interval>>,
    /// Samples without a completion are left out.
    #[serde(default)]
    pub pass_at_present: BTreeMap<u32, Option<Interval>>,
    pub consistent_pass_at: BTreeMap<u32, Option<Interval>>,
    /// pass^k: all of k are correct.
    #[serde(default)]
    pub pass_all_at: BTreeMap<u32, Option<Interval>>,
    /// maj@k.
    #[serde(default)]
    pub majority_at: BTreeMap<u32, Option<Interval>>,
    pub majority: Option<Interval>,
    pub consistency: Option<Interval>,
    pub trace_score: Option<Interval>,
    pub answer_score: Option<Interval>,
    pub outcomes: OutcomeRates,
    pub language_undecidable: f64,
    pub completion_tokens_mean: Option<f64>,
    #[serde(default)]
    pub thinking_tokens_mean: Option<f64>,
    /// Share of completions that hold nothing.
    #[serde(default)]
    pub empty: f64,
    #[serde(default)]
    pub metrics: BTreeMap<String, Option<Interval>>,
}

/// Shares of all samples; they add up to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct OutcomeRates {
    pub correct: f64,
    pub wrong: f64,
    pub truncated: f64,
    pub no_box: f64,
    pub undecided: f64,
    pub error: f64,
}

impl GroupResults {
    /// `scored` is sorted by problem, then language.
    pub(super) fn new(language: Option<Language>, scored: &[&Scored], n: u32, seed: u64) -> Self {
        let mut table = Table::of(scored, n, seed);
        let share = |holds: fn(&Scored) -> bool| {
            scored.iter().filter(|s| holds(s)).count() as f64 / scored.len().max(1) as f64
        };
        let outcome = |wanted: Outcome| {
            scored.iter().filter(|s| s.outcome == wanted).count() as f64 / scored.len().max(1) as f64
        };
        Self {
            language,
            problems: scored.chunk_by(|a, b| a.problem == b.problem).count(),
            samples: scored.len(),
            pass_at: table.by_k(),
            pass_at_present: table.by_k(),
            consistent_pass_at: table.by_k(),
            pass_all_at: table.by_k(),
            majority_at: table.by_k(),
            majority: table.one(),
            consistency: table.one(),
            trace_score: table.one(),
            answer_score: table.one(),
            outcomes: OutcomeRates {
                correct: outcome(Outcome::Correct),
                wrong: outcome(Outcome::Wrong),
                truncated: outcome(Outcome::Truncated),
                no_box: outcome(Outcome::NoBox),
                undecided: outcome(Outcome::Undecided),
                error: outcome(Outcome::Error),
            },
            language_undecidable: share(|s| s.undecidable),
            completion_tokens_mean: tokens_mean(scored, |s| s.tokens),
            thinking_tokens_mean: tokens_mean(scored, |s| s.thinking_tokens),
            empty: share(|s| s.is_empty),
            metrics: super::metrics::metrics(scored, seed),
        }
    }
}

/// None where a server told the length of some completions alone: those need not be like the rest.
fn tokens_mean(scored: &[&Scored], count: fn(&Scored) -> Option<u64>) -> Option<f64> {
    let completions = scored.iter().filter(|s| s.outcome != Outcome::Error);
    let tokens: Vec<f64> =
        completions.map(|s| count(s).map(|tokens| tokens as f64)).collect::<Option<_>>()?;
    mean(tokens.into_iter())
}
