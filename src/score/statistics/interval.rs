//! 95 % intervals of a mean over problems.
//!
//! From 150 problems on the percentile bootstrap over problems, seeded. Below, few problems do not show how skewed their
//! values are: where one in ten is ever solved, Student's t and the bootstrap over 30 cover 83 to 88 % (the shares in
//! which these intervals cover are in the tests below). So two problems are imagined beside them, one wholly right and one
//! wholly wrong, and the interval is that of a beta distribution with the mean and the variance of the Bayesian
//! bootstrap (Rubin 1981) over them all. Of values that are 0 or 1 it is the posterior under a flat prior, which Bowyer,
//! Aitchison and Ivanova (2025, arXiv 2503.01747) recommend for evaluations of so few problems. It errs wide where all
//! problems are equally hard, and it holds the mean.
//!
//! Where all problems have the same value the exact binomial interval (Clopper and Pearson 1934) is taken, with problems as
//! trials and their sum as successes, whole or not: no value in 0..=1 spreads more than a success or failure with the same
//! mean, so it errs wide.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::beta::beta_quantile;
use super::bootstrap::bootstrap_columns;
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
    /// Of differences.
    StudentT,
    Beta,
    Bootstrap,
    ExactBinomial,
}

pub(super) const TAIL: f64 = 0.025;
/// From this many problems on their values show how they are spread.
const BOOTSTRAP_FROM: usize = 150;
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
    let (mean, _) = mean_and_variance(values);
    if values.len() == 1 {
        return Some(Interval { mean, low: None, high: None, method: IntervalMethod::None });
    }
    if values.iter().all(|value| (value - first).abs() < SAME) {
        return Some(clamped(mean, exact_binomial(mean, values.len() as f64), IntervalMethod::ExactBinomial));
    }
    (values.len() < BOOTSTRAP_FROM).then(|| clamped(mean, beta_interval(values), IntervalMethod::Beta))
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

