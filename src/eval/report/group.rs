//! The numbers of one group of samples: a language's, or all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::language::Language;
use crate::score::statistics::{Interval, Vote, interval, majority, pass_at_k};

use super::Scored;
use crate::eval::record::Outcome;

/// Results of one language, or of all together (`language` null).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupResults {
    pub language: Option<Language>,
    pub problems: usize,
    pub samples: usize,
    pub pass_at: BTreeMap<u32, Option<Interval>>,
    pub consistent_pass_at: BTreeMap<u32, Option<Interval>>,
    pub majority: Option<Interval>,
    pub consistency: Option<Interval>,
    pub trace_score: Option<Interval>,
    pub answer_score: Option<Interval>,
    pub outcomes: OutcomeRates,
    pub language_undecidable: f64,
    pub completion_tokens_mean: Option<f64>,
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
        let over = |value: &dyn Fn(&[&Scored]) -> Option<f64>| over_problems(scored, value, seed);
        let pass = |holds: fn(&Scored) -> bool| {
            (1..=n).map(|k| (k, over(&|cell| pass(cell, holds, k)))).collect::<BTreeMap<_, _>>()
        };
        let share = |holds: fn(&Scored) -> bool| {
            scored.iter().filter(|s| holds(s)).count() as f64 / scored.len().max(1) as f64
        };
        let outcome = |wanted: Outcome| {
            scored.iter().filter(|s| s.outcome == wanted).count() as f64 / scored.len().max(1) as f64
        };
        Self {
            language,
            problems: cells(scored)
                .map(|cell| &cell[0].problem)
                .collect::<std::collections::BTreeSet<_>>()
                .len(),
            samples: scored.len(),
            pass_at: pass(|s| s.outcome == Outcome::Correct),
            consistent_pass_at: pass(|s| s.outcome == Outcome::Correct && s.following == Some(true)),
            majority: over(&|cell| Some(vote(cell))),
            consistency: over(&|cell| mean(cell.iter().filter_map(|s| s.following).map(f64::from))),
            trace_score: over(&|cell| mean(cell.iter().filter_map(|s| s.trace))),
            answer_score: over(&|cell| mean(cell.iter().filter_map(|s| s.answer_language))),
            outcomes: OutcomeRates {
                correct: outcome(Outcome::Correct),
                wrong: outcome(Outcome::Wrong),
                truncated: outcome(Outcome::Truncated),
                no_box: outcome(Outcome::NoBox),
                undecided: outcome(Outcome::Undecided),
                error: outcome(Outcome::Error),
            },
            language_undecidable: share(|s| s.undecidable),
            completion_tokens_mean: tokens_mean(scored),
            metrics: super::metrics::metrics(scored, seed),
        }
    }
}

/// None where a server told the length of some completions alone: those need not be like the rest.
fn tokens_mean(scored: &[&Scored]) -> Option<f64> {
    let completions = scored.iter().filter(|s| s.outcome != Outcome::Error);
    let tokens: Vec<f64> =
        completions.map(|s| s.tokens.map(|tokens| tokens as f64)).collect::<Option<_>>()?;
    mean(tokens.into_iter())
}

/// The samples of one problem in one language, each in turn.
fn cells<'a, 'b>(scored: &'a [&'b Scored]) -> impl Iterator<Item = &'a [&'b Scored]> {
    scored.chunk_by(|a, b| a.problem == b.problem && a.language == b.language)
}

/// A value of each cell, averaged over the languages of a problem, with its interval over problems.
fn over_problems(
    scored: &[&Scored],
    value: &dyn Fn(&[&Scored]) -> Option<f64>,
    seed: u64,
) -> Option<Interval> {
    let problems = scored.chunk_by(|a, b| a.problem == b.problem);
    let values: Vec<f64> = problems.filter_map(|problem| mean(cells(problem).filter_map(value))).collect();
    interval(&values, seed)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

fn pass(cell: &[&Scored], holds: fn(&Scored) -> bool, k: u32) -> Option<f64> {
    pass_at_k(cell.len(), cell.iter().filter(|sample| holds(sample)).count(), k as usize)
}

/// A problem nobody answered is one the majority did not get.
fn vote(cell: &[&Scored]) -> f64 {
    let votes: Vec<Vote<'_>> = cell
        .iter()
        .filter_map(|s| Some(Vote { answer: s.answer.as_deref()?, correct: s.outcome == Outcome::Correct }))
        .collect();
    majority(&votes).unwrap_or(0.0)
}
