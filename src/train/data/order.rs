//! The order of an epoch, computed and not remembered: a permutation that (seed, epoch) alone decide.
//!
//! A Feistel network over the smallest even number of bits that holds the indices, whose values beyond them are sent through it again
//! until they are indices (cycle walking; Black and Rogaway 2002). Each index is found in constant time and memory, so a place
//! in the data is an epoch and a number. The round function is SplitMix64's finaliser; nothing here is secret.

/// Luby and Rackoff need four; small halves mix worse.
const ROUNDS: usize = 8;

/// A permutation of `0..len`.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    len: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Order {
    pub fn new(len: usize, seed: u64, epoch: u64) -> Self {
        let len = len as u64;
        let bits = (u64::BITS - len.saturating_sub(1).leading_zeros()).max(2);
        let base = mix(mix(seed) ^ epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1));
        let keys = std::array::from_fn(|round| mix(base.wrapping_add(round as u64 + 1)));
        Self { len, half_bits: bits.div_ceil(2), keys }
    }

    pub fn len(&self) -> usize {
        self.len as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The index that stands at a position.
    ///
    /// # Panics
    /// Beyond the last position.
    pub fn at(&self, position: usize) -> usize {
        assert!((position as u64) < self.len, "position {position} of {}", self.len);
        let mut value = position as u64;
        loop {
            value = self.permute(value);
            if value < self.len {
                return value as usize;
            }
        }
    }

    /// Of all numbers of twice `half_bits` bits.
    fn permute(&self, value: u64) -> u64 {
        let mask = (1_u64 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
        let order = Order::new(len, seed, epoch);
        (0..len).map(|position| order.at(position)).collect()
    }

    proptest! {
        #[test]
        fn every_index_stands_somewhere(len in 0..3000_usize, seed: u64, epoch: u64) {
            let mut found = all(len, seed, epoch);
            found.sort_unstable();
            prop_assert!(found.into_iter().eq(0..len));
        }
    }

    #[test]
    fn seeds_and_epochs_have_their_own_order() {
        let base = all(100, 1, 0);
        assert_eq!(base, all(100, 1, 0));
        for other in [all(100, 2, 0), all(100, 1, 1), all(100, 0, 1)] {
            let same = base.iter().zip(&other).filter(|(a, b)| a == b).count();
            // One is expected; ten would be a chance of 1e-7.
            assert!(same < 10, "{same}");
        }
        // What a checkpoint of this version means by a place in the data.
        assert_eq!(all(8, 42, 3), [5, 3, 0, 4, 7, 1, 6, 2]);
    }

    #[test]
    fn every_place_is_as_likely() {
        let mut counts = [[0_i32; 6]; 6];
        for seed in 0..6_000 {
            for (position, index) in all(6, seed, 0).into_iter().enumerate() {
                counts[position][index] += 1;
            }
        }
        // Five standard deviations of a binomial with p = 1/6: 144.
        assert!(counts.as_flattened().iter().all(|count| (count - 1_000).abs() < 145), "{counts:?}");
    }
}
