//! Random numbers for fresh weights, each a function of seed, tensor and place: the same whatever is drawn beside them.

/// Uniform in [0, 1), 53 bits.
pub(super) fn uniform(seed: u64, stream: u64, at: u64) -> f64 {
    let key = mix(mix(seed).wrapping_add(stream));
    (mix(key.wrapping_add(at)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// One step of splitmix64 (Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014).
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first output of the authors' generator at seed 0.
    #[test]
    fn known_answer() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }

    /// 40,000 uniform numbers have a mean within 0.005 of a half, and halves of the unit within 0.01 (over 3 sigma).
    #[test]
    fn draws_are_uniform_and_differ_by_every_key() {
        let draws: Vec<f64> = (0..40_000).map(|at| uniform(7, 0, at)).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let below = draws.iter().filter(|draw| **draw < 0.25).count() as f64 / draws.len() as f64;
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        assert!((mean - 0.5).abs() < 0.005 && (below - 0.25).abs() < 0.01, "{mean} {below}");
        let other = [uniform(8, 0, 0), uniform(7, 1, 0), uniform(7, 0, 1)];
        assert!(other.iter().all(|draw| *draw != draws[0]));
    }
}
