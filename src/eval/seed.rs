//! One seed a problem and language, from the run's: the same whatever the order, the subset or the concurrency.

use sha2::{Digest, Sha256};

use crate::language::Language;

/// JSON numbers above 2^53 do not survive every client, so seeds stay below.
const SEED_BITS: u32 = 53;

/// The seed of a problem's first request; choice i of that request is sample i.
pub fn problem_seed(run_seed: u64, problem: &str, language: Language) -> u64 {
    derive(&[&run_seed.to_le_bytes(), language.code().as_bytes(), problem.as_bytes()])
}

/// The seed of a request that begins with a later sample, where a server cannot name its choices.
pub fn continued_seed(seed: u64, first_sample: u32) -> u64 {
    if first_sample == 0 { seed } else { derive(&[&seed.to_le_bytes(), &first_sample.to_le_bytes()]) }
}

fn derive(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        // Lengths keep ("a", "bc") and ("ab", "c") apart.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let head = digest[..8].iter().fold(0, |value: u64, byte| value << 8 | u64::from(*byte));
    head >> (64 - SEED_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_by_all_that_names_them() {
        let base = problem_seed(1, "p01", Language::En);
        assert_eq!(base, problem_seed(1, "p01", Language::En));
        assert!(base < 1 << SEED_BITS);
        for other in [
            problem_seed(2, "p01", Language::En),
            problem_seed(1, "p02", Language::En),
            problem_seed(1, "p01", Language::De),
        ] {
            assert_ne!(base, other);
        }
        assert_eq!(continued_seed(base, 0), base);
        assert_ne!(continued_seed(base, 1), base);
    }
}
