//! 95 % intervals of a mean over problems.
//!
//! Below 50 problems Student's t; from 50 on the percentile bootstrap over problems, seeded. Where all problems
//! have the same value both have width zero, which claims certainty that few problems cannot give. In their place
//! stands the exact binomial interval (Clopper and Pearson 1934) with problems as trials and their sum as successes,
//! whole or not: no value in 0..=1 spreads more than a success or failure with the same mean, so it errs wide.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::beta::beta_quantile;
use super::bootstrap::{bootstrap_columns, uses_bootstrap};
use super::student::student_t_quantile;

/// A mean over problems with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub mean: f64,
    /// `None` where a single problem says nothing of the spread.
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub method: IntervalMethod,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalMethod {
    None,
    StudentT,
    Bootstrap,
    ExactBinomial,
}

pub(super) const TAIL: f64 = 0.025;
/// Means over languages of equal values differ by rounding.
const SAME: f64 = 1e-12;

/// The mean of one value in 0..=1 a problem, with its 95 % interval; `None` without values.
pub fn interval(values: &[f64], seed: u64) -> Option<Interval> {
    intervals(&[values.iter().copied().map(Some).collect()], seed).pop().flatten()
}

/// The same for many quantities of the same problems at once: a column a quantity, a value a problem, `None` where a
/// problem has none. Columns that lack the same problems share their resamples, which is what makes many cheap.
pub fn intervals(columns: &[Vec<Option<f64>>], seed: u64) -> Vec<Option<Interval>> {
    let mut found = vec![None; columns.len()];
    let mut resampled: BTreeMap<Vec<bool>, Vec<(usize, Vec<f64>)>> = BTreeMap::new();
    for (place, column) in columns.iter().enumerate() {
        let values: Vec<f64> = column.iter().copied().flatten().collect();
        match without_resampling(&values) {
            Some(interval) => found[place] = Some(interval),
            None if values.is_empty() => {}
            None => {
                let present = column.iter().map(Option::is_some).collect();
                resampled.entry(present).or_default().push((place, values));
            }
        }
    }
    for group in resampled.into_values() {
        let (places, columns): (Vec<usize>, Vec<Vec<f64>>) = group.into_iter().unzip();
        for ((place, values), bounds) in
            places.into_iter().zip(&columns).zip(bootstrap_columns(&columns, seed))
        {
            found[place] = Some(clamped(mean_and_variance(values).0, bounds, IntervalMethod::Bootstrap));
        }
    }
    found
}

/// The interval of values for which a formula stands; `None` without values, and where the bootstrap is due.
fn without_resampling(values: &[f64]) -> Option<Interval> {
    let first = *values.first()?;
    let n = values.len() as f64;
    let (mean, variance) = mean_and_variance(values);
    if values.len() == 1 {
        return Some(Interval { mean, low: None, high: None, method: IntervalMethod::None });
    }
    if values.iter().all(|value| (value - first).abs() < SAME) {
        return Some(clamped(mean, exact_binomial(mean, n), IntervalMethod::ExactBinomial));
    }
    let by_formula = !uses_bootstrap(values.len());
    by_formula.then(|| clamped(mean, t_interval(mean, variance, n), IntervalMethod::StudentT))
}

fn clamped(mean: f64, (low, high): (f64, f64), method: IntervalMethod) -> Interval {
    Interval { mean, low: Some(low.clamp(0.0, 1.0)), high: Some(high.clamp(0.0, 1.0)), method }
}

/// The mean, and the unbiased variance; 0 where a single value has none.
pub(super) fn mean_and_variance(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (mean, squares / (n - 1.0).max(1.0))
}

/// The standard error of the mean over problems; `None` for less than two.
pub fn standard_error(values: &[f64]) -> Option<f64> {
    (values.len() > 1).then(|| (mean_and_variance(values).1 / values.len() as f64).sqrt())
}

/// Student's interval of a mean of n values.
pub(super) fn t_interval(mean: f64, variance: f64, n: f64) -> (f64, f64) {
    let half = student_t_quantile(1.0 - TAIL, n - 1.0) * (variance / n).sqrt();
    (mean - half, mean + half)
}

