//! Numbers over many samples: pass@k and its kin, and intervals whose unit is the problem.
//!
//! The samples of one problem are not independent, so an interval over samples covers far less than it claims.
//! Everything here first reduces a problem to one number and then asks how that number varies over problems.

mod beta;
mod interval;
mod student;

use std::collections::HashMap;

pub use interval::{Interval, IntervalMethod, interval};
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

/// The chance that a majority vote over all samples is right: 1 or 0, or the share of right answers among those
/// that tie for the most votes. Samples without an answer do not vote; `None` if nobody does.
pub fn majority(votes: &[Vote<'_>]) -> Option<f64> {
    let mut counts: HashMap<&str, (usize, bool)> = HashMap::new();
    for vote in votes {
        let entry = counts.entry(vote.answer).or_insert((0, false));
        entry.0 += 1;
        entry.1 |= vote.correct;
    }
    let most = counts.values().map(|(count, _)| *count).max()?;
    let winners = counts.values().filter(|(count, _)| *count == most);
    let (right, all) =
        winners.fold((0_u32, 0_u32), |(right, all), (_, correct)| (right + u32::from(*correct), all + 1));
    Some(f64::from(right) / f64::from(all))
}

/// One sample's answer in canonical form, and whether it was judged correct.
#[derive(Debug, Clone, Copy)]
pub struct Vote<'a> {
    pub answer: &'a str,
    pub correct: bool,
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
    fn pass_at_k_is_the_mean_over_subsets() {
        for n in 1..=8_usize {
            for c in 0..=n {
                for k in 1..=n {
                    let subsets: Vec<u32> =
                        (0..1_u32 << n).filter(|s| s.count_ones() as usize == k).collect();
                    let hits = subsets.iter().filter(|s| *s & ((1 << c) - 1) != 0).count();
                    check(n, c, k, Some(hits as f64 / subsets.len() as f64));
                }
            }
        }
    }

    #[test]
    fn majority_votes() {
        let vote = |answer| Vote { answer, correct: answer == "42" };
        let of = |answers: &[&'static str]| majority(&answers.iter().copied().map(vote).collect::<Vec<_>>());
        assert_eq!(of(&["42", "42", "7"]), Some(1.0));
        assert_eq!(of(&["42", "7", "7"]), Some(0.0));
        assert_eq!(of(&["42", "7"]), Some(0.5));
        assert_eq!(of(&[]), None);
    }
}
