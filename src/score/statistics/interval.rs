//! 95 % intervals of a mean over problems.
//!
//! Below 50 problems Student's t; from 50 on the percentile bootstrap over problems, seeded. Where all problems
//! have the same value both have width zero, which claims certainty that few problems cannot give. In their place
//! stands the exact binomial interval (Clopper and Pearson 1934) with problems as trials and their sum as successes,
//! whole or not: no value in 0..=1 spreads more than a success or failure with the same mean, so it errs wide.

use serde::{Deserialize, Serialize};

use super::beta::beta_quantile;
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

const TAIL: f64 = 0.025;
/// From this many problems on the bootstrap is used.
const BOOTSTRAP_FROM: usize = 50;
const RESAMPLES: usize = 2_000;
/// Means over languages of equal values differ by rounding.
const SAME: f64 = 1e-12;

/// The mean of one value in 0..=1 a problem, with its 95 % interval; `None` without values.
pub fn interval(values: &[f64], seed: u64) -> Option<Interval> {
    if values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let with = |low: f64, high: f64, method| {
        let (low, high) = (Some(low.clamp(0.0, 1.0)), Some(high.clamp(0.0, 1.0)));
        Some(Interval { mean, low, high, method })
    };
    if values.len() == 1 {
        return Some(Interval { mean, low: None, high: None, method: IntervalMethod::None });
    }
    if values.iter().all(|value| (value - values[0]).abs() < SAME) {
        let (low, high) = exact_binomial(mean, n);
        return with(low, high, IntervalMethod::ExactBinomial);
    }
    if values.len() >= BOOTSTRAP_FROM {
        let (low, high) = bootstrap(values, seed);
        return with(low, high, IntervalMethod::Bootstrap);
    }
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = student_t_quantile(1.0 - TAIL, n - 1.0) * (variance / n).sqrt();
    with(mean - half, mean + half, IntervalMethod::StudentT)
}

/// Clopper-Pearson for `mean * n` successes, which need not be whole, in n trials.
fn exact_binomial(mean: f64, n: f64) -> (f64, f64) {
    let (successes, failures) = (mean * n, (1.0 - mean) * n);
    let low = if mean < SAME { 0.0 } else { beta_quantile(TAIL, successes, failures + 1.0) };
    let high = if 1.0 - mean < SAME { 1.0 } else { beta_quantile(1.0 - TAIL, successes + 1.0, failures) };
    (low, high)
}

/// Percentile bootstrap of the mean.
fn bootstrap(values: &[f64], seed: u64) -> (f64, f64) {
    let mut random = SplitMix(seed);
    let n = values.len();
    let mut means: Vec<f64> =
        (0..RESAMPLES).map(|_| (0..n).map(|_| values[random.below(n)]).sum::<f64>() / n as f64).collect();
    means.sort_by(f64::total_cmp);
    let at = |p: f64| means[(p * (RESAMPLES - 1) as f64).round() as usize];
    (at(TAIL), at(1.0 - TAIL))
}

/// SplitMix64 (Steele et al. 2014): enough for resampling, and the same on every machine.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// Problems of differing difficulty, 8 samples each; the truth is the mean difficulty, 0.4.
    fn coverage(problems: usize, runs: u64) -> f64 {
        let covered = (0..runs).filter(|run| {
            let mut random = SplitMix(run * 7919 + problems as u64);
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