/// Clopper-Pearson for `mean * n` successes, which need not be whole, in n trials.
fn exact_binomial(mean: f64, n: f64) -> (f64, f64) {
    let (successes, failures) = (mean * n, (1.0 - mean) * n);
    let low = if mean < SAME { 0.0 } else { beta_quantile(TAIL, successes, failures + 1.0) };
    let high = if 1.0 - mean < SAME { 1.0 } else { beta_quantile(1.0 - TAIL, successes + 1.0, failures) };
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::statistics::SplitMix;

    #[test]
    fn the_t_interval_by_hand() {
        // mean 0.5, s^2 = 5/60, half width t(0.975, 3) * sqrt(s^2 / 4) = 3.18245 * 0.204124 (values 1/8..7/8)
        let found = interval(&[0.125, 0.375, 0.625, 0.875], 0).unwrap();
        let variance: f64 = (2.0 * 0.375_f64.powi(2) + 2.0 * 0.125_f64.powi(2)) / 3.0;
        let half = 3.182_446 * (variance / 4.0).sqrt();
        assert!((found.mean - 0.5).abs() < 1e-12);
        assert!((found.low.unwrap() - (0.5 - half).max(0.0)).abs() < 1e-5, "{found:?} {half}");
        assert!((found.high.unwrap() - (0.5 + half).min(1.0)).abs() < 1e-5);
        assert_eq!(found.method, IntervalMethod::StudentT);
    }

    #[test]
    fn edge_cases() {
        assert_eq!(interval(&[], 0), None);
        assert_eq!(interval(&[0.3], 0).unwrap().method, IntervalMethod::None);
        let none = interval(&[0.0; 30], 0).unwrap();
        assert!((none.high.unwrap() - 0.1157).abs() < 1e-4 && none.low == Some(0.0), "{none:?}");
        let all = interval(&[1.0; 100], 0).unwrap();
        assert!((all.low.unwrap() - 0.9638).abs() < 1e-4 && all.high == Some(1.0), "{all:?}");
    }

    #[test]
    fn problems_that_agree_leave_doubt() {
        // Against quantiles of Beta(x, n - x + 1) and Beta(x + 1, n - x) from mpmath's betainc.
        let check = |values: &[f64], low: f64, high: f64| {
            let found = interval(values, 0).unwrap();
            let near = |bound: Option<f64>, expected: f64| (bound.unwrap() - expected).abs() < 1e-4;
            assert!(near(found.low, low) && near(found.high, high), "{found:?}");
            assert_eq!(found.method, IntervalMethod::ExactBinomial);
        };
        check(&[0.5; 30], 0.312_970, 0.687_030);
        check(&[0.25; 2], 0.000_217, 0.939_170);
        check(&[0.125; 198], 0.082_358, 0.179_287);
        let rounded: Vec<f64> = (0..30).map(|i| if i % 2 == 0 { 0.1 + 0.2 } else { 0.3 }).collect();
        assert!(interval(&rounded, 0).unwrap().method == IntervalMethod::ExactBinomial, "0.1 + 0.2 is 0.3");
    }

    #[test]
    fn the_bootstrap_is_seeded_and_near_the_t_interval() {
        let values: Vec<f64> = (0..60).map(|i| f64::from(i % 7) / 6.0).collect();
        assert_eq!(interval(&values, 3), interval(&values, 3));
        let boot = interval(&values, 3).unwrap();
        let t = interval(&values[..49], 3).unwrap();
        assert_eq!((boot.method, t.method), (IntervalMethod::Bootstrap, IntervalMethod::StudentT));
        let width = |interval: Interval| interval.high.unwrap() - interval.low.unwrap();
        assert!((width(boot) / width(t) - (49.0_f64 / 60.0).sqrt()).abs() < 0.12);
    }

    #[test]
    fn columns_are_as_each_alone() {
        let column = |shift: usize, gaps: usize| -> Vec<Option<f64>> {
            (0..90).map(|i| (i % 11 != gaps).then_some(((i + shift) % 7) as f64 / 6.0)).collect()
        };
        let mut columns: Vec<_> = (0..600).map(|shift| column(shift, 20)).collect();
        columns.extend([column(2, 3), column(5, 3), column(1, 4), vec![Some(0.5); 90], vec![None; 90]]);
        columns.push((0..90).map(|i| (i < 30).then_some(f64::from(i) / 30.0)).collect());
        let found = intervals(&columns, 3);
        for (column, found) in columns.iter().zip(&found) {
            let values: Vec<f64> = column.iter().copied().flatten().collect();
            assert_eq!(*found, interval(&values, 3), "{values:?}");
        }
        let count = |method| found.iter().flatten().filter(|one| one.method == method).count();
        assert_eq!(count(IntervalMethod::Bootstrap), 603);
        assert_eq!((count(IntervalMethod::StudentT), count(IntervalMethod::ExactBinomial)), (1, 1));
        assert_eq!(found[604], None);
    }

    /// Problems of differing difficulty, 8 samples each; the truth is the mean difficulty, 0.4.
    fn coverage(problems: usize, runs: u64) -> f64 {
        let covered = (0..runs).filter(|run| {
            let mut random = SplitMix::new(run * 7919 + problems as u64);
            let mut uniform = || random.below(1 << 30) as f64 / f64::from(1 << 30);
            let values: Vec<f64> = (0..problems)
                .map(|_| {
                    let difficulty = uniform() * 0.8;
                    (0..8).filter(|_| uniform() < difficulty).count() as f64 / 8.0
                })
                .collect();
            let found = interval(&values, *run).unwrap();
            (found.low.unwrap()..=found.high.unwrap()).contains(&0.4)
        });
        covered.count() as f64 / runs as f64
    }

    #[test]
    fn intervals_cover_what_they_claim() {
        for problems in [30, 198, 250] {
            let covered = coverage(problems, 800);
            assert!((0.90..=0.97).contains(&covered), "{problems} problems: {covered}");
        }
    }
}
