//! Random draws by counter: a draw depends on the seed, the model, the tensor and the element's index alone, so that a
//! merge is the same on any number of threads and in any order of tensors.

/// The key of a model's draws for a tensor: FNV-1a over `{seed}\0{model}\0{tensor}`.
pub fn key(seed: u64, model: &str, tensor: &str) -> u64 {
    let text = format!("{seed}\0{model}\0{tensor}");
    text.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |key, byte| (key ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

/// The draw of an element, uniform in [0, 1): the index-th output of SplitMix64 started at the key, its top 24 bits.
/// Steele, Lea, Flood 2014, Fast splittable pseudorandom number generators.
pub fn uniform(key: u64, index: usize) -> f32 {
    let mut z = key.wrapping_add((index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 40) as f32 / (1_u32 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_uniform_and_independent_of_their_neighbours() {
        let key = key(7, "a", "model.norm.weight");
        let draws: Vec<f64> = (0..100_000).map(|index| f64::from(uniform(key, index))).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let pairs: f64 = draws.windows(2).map(|pair| (pair[0] - 0.5) * (pair[1] - 0.5)).sum();
        // Four standard deviations: 1/sqrt(12 n) of the mean, sqrt(n)/12 of the sum of products.
        assert!((mean - 0.5).abs() < 4.0 / (12.0e5_f64).sqrt(), "{mean}");
        assert!(pairs.abs() < 4.0 * (1e5_f64).sqrt() / 12.0, "{pairs}");
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
    }

    #[test]
    fn another_seed_model_or_tensor_is_another_key() {
        let all = [key(1, "a", "x"), key(2, "a", "x"), key(1, "b", "x"), key(1, "a", "y"), key(1, "ax", "")];
        let distinct: std::collections::HashSet<u64> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