/// Quantiles of the beta distribution with the moments of the Bayesian bootstrap over the values and 0 and 1.
fn beta_interval(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64 + 2.0;
    let mean = (values.iter().sum::<f64>() + 1.0) / n;
    let square = (values.iter().map(|value| value * value).sum::<f64>() + 1.0) / n;
    // Weights of a flat Dirichlet distribution: the variance of the values over n + 1. It is not zero, with 0 and 1 there.
    let variance = (square - mean * mean) / (n + 1.0);
    let size = mean * (1.0 - mean) / variance - 1.0;
    let (a, b) = (mean * size, (1.0 - mean) * size);
    let own = values.iter().sum::<f64>() / values.len() as f64;
    // The imagined problems draw to the middle.
    (beta_quantile(TAIL, a, b).min(own), beta_quantile(1.0 - TAIL, a, b).max(own))
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
    fn few_problems_by_hand() {
        let check = |values: &[f64], low: f64, high: f64| {
            let found = interval(values, 0).unwrap();
            let near = |bound: Option<f64>, expected: f64| (bound.unwrap() - expected).abs() < 1e-5;
            assert!(near(found.low, low) && near(found.high, high), "{found:?}");
            assert_eq!(found.method, IntervalMethod::Beta);
        };
        // Of 0 and 1: Beta(1 + 1, 1 + 1), whose distribution is 3x^2 - 2x^3; and Beta(3, 1), whose is x^3, mirrored.
        check(&[0.0, 1.0], 0.094_299, 0.905_701);
        // Mean 0.5, variance (0.375^2 + 0.125^2 + 0.5^2) / 3 / 7 = 0.019345, so that a + b = 0.25 / 0.019345 - 1.
        let (a, found) = (0.5 * (0.25 / (0.40625 / 21.0) - 1.0), interval(&[0.125, 0.375, 0.625, 0.875], 0));
        check(&[0.125, 0.375, 0.625, 0.875], beta_quantile(TAIL, a, a), beta_quantile(1.0 - TAIL, a, a));
        assert_eq!(found.unwrap().mean, 0.5);
    }

    #[test]
    fn an_interval_holds_its_mean() {
        let mut values = vec![0.0; 30];
        values[0] = 1.0 / 128.0;
        let low = interval(&values, 0).unwrap();
        assert!(low.low.unwrap() <= low.mean && low.high.unwrap() < 0.2, "{low:?}");
        let mirrored: Vec<f64> = values.iter().map(|value| 1.0 - value).collect();
        let high = interval(&mirrored, 0).unwrap();
        assert!((high.low.unwrap() - (1.0 - low.high.unwrap())).abs() < 1e-9, "{low:?} {high:?}");
        assert!((high.high.unwrap() - (1.0 - low.low.unwrap())).abs() < 1e-9, "{low:?} {high:?}");
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
    fn the_bootstrap_is_seeded_and_near_the_formula() {
        let values: Vec<f64> = (0..154).map(|i| f64::from(i % 7) / 6.0).collect();
        assert_eq!(interval(&values, 3), interval(&values, 3));
        let boot = interval(&values, 3).unwrap();
        let beta = interval(&values[..147], 3).unwrap();
        assert_eq!((boot.method, beta.method), (IntervalMethod::Bootstrap, IntervalMethod::Beta));
        let width = |interval: Interval| interval.high.unwrap() - interval.low.unwrap();
        assert!((width(boot) / width(beta) - (147.0_f64 / 154.0).sqrt()).abs() < 0.08);
    }

    #[test]
    fn columns_are_as_each_alone() {
        let column = |shift: usize, gaps: usize| -> Vec<Option<f64>> {
            (0..180).map(|i| (i % 11 != gaps).then_some(((i + shift) % 7) as f64 / 6.0)).collect()
        };
        let mut columns: Vec<_> = (0..600).map(|shift| column(shift, 20)).collect();
        columns.extend([column(2, 3), column(5, 3), column(1, 4), vec![Some(0.5); 180], vec![None; 180]]);
        columns.push((0..180).map(|i| (i < 30).then_some(f64::from(i) / 30.0)).collect());
        let found = intervals(&columns, 3);
        for (column, found) in columns.iter().zip(&found) {
            let values: Vec<f64> = column.iter().copied().flatten().collect();
            assert_eq!(*found, interval(&values, 3), "{values:?}");
        }
        let count = |method| found.iter().flatten().filter(|one| one.method == method).count();
        assert_eq!(count(IntervalMethod::Bootstrap), 603);
        assert_eq!((count(IntervalMethod::Beta), count(IntervalMethod::ExactBinomial)), (1, 1));
        assert_eq!(found[604], None);
    }

    /// How hard problems are: the chance that a sample of one is correct.
    #[derive(Debug, Clone, Copy)]
    enum Difficulty {
        /// Evenly from 0 to this.
        Uniform(f64),
        /// All alike.
        Same(f64),
        /// Most are never solved, few always.
        Beta(f64, f64),
    }

    impl Difficulty {
        fn mean(self) -> f64 {
            match self {
                Self::Uniform(most) => most / 2.0,
                Self::Same(chance) => chance,
                Self::Beta(a, b) => a / (a + b),
            }
        }

        fn draw(self, uniform: &mut impl FnMut() -> f64) -> f64 {
            match self {
                Self::Uniform(most) => most * uniform(),
                Self::Same(chance) => chance,
                // Joehnk's way, which needs both parameters small.
                Self::Beta(a, b) => loop {
                    let (x, y) = (uniform().powf(1.0 / a), uniform().powf(1.0 / b));
                    if x + y > 0.0 && x + y <= 1.0 {
                        break x / (x + y);
                    }
                },
            }
        }
    }

    /// How often the interval of so many problems holds the mean difficulty.
    fn coverage(difficulty: Difficulty, samples: usize, problems: usize, runs: u64) -> f64 {
        let covered = (0..runs).filter(|run| {
            let mut random = SplitMix::new(run * 7919 + problems as u64);
            let mut uniform = || (random.below(1 << 30) as f64 + 0.5) / f64::from(1 << 30);
            let values: Vec<f64> = (0..problems)
                .map(|_| {
                    let chance = difficulty.draw(&mut uniform);
                    (0..samples).filter(|_| uniform() < chance).count() as f64 / samples as f64
                })
                .collect();
            let found = interval(&values, *run).unwrap();
            (found.low.unwrap()..=found.high.unwrap()).contains(&difficulty.mean())
        });
        covered.count() as f64 / runs as f64
    }

    #[test]
    fn intervals_cover_what_they_claim() {
        use Difficulty::{Beta, Same, Uniform};
        let check = |difficulty, samples| {
            for problems in [30, 198, 250] {
                // The bootstrap takes its time. The standard error of a share is 0.005, and 0.013 where it is used.
                let runs = if problems < BOOTSTRAP_FROM { 2_000 } else { 300 };
                let covered = coverage(difficulty, samples, problems, runs);
                assert!((0.90..=0.97).contains(&covered), "{difficulty:?}, {problems} problems: {covered}");
            }
        };
        check(Uniform(0.8), 8);
        check(Uniform(1.0), 32);
        for chance in [0.105, 0.12, 0.5] {
            check(Same(chance), 1);
        }
        check(Beta(0.1, 1.5), 32);
        check(Beta(0.05, 0.95), 32);
    }
}
