//! Numbers over many samples: pass@k and its kin, and intervals whose unit is the problem.
//!
//! The samples of one problem are not independent, so an interval over samples covers far less than it claims.
//! Everything here first reduces a problem to one number and then asks how that number varies over problems.

mod beta;
mod bootstrap;
mod holm;
mod interval;
mod likelihood;
mod majority;
mod paired;
mod pareto;
mod permutation;
mod random;
mod student;

pub use holm::holm;
pub use interval::{Interval, IntervalMethod, interval, intervals, standard_error};
pub use likelihood::{Normalisation, ScoredOption, likeliest};
pub use majority::{EXACT_SAMPLES_MAX, Vote, majority, majority_at};
pub use paired::{PairedDifference, paired_difference};
pub use pareto::{Point, pareto_front};
pub use permutation::{Permutation, PermutationMethod, sign_flip};
pub use random::SplitMix;
pub use student::student_t_quantile;

/// The unbiased estimate of the chance that one of k samples is correct, from c correct among n.
///
/// 1 - prod over i in n-c+1..=n of (1 - k/i) (Chen et al. 2021, arXiv 2107.03374); `None` where n < k or k = 0.
pub fn pass_at_k(n: usize, c: usize, k: usize) -> Option<f64> {
    if k == 0 || n < k || c > n {
        return None;
    }
    if n - c < k {
        return Some(1.0);
    }
    let missed: f64 = (n - c + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product();
    Some(1.0 - missed)
}

/// The unbiased estimate of the chance that all of k samples are correct (pass^k), from c correct among n.
///
/// C(c, k) / C(n, k) (Yao et al. 2024, arXiv 2406.12045); `None` where n < k or k = 0.
pub fn pass_all_k(n: usize, c: usize, k: usize) -> Option<f64> {
    if k == 0 || n < k || c > n {
        return None;
    }
    Some((0..k).map(|i| c.saturating_sub(i) as f64 / (n - i) as f64).product())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(n: usize, c: usize, k: usize, expected: Option<f64>) {
        let found = pass_at_k(n, c, k);
        let close = match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() < 1e-12,
            (found, expected) => found == expected,
        };
        assert!(close, "pass@{k} of {c}/{n}: {found:?}, expected {expected:?}");
    }

    #[test]
    fn pass_at_k_by_hand() {
        check(1, 1, 1, Some(1.0));
        check(4, 1, 1, Some(0.25));
        // 1 - C(3,2)/C(4,2) = 1 - 3/6
        check(4, 1, 2, Some(0.5));
        // 1 - C(6,3)/C(10,3) = 1 - 20/120
        check(10, 4, 3, Some(1.0 - 20.0 / 120.0));
        check(10, 0, 3, Some(0.0));
        check(10, 8, 3, Some(1.0));
        check(2, 1, 3, None);
        check(2, 1, 0, None);
        // 1 - C(29,10)/C(32,10)
        check(32, 3, 10, Some(1.0 - (22.0 * 21.0 * 20.0) / (32.0 * 31.0 * 30.0)));
    }

    #[test]
    fn both_are_means_over_subsets() {
        for n in 1..=8_usize {
            for c in 0..=n {
                for k in 1..=n {
                    let subsets: Vec<u32> =
                        (0..1_u32 << n).filter(|s| s.count_ones() as usize == k).collect();
                    let correct = (1 << c) - 1;
                    let share = |holds: &dyn Fn(u32) -> bool| {
                        subsets.iter().filter(|subset| holds(**subset)).count() as f64 / subsets.len() as f64
                    };
                    check(n, c, k, Some(share(&|subset| subset & correct != 0)));
                    let (found, all) =
                        (pass_all_k(n, c, k).unwrap(), share(&|subset| subset & !correct == 0));
                    assert!((found - all).abs() < 1e-12, "pass^{k} of {c}/{n}: {found}, expected {all}");
                }
            }
        }
        assert_eq!((pass_all_k(2, 1, 3), pass_all_k(2, 1, 0)), (None, None));
    }
}
