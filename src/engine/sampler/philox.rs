//! The sampler's draws from the counter-based generator Philox (`ops/philox.rs`). A draw is a pure function of (seed,
//! choice, position): no state, so neither batching nor preemption can change it.

use crate::ops::philox4x32_10;

/// Uniform in [0, 1), 53 bits, for the token at `position` of the output of `choice`.
pub fn uniform(seed: u64, choice: u32, position: u64) -> f64 {
    let counter = [position as u32, (position >> 32) as u32, choice, 0];
    let words = philox4x32_10(counter, [seed as u32, (seed >> 32) as u32]);
    let bits = (u64::from(words[0]) << 32 | u64::from(words[1])) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_uniform_and_differ_by_every_key() {
        let draws: Vec<f64> = (0..40_000).map(|position| uniform(7, 0, position)).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)) && (mean - 0.5).abs() < 0.01);
        let first = uniform(7, 0, 0);
        assert!(
            [uniform(7 | 1 << 62, 0, 0), uniform(7, 1, 0), uniform(7, 0, 1 << 32)]
                .iter()
                .all(|d| *d != first)
        );
    }
}
