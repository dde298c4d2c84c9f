//! What a list of runs shows of a run's results: each metric by language with its interval, for some k alone.

use std::collections::BTreeMap;

use super::{GroupResults, OutcomeRates, Results};
use crate::eval::record::RunFile;
use crate::protocol::eval_tables::{GroupScores, OutcomeShares, RunScores, ScoreInterval};
use crate::score::statistics::Interval;

/// The results of a run that is complete, in short.
pub fn run_scores(run: &RunFile, results: &Results) -> RunScores {
    RunScores {
        suite_version: run.suite.version.clone(),
        suite_sha256: run.suite.sha256.clone(),
        languages: results.languages.iter().map(|group| scores(group, run.n)).collect(),
        overall: scores(&results.overall, run.n),
    }
}

fn scores(group: &GroupResults, n: u32) -> GroupScores {
    let mut metrics = BTreeMap::new();
    let by_k = [
        ("pass", &group.pass_at),
        ("consistent_pass", &group.consistent_pass_at),
        ("pass_all", &group.pass_all_at),
        ("maj", &group.majority_at),
    ];
    for (name, values) in by_k {
        for (k, interval) in values.iter().filter(|(k, _)| is_shown(**k, n)) {
            metrics.extend(interval.map(|interval| (format!("{name}@{k}"), score(interval))));
        }
    }
    let single = [
        ("following", group.consistency),
        ("trace_score", group.trace_score),
        ("answer_score", group.answer_score),
    ];
    let single = single.into_iter().map(|(name, interval)| (name.to_owned(), interval));
    for (name, interval) in single.chain(group.metrics.clone()) {
        metrics.extend(interval.map(|interval| (name, score(interval))));
    }
    GroupScores {
        language: group.language.map(|language| language.code().to_owned()),
        problems: group.problems as u64,
        samples: group.samples as u64,
        metrics,
        outcomes: shares(group.outcomes),
        completion_tokens_mean: group.completion_tokens_mean,
        thinking_tokens_mean: group.thinking_tokens_mean,
        empty: group.empty,
    }
}

/// Powers of two and of ten, and n.
fn is_shown(k: u32, n: u32) -> bool {
    k == n || k.is_power_of_two() || 10_u32.pow(k.checked_ilog10().unwrap_or_default()) == k
}

fn score(interval: Interval) -> ScoreInterval {
    ScoreInterval { value: interval.mean, low: interval.low, high: interval.high }
}

fn shares(rates: OutcomeRates) -> OutcomeShares {
    let OutcomeRates { correct, wrong, truncated, no_box, undecided, error } = rates;
    OutcomeShares { correct, wrong, truncated, no_box, undecided, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_k_are_shown() {
        let shown: Vec<u32> = (1..=120).filter(|k| is_shown(*k, 120)).collect();
        assert_eq!(shown, [1, 2, 4, 8, 10, 16, 32, 64, 100, 120]);
    }
}
