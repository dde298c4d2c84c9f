//! The numbers of a run: by language and over all, each with an interval whose unit is the problem.
//!
//! A problem's translations are one cluster: in the overall group a problem counts once, with the mean of its
//! languages. Refused samples count as wrong and take no part in language consistency.

mod group;
mod metrics;
mod scores;
pub mod table;
mod values;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::language::Language;

use super::error::EvalError;
use super::record::{Outcome, SampleRecord};
use super::stored::StoredRun;

pub use group::{GroupResults, OutcomeRates};
pub use scores::run_scores;

/// Results of a whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    pub languages: Vec<GroupResults>,
    pub overall: GroupResults,
}

/// What of a record the numbers need; completions may be long, so they are not kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scored {
    problem: String,
    language: Language,
    sample: u32,
    outcome: Outcome,
    answer: Option<String>,
    following: Option<bool>,
    trace: Option<f64>,
    answer_language: Option<f64>,
    undecidable: bool,
    tokens: Option<u64>,
    thinking_tokens: Option<u64>,
    is_empty: bool,
    metrics: BTreeMap<String, f64>,
}

impl From<&SampleRecord> for Scored {
    fn from(record: &SampleRecord) -> Self {
        Self {
            problem: record.problem.clone(),
            language: record.language,
            sample: record.sample,
            outcome: record.outcome,
            answer: record.answer.clone(),
            following: record.following,
            trace: record.trace_language.as_ref().and_then(|trace| trace.score),
            answer_language: record.answer_language.as_ref().and_then(|answer| answer.score),
            undecidable: record.language_undecidable,
            tokens: record.completion_tokens,
            thinking_tokens: record.thinking_tokens,
            is_empty: record.empty,
            metrics: record.metrics.clone(),
        }
    }
}

impl Results {
    /// The numbers of the samples that a run has so far.
    ///
    /// # Errors
    /// Whatever reading them brings.
    pub fn so_far(run: &StoredRun) -> Result<Self, EvalError> {
        let scored = run.samples::<SampleRecord>()?.map(|sample| Ok(Scored::from(&sample?)));
        let scored: Vec<Scored> = scored.collect::<Result<_, EvalError>>()?;
        Ok(Self::new(&scored, &run.file.languages, run.file.n, run.file.seed))
    }

    /// The same for the same samples, in whatever order they were written.
    pub(super) fn new(scored: &[Scored], languages: &[Language], n: u32, seed: u64) -> Self {
        let mut sorted: Vec<&Scored> = scored.iter().collect();
        sorted.sort_by(|a, b| (&a.problem, a.language, a.sample).cmp(&(&b.problem, b.language, b.sample)));
        let of = |language: Language| {
            sorted.iter().copied().filter(|s| s.language == language).collect::<Vec<_>>()
        };
        Self {
            languages: languages
                .iter()
                .map(|code| GroupResults::new(Some(*code), &of(*code), n, seed))
                .collect(),
            overall: GroupResults::new(None, &sorted, n, seed),
        }
    }
}

#[cfg(test)]
mod tests;
