//! Two models on the same problems: the mean difference, its standard error and interval, and whether it is chance.
//!
//! A problem that is hard for one model is hard for the other, so that the difference a problem varies much less than
//! either model's score; an unpaired comparison throws that away. Its standard error is given too, to be compared.

use serde::{Deserialize, Serialize};

use super::bootstrap::bootstrap;
use super::interval::{Interval, IntervalMethod, TAIL, mean_and_variance, t_interval};
use super::permutation::{Permutation, sign_flip};

/// B minus A over the problems that both have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    pub problems: usize,
    pub a: f64,
    pub b: f64,
    /// B minus A, with its 95 % interval over problems.
    pub difference: Interval,
    /// Of the paired difference; `None` for a single problem.
    pub standard_error: Option<f64>,
    /// What it would be if the problems of A and B were different ones.
    pub unpaired_standard_error: Option<f64>,
    /// Two-sided, by flipping the signs of the problems' differences.
    pub permutation: Permutation,
}

/// From this many problems on the bootstrap is used; differences are less skewed than scores.
const BOOTSTRAP_FROM: usize = 50;
/// Values nearer than this are equal.
const SAME: f64 = 1e-12;

/// Compare values in 0..=1, one a problem: `(a, b)`. `None` without problems.
pub fn paired_difference(pairs: &[(f64, f64)], seed: u64) -> Option<PairedDifference> {
    let side = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).collect::<Vec<f64>>();
    let (first, second, differences) =
        (side(|pair| pair.0), side(|pair| pair.1), side(|pair| pair.1 - pair.0));
    let permutation = sign_flip(&differences, seed)?;
    let n = pairs.len() as f64;
    let (a, a_variance) = mean_and_variance(&first);
    let (b, b_variance) = mean_and_variance(&second);
    let (_, variance) = mean_and_variance(&differences);
    let several = |value: f64| (pairs.len() > 1).then_some(value);
    Some(PairedDifference {
        problems: pairs.len(),
        a,
        b,
        difference: difference_interval(&differences, seed),
        standard_error: several((variance / n).sqrt()),
        unpaired_standard_error: several(((a_variance + b_variance) / n).sqrt()),
        permutation,
    })
}

/// The 95 % interval of the mean of differences in -1..=1, of which there is at least one.
fn difference_interval(differences: &[f64], seed: u64) -> Interval {
    let n = differences.len() as f64;
    let (mean, variance) = mean_and_variance(differences);
    let with = |low: f64, high: f64, method| Interval {
        mean,
        low: Some(low.max(-1.0)),
        high: Some(high.min(1.0)),
        method,
    };
    if differences.len() == 1 {
        return Interval { mean, low: None, high: None, method: IntervalMethod::None };
    }
    if differences.iter().all(|one| (one - differences[0]).abs() < SAME) {
        // Where n problems agree, at most this share of all problems does otherwise (Clopper and Pearson's bound for
        // none of n), by at most the whole way to -1 or 1.
        let others = 1.0 - TAIL.powf(1.0 / n);
        let kept = mean * (1.0 - others);
        return with(kept - others, kept + others, IntervalMethod::ExactBinomial);
    }
    if differences.len() >= BOOTSTRAP_FROM {
        let (low, high) = bootstrap(differences, seed);
        return with(low, high, IntervalMethod::Bootstrap);
    }
    let (low, high) = t_interval(mean, variance, n);
    with(low, high, IntervalMethod::StudentT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::statistics::SplitMix;

    #[track_caller]
    fn near(found: Option<f64>, expected: f64) {
        let found = found.expect("a value");
        assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
    }

    #[test]
    fn by_hand() {
        // Differences 0.5, 0, 0.25, 0.25: mean 0.25, variance 0.125 / 3, t(0.975, 3) = 3.18245.
        let found = paired_difference(&[(0.0, 0.5), (1.0, 1.0), (0.5, 0.75), (0.25, 0.5)], 0).unwrap();
        let error = (0.125_f64 / 3.0 / 4.0).sqrt();
        near(Some(found.difference.mean), 0.25);
        near(found.standard_error, error);
        near(found.difference.low, 0.25 - 3.182_446 * error);
        near(found.difference.high, 0.25 + 3.182_446 * error);
        // A: 0, 1, 0.5, 0.25 about 0.4375; B: 0.5, 1, 0.75, 0.5 about 0.6875.
        near(found.unpaired_standard_error, ((0.546_875 + 0.171_875) / 3.0 / 4.0_f64).sqrt());
        // Three differences that are not zero, all positive: 2 of 8 signs.
        near(Some(found.permutation.p), 0.25);
        assert_eq!((found.problems, found.a, found.b), (4, 0.4375, 0.6875));
        assert_eq!(paired_difference(&[], 0), None);
    }

    #[test]
    fn problems_that_agree_leave_doubt() {
        let check = |pairs: &[(f64, f64)], low: f64, high: f64| {
            let found = paired_difference(pairs, 0).unwrap().difference;
            near(found.low, low);
            near(found.high, high);
            assert_eq!(found.method, IntervalMethod::ExactBinomial);
        };
        // 1 - 0.025^(1/30) = 0.115703
        check(&[(0.5, 0.5); 30], -0.115_703, 0.115_703);
        check(&[(0.0, 1.0); 30], 1.0 - 2.0 * 0.115_703, 1.0);
        let one = paired_difference(&[(0.0, 1.0)], 0).unwrap();
        assert_eq!((one.difference.low, one.standard_error, one.permutation.p), (None, None, 1.0));
    }

    /// Two models on problems of differing difficulty, 8 samples each; B is better by 0.1 on every problem.
    fn simulated(problems: usize, seed: u64) -> Vec<(f64, f64)> {
        let mut random = SplitMix::new(seed);
        let mut uniform = || random.below(1 << 30) as f64 / f64::from(1 << 30);
        let pair = |_| {
            let ease = uniform() * 0.9;
            let mut score = |chance: f64| (0..8).filter(|_| uniform() < chance).count() as f64 / 8.0;
            (score(ease), score(ease + 0.1))
        };
        (0..problems).map(pair).collect()
    }

    #[test]
    fn intervals_of_differences_cover_what_they_claim() {
        for problems in [30, 198, 250] {
            let runs = 400;
            let covered = (0..runs).filter(|run| {
                let pairs = simulated(problems, run * 7919 + 1);
                let differences: Vec<f64> = pairs.iter().map(|(a, b)| b - a).collect();
                let found = difference_interval(&differences, *run);
                (found.low.unwrap()..=found.high.unwrap()).contains(&0.1)
            });
            let covered = covered.count() as f64 / runs as f64;
            assert!((0.90..=0.97).contains(&covered), "{problems} problems: {covered}");
        }
    }

    #[test]
    fn pairing_shrinks_the_standard_error() {
        // A problem's ease varies with 0.9 / sqrt(12) = 0.26, the noise of 8 samples with 0.18 a model at most.
        let found = paired_difference(&simulated(1_000, 4), 0).unwrap();
        let ratio = found.unpaired_standard_error.unwrap() / found.standard_error.unwrap();
        assert!(ratio > 1.8, "{ratio}");
    }
}
