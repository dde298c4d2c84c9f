//! The scorers' own figures, averaged over problems like all else: docs/scorers.md says what each is.
//!
//! Counts become shares: tests passed of those there are, and instructions followed of all (IFEval's accuracy at
//! instruction level, whose unit is the instruction; its interval is over problems all the same, by linearisation).

use std::collections::{BTreeMap, BTreeSet};

use super::{Results, Scored};
use crate::score::statistics::{Interval, interval};

/// Counts, which mean nothing as averages: each with the count that it is a part of, and the name of the share.
const SHARES: [(&str, &str, &str); 3] = [
    ("instructions_strict", "instructions", "instruction_strict"),
    ("instructions_loose", "instructions", "instruction_loose"),
    ("tests_passed", "tests", "tests_passed"),
];

/// By name; those that no sample has are absent. `scored` is sorted by problem, then language.
pub(super) fn metrics(scored: &[&Scored], seed: u64) -> BTreeMap<String, Option<Interval>> {
    let names: BTreeSet<&String> = scored.iter().flat_map(|sample| sample.metrics.keys()).collect();
    let is_count = |name: &str| SHARES.iter().any(|(part, whole, _)| name == *part || name == *whole);
    let mut found = BTreeMap::new();
    for name in names.iter().filter(|name| !is_count(name)) {
        let values = by_problem(scored, name);
        let interval =
            if name.starts_with("rating") { of_ratings(&values, seed) } else { interval(&values, seed) };
        found.insert((*name).clone(), interval);
    }
    for (part, whole, name) in SHARES {
        if names.iter().any(|known| *known == part) {
            let (parts, wholes) = (by_problem(scored, part), by_problem(scored, whole));
            found.insert(name.to_owned(), interval(&share(&parts, &wholes), seed));
        }
    }
    found
}

/// A line a metric, a column a language and one over all; ratings as they are, the rest in percent.
pub(super) fn rows(results: &Results) -> Vec<Vec<String>> {
    let all = (results.languages.len() > 1).then_some(&results.overall);
    let groups: Vec<_> = results.languages.iter().chain(all).collect();
    let name =
        |group: &&super::GroupResults| group.language.map_or("all", |language| language.code()).to_owned();
    let mut rows = vec![std::iter::once("metric".to_owned()).chain(groups.iter().map(name)).collect()];
    for metric in results.overall.metrics.keys() {
        let scale = if metric.starts_with("rating") { 1.0 } else { 100.0 };
        let cell = |group: &&super::GroupResults| cell(group.metrics.get(metric).copied().flatten(), scale);
        rows.push(std::iter::once(metric.clone()).chain(groups.iter().map(cell)).collect());
    }
    if rows.len() > 1 { rows } else { Vec::new() }
}

fn cell(interval: Option<Interval>, scale: f64) -> String {
    let Some(Interval { mean, low, high, .. }) = interval else { return "-".to_owned() };
    match low.zip(high) {
        Some((low, high)) => format!("{:.1} [{:.1}, {:.1}]", mean * scale, low * scale, high * scale),
        None => format!("{:.1}", mean * scale),
    }
}

/// A problem's mean over the languages that have it, each the mean of its samples; problems without any are left out.
fn by_problem(scored: &[&Scored], name: &str) -> Vec<f64> {
    let of_cell = |cell: &[&Scored]| mean(cell.iter().filter_map(|sample| sample.metrics.get(name)).copied());
    let of_problem =
        |problem: &[&Scored]| mean(problem.chunk_by(|a, b| a.language == b.language).filter_map(of_cell));
    scored.chunk_by(|a, b| a.problem == b.problem).filter_map(of_problem).collect()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// Grades lie from 1 to 10, and intervals are of values from 0 to 1.
fn of_ratings(values: &[f64], seed: u64) -> Option<Interval> {
    let scaled: Vec<f64> = values.iter().map(|rating| (rating - 1.0) / 9.0).collect();
    let back = |value: f64| 1.0 + 9.0 * value;
    interval(&scaled, seed).map(|found| Interval {
        mean: back(found.mean),
        low: found.low.map(back),
        high: found.high.map(back),
        ..found
    })
}

/// Values whose mean is sum(parts) / sum(wholes), and whose spread is that ratio's (the delta method).
fn share(parts: &[f64], wholes: &[f64]) -> Vec<f64> {
    let (sum, total): (f64, f64) = (parts.iter().sum(), wholes.iter().sum());
    if total <= 0.0 || parts.len() != wholes.len() {
        return Vec::new();
    }
    let (ratio, mean) = (sum / total, total / wholes.len() as f64);
    parts.iter().zip(wholes).map(|(part, whole)| ratio + (part - ratio * whole) / mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::record::Outcome;
    use crate::language::Language;

    fn sample(problem: &str, language: Language, metrics: &[(&str, f64)]) -> Scored {
        Scored {
            problem: problem.to_owned(),
            language,
            sample: 0,
            outcome: Outcome::Wrong,
            answer: None,
            following: None,
            trace: None,
            answer_language: None,
            undecidable: false,
            tokens: None,
            thinking_tokens: None,
            is_empty: false,
            metrics: metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        }
    }

    #[track_caller]
    fn check(samples: &[Scored], name: &str, expected: Option<f64>) {
        let scored: Vec<&Scored> = samples.iter().collect();
        let found = metrics(&scored, 0).get(name).map(|interval| interval.unwrap().mean);
        assert_eq!(found.is_some(), expected.is_some(), "{name}: {found:?}");
        assert!(
            (found.unwrap_or_default() - expected.unwrap_or_default()).abs() < 1e-12,
            "{name}: {found:?}"
        );
    }

    #[test]
    fn means_by_hand() {
        let samples = [
            sample("a", Language::De, &[("language_accuracy", 1.0), ("rating", 10.0)]),
            sample("a", Language::En, &[("language_accuracy", 0.0), ("rating", 4.0)]),
            sample("b", Language::En, &[("language_accuracy", 1.0)]),
            sample("c", Language::En, &[]),
        ];
        // A problem is one cluster: (1/2 + 1) / 2.
        check(&samples, "language_accuracy", Some(0.75));
        check(&samples, "rating", Some(7.0));
        check(&samples, "think_accuracy", None);
    }

    #[test]
    fn shares_weigh_each_instruction_alike() {
        let of = |strict: f64, all: f64| [("instructions_strict", strict), ("instructions", all)];
        let samples = [
            sample("a", Language::En, &of(1.0, 1.0)),
            sample("b", Language::En, &of(1.0, 3.0)),
            sample("c", Language::En, &of(0.0, 2.0)),
        ];
        check(&samples, "instruction_strict", Some(2.0 / 6.0));
        check(&samples, "instructions", None);
        check(&samples, "instructions_strict", None);
    }

    #[test]
    fn intervals_of_ratings_stay_between_one_and_ten() {
        let samples = ["a", "b", "c"].map(|problem| sample(problem, Language::En, &[("rating", 10.0)]));
        let scored: Vec<&Scored> = samples.iter().collect();
        let found = metrics(&scored, 0)["rating"].unwrap();
        assert!((found.mean - 10.0).abs() < 1e-12 && found.high.unwrap() <= 10.0 + 1e-12, "{found:?}");
        // Clopper-Pearson for 3 of 3: low 0.025^(1/3).
        assert!((found.low.unwrap() - (1.0 + 9.0 * 0.025_f64.powf(1.0 / 3.0))).abs() < 1e-6, "{found:?}");
    }
}
