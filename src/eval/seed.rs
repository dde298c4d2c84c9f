//! One seed a problem and language, from the run's: the same whatever the order, the subset or the concurrency.

use sha2::{Digest, Sha256};

use crate::language::Language;

/// JSON numbers above 2^53 do not survive every client, so seeds stay below.
const SEED_BITS: u32 = 53;

/// The seed of a problem's first request, whose choice i is sample i.
pub fn problem_seed(run_seed: u64, problem: &str, language: Language) -> u64 {
    derive(&[&run_seed.to_le_bytes(), language.code().as_bytes(), problem.as_bytes()])
}

/// The seed of a request for the samples that are missing of n, where a server cannot name its choices: the
/// problem's own while nothing is drawn, and one of the whole list after. Each sample that is kept shortens the list,
/// so no seed is used again once any of its draws is on file.
pub fn continued_seed(seed: u64, n: u32, missing: &[u32]) -> u64 {
    if missing.len() == n as usize {
        return seed;
    }
    let list: Vec<u8> = missing.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    derive(&[&seed.to_le_bytes(), &list])
}

/// The samples of the request that a kill cut short, in its order, if there is one: asked for again by its seed they are those
/// that an uninterrupted run would have drawn. `missing` are the samples that are not there, `kept` the others with the
/// seeds of their requests.
pub fn cut_short(seed: u64, n: u32, missing: &[u32], kept: &[(u32, u64)]) -> Option<Vec<u32>> {
    let mut wanted: Vec<u32> = (0..n).collect();
    loop {
        let of_request = continued_seed(seed, n, &wanted);
        let is_left = |sample: &u32| !kept.contains(&(*sample, of_request));
        let left: Vec<u32> = wanted.iter().copied().filter(is_left).collect();
        if left.len() == wanted.len() {
            return None;
        }
        if left == missing {
            return Some(wanted);
        }
        wanted = left;
    }
}

/// The seed of a further turn of a conversation, for all its samples.
pub fn turn_seed(seed: u64, turn: usize) -> u64 {
    derive(&[b"turn", &seed.to_le_bytes(), &(turn as u64).to_le_bytes()])
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
        assert_eq!(continued_seed(base, 3, &[0, 1, 2]), base);
        let lists: [&[u32]; 5] = [&[0, 1], &[0, 2], &[0], &[2], &[1, 2]];
        let seeds = lists.map(|missing| continued_seed(base, 3, missing));
        for (at, seed) in seeds.iter().enumerate() {
            assert!(*seed != base && !seeds[..at].contains(seed), "{:?}", lists[at]);
        }
    }

    #[test]
    fn the_request_that_a_kill_cut_short() {
        let check = |missing: &[u32], kept: &[(u32, u64)], expected: Option<&[u32]>| {
            assert_eq!(cut_short(11, 5, missing, kept).as_deref(), expected, "{missing:?} {kept:?}");
        };
        let second = continued_seed(11, 5, &[2, 3, 4]);
        check(&[0, 1, 2, 3, 4], &[], None);
        check(&[0, 3], &[(1, 11), (2, 11), (4, 11)], Some(&[0, 1, 2, 3, 4]));
        // The first request was for two; of the second one has come.
        check(&[2, 4], &[(0, 11), (1, 11), (3, second)], Some(&[2, 3, 4]));
        // Drawn by somebody else.
        check(&[2, 3, 4], &[(0, 7), (1, 7)], None);
        check(&[2, 4], &[(0, 11), (1, 11), (3, 7)], None);
    }
}
