//! The sign-flip permutation test of paired differences (Fisher 1935; Dwass 1957 for the drawn one).
//!
//! If two models are alike, each problem's difference is as likely with the other sign. The p-value is the share of all
//! assignments of signs whose mean is as far from zero as the one seen: of all of them while they are few, of
//! seeded draws otherwise, where (b + 1) / (m + 1) keeps the test valid (Phipson and Smyth 2010).

use serde::{Deserialize, Serialize};

use super::random::SplitMix;

/// The two-sided p-value, and how it was found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Permutation {
    pub p: f64,
    pub method: PermutationMethod,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PermutationMethod {
    /// Every assignment of signs.
    Exact,
    /// Seeded draws.
    MonteCarlo,
}

/// Up to so many differences that are not zero, all 2^m signs are counted.
pub const EXACT_MAX: usize = 18;
/// Draws above that: p is known to 0.0015 where it is 0.05, and is at least 1 / 20,000.
const DRAWS: u32 = 19_999;
/// Sums that differ by rounding alone are equal; differences are at most 1.
const SAME: f64 = 1e-9;

/// How surprising the mean of these differences is if signs are chance; `None` without differences.
pub fn sign_flip(differences: &[f64], seed: u64) -> Option<Permutation> {
    if differences.is_empty() {
        return None;
    }
    // The sign of a zero changes nothing.
    let sizes: Vec<f64> = differences.iter().map(|one| one.abs()).filter(|size| *size > SAME).collect();
    let seen = differences.iter().sum::<f64>().abs();
    Some(if sizes.len() <= EXACT_MAX {
        Permutation { p: exact(&sizes, seen), method: PermutationMethod::Exact }
    } else {
        Permutation { p: drawn(&sizes, seen, seed), method: PermutationMethod::MonteCarlo }
    })
}

fn exact(sizes: &[f64], seen: f64) -> f64 {
    let all = 1_u32 << sizes.len();
    let as_far = (0..all).filter(|signs| flipped(sizes, &[u64::from(*signs)]).abs() >= seen - SAME).count();
    as_far as f64 / f64::from(all)
}

fn drawn(sizes: &[f64], seen: f64, seed: u64) -> f64 {
    let mut random = SplitMix::new(seed);
    let mut signs = vec![0; sizes.len().div_ceil(64)];
    let mut as_far = 0_u32;
    for _ in 0..DRAWS {
        signs.fill_with(|| random.bits());
        as_far += u32::from(flipped(sizes, &signs).abs() >= seen - SAME);
    }
    f64::from(as_far + 1) / f64::from(DRAWS + 1)
}

/// The sum with a minus wherever the bit is set; a word of signs serves 64 sizes.
fn flipped(sizes: &[f64], signs: &[u64]) -> f64 {
    let of_word = |(sizes, signs): (&[f64], &u64)| -> f64 {
        let signed = |(bit, size): (usize, &f64)| f64::from_bits(size.to_bits() ^ (signs >> bit & 1) << 63);
        sizes.iter().enumerate().map(signed).sum()
    };
    sizes.chunks(64).zip(signs).map(of_word).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(differences: &[f64], expected: f64) {
        let found = sign_flip(differences, 0).unwrap();
        assert!((found.p - expected).abs() < 1e-12, "{differences:?}: {found:?}, expected {expected}");
        assert_eq!(found.method, PermutationMethod::Exact);
    }

    #[test]
    fn exact_by_hand() {
        // Only + + + and - - - are as far out: 2 of 8.
        check(&[1.0, 1.0, 1.0], 0.25);
        // Sums 6 4 2 0 0 -2 -4 -6: the one seen is 4.
        check(&[3.0, 2.0, -1.0], 4.0 / 8.0);
        // Zeros take no part: the sign test of 5 out of 5.
        check(&[0.5, 0.0, 0.5, 0.5, 0.0, 0.5, 0.5], 2.0 / 32.0);
        check(&[0.0, 0.0], 1.0);
        check(&[0.5, -0.5], 1.0);
        // 0.1 + 0.2 - 0.3 is 0 but for rounding.
        check(&[0.1, 0.2, -0.3], 1.0);
        assert_eq!(sign_flip(&[], 0), None);
    }

    #[test]
    fn draws_come_near_the_binomial() {
        // Of 40 equal differences 28 are positive: the two-sided binomial tail of 28 of 40.
        let differences: Vec<f64> = (0..40).map(|i| if i < 28 { 0.25 } else { -0.25 }).collect();
        let found = sign_flip(&differences, 9).unwrap();
        // 2 * P(X >= 28), X ~ Binomial(40, 1/2); four standard errors of the draws are 0.0032.
        assert!((found.p - 0.016_589).abs() < 0.0036, "{found:?}");
        assert_eq!(
            (found, found.method),
            (sign_flip(&differences, 9).unwrap(), PermutationMethod::MonteCarlo)
        );
        let all = sign_flip(&[1.0; 70], 0).unwrap();
        assert_eq!(all.p, 1.0 / 20_000.0, "never zero");
    }

    #[test]
    fn alike_models_are_told_apart_as_seldom_as_promised() {
        let mut random = SplitMix::new(77);
        let runs = 400;
        let rejected = (0..runs)
            .filter(|_| {
                let differences: Vec<f64> =
                    (0..16).map(|_| (random.below(9) as f64 - random.below(9) as f64) / 8.0).collect();
                sign_flip(&differences, 1).unwrap().p <= 0.05
            })
            .count();
        // 5 % of 400 is 20, with a standard deviation of 4.4.
        assert!((5..=34).contains(&rejected), "{rejected}");
    }
}
