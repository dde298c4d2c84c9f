//! Sums of exponentials over a row of logits, and the best entries of it, without sorting the row.
//!
//! Every result is a function of the row alone: fixed lanes and blocks, no fused multiply-add, an own `exp`.
//! Weights are f32, sums f64.

#![expect(
    clippy::inline_always,
    reason = "a loop has the widest vectors only when inlined into a function with them"
)]

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::SampleError;
use super::widest::widest;

/// Values summed together, so that a draw can skip whole blocks.
pub const SUM_BLOCK: usize = 256;
/// Lanes of a sum.
const LANES: usize = 8;
/// Values compared at once: a block in which none passes is left without a branch a value.
const SCAN_BLOCK: usize = 64;

/// A row under softmax: weight i is exp((value i - max) * inverse_temperature).
#[derive(Debug, Clone, Copy)]
pub struct Softmax<'a> {
    values: &'a [f32],
    max: f32,
    inverse_temperature: f32,
}

impl<'a> Softmax<'a> {
    /// # Errors
    /// If a value is not a number or +infinity, or if all are -infinity.
    pub fn new(values: &'a [f32], temperature: f32) -> Result<Self, SampleError> {
        let max = maximum(values)?;
        Ok(Self { values, max, inverse_temperature: 1.0 / temperature })
    }

    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// In [0, 1]; 1 for the best.
    #[inline(always)]
    pub fn weight(&self, value: f32) -> f32 {
        exp_nonpositive((value - self.max) * self.inverse_temperature)
    }

    /// Sums of the weights of each `SUM_BLOCK` values.
    pub fn block_sums(&self) -> Vec<f64> {
        widest(|| self.values.chunks(SUM_BLOCK).map(|block| self.sum(block)).collect())
    }

    pub fn total(&self) -> f64 {
        widest(|| self.values.chunks(SUM_BLOCK).map(|block| self.sum(block)).sum())
    }

    /// ln(weight / total), without the underflow of the weight.
    pub fn logprob(&self, value: f32, log_total: f64) -> f32 {
        (f64::from((value - self.max) * self.inverse_temperature) - log_total) as f32
    }

    /// The entries that weigh `least` or more, best first.
    pub fn entries_from(&self, least: f64) -> Vec<Entry> {
        /// Far more than `exp` can be wrong by: what it lets through is weighed exactly.
        const MARGIN: f64 = 1e-3;
        let bound = (least.ln() - MARGIN) as f32;
        let mut entries = Vec::new();
        widest(|| {
            scan(
                self.values,
                &mut |value, _| (value - self.max) * self.inverse_temperature >= bound,
                0.0,
                &mut |_, id, value| {
                    if value > f32::NEG_INFINITY && f64::from(self.weight(value)) >= least {
                        entries.push(Entry { id, value });
                    }
                },
            );
        });
        entries.sort_unstable();
        entries
    }

    /// Of at most `SUM_BLOCK` values.
    #[inline(always)]
    fn sum(&self, block: &[f32]) -> f64 {
        // Weights first, sums second: each loop vectorises, together they do not. The weights beyond the
        // block stay 0.
        let mut weights = [0.0_f32; SUM_BLOCK];
        for (weight, &value) in weights.iter_mut().zip(block) {
            *weight = self.weight(value);
        }
        let mut lanes = [0.0_f64; LANES];
        for weights in weights.as_chunks::<LANES>().0 {
            for (lane, &weight) in lanes.iter_mut().zip(weights) {
                *lane += f64::from(weight);
            }
        }
        lanes.iter().sum()
    }
}

/// The largest value.
fn maximum(values: &[f32]) -> Result<f32, SampleError> {
    /// Two AVX-512 registers of independent maxima.
    const MAX_LANES: usize = 32;
    let (max, ordered) = widest(|| {
        let mut lanes = [f32::NEG_INFINITY; MAX_LANES];
        let mut unordered = [0_u32; MAX_LANES];
        let (chunks, rest) = values.as_chunks::<MAX_LANES>();
        for chunk in chunks {
            for ((lane, unordered), &value) in lanes.iter_mut().zip(&mut unordered).zip(chunk) {
                *unordered |= u32::from(value.is_nan());
                *lane = if value > *lane { value } else { *lane };
            }
        }
        let max = lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
        (max, unordered.iter().all(|&unordered| unordered == 0) && !rest.iter().any(|value| value.is_nan()))
    });
    if !ordered || max == f32::INFINITY {
        Err(SampleError::NotANumber)
    } else if max == f32::NEG_INFINITY {
        Err(SampleError::NothingLeft)
    } else {
        Ok(max)
    }
}

/// The index of the largest value, the lower of equals.
pub fn argmax(values: &[f32]) -> Result<u32, SampleError> {
    let max = maximum(values)?;
    values.iter().position(|&value| value == max).map(|at| at as u32).ok_or(SampleError::NothingLeft)
}

/// 1 for the best; equals rank by id.
pub fn rank(values: &[f32], token: u32) -> u32 {
    let at = token as usize;
    let value = values[at];
    widest(|| {
        let above: u32 = values.iter().map(|&other| u32::from(other > value)).sum();
        let equal_before: u32 = values[..at].iter().map(|&other| u32::from(other == value)).sum();
        above + equal_before + 1
    })
}

/// The `k` best entries that are not -infinity, best first; equals by id. One pass and a heap of k.
pub fn top_entries(values: &[f32], k: usize) -> Vec<Entry> {
    let mut heap = BinaryHeap::with_capacity(k.min(values.len()) + 1);
    if k == 0 {
        return Vec::new();
    }
    widest(|| {
        // Ids ascend, so an equal value never displaces an earlier one.
        scan(
            values,
            &mut |value, threshold| value > threshold,
            f32::NEG_INFINITY,
            &mut |threshold, id, value| {
                heap.push(Entry { id, value });
                if heap.len() > k {
                    heap.pop();
                }
                if heap.len() == k {
                    *threshold = heap.peek().map_or(*threshold, |worst: &Entry| worst.value);
                }
            },
        );
    });
    heap.into_sorted_vec()
}

/// Calls `take(threshold, id, value)` for the values that `passes(value, threshold)`, in order; `take` may raise the
/// threshold.
#[inline(always)]
fn scan(
    values: &[f32],
    passes: &mut impl FnMut(f32, f32) -> bool,
    mut threshold: f32,
    take: &mut impl FnMut(&mut f32, u32, f32),
) {
    for (block, chunk) in values.chunks(SCAN_BLOCK).enumerate() {
        if chunk.iter().fold(false, |any, &value| any | passes(value, threshold)) {
            for (at, &value) in chunk.iter().enumerate() {
                if passes(value, threshold) {
                    take(&mut threshold, (block * SCAN_BLOCK + at) as u32, value);
                }
            }
        }
    }
}

/// Ordered best first: the larger value, then the lower id.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry {
    pub id: u32,
    pub value: f32,
}

impl Eq for Entry {}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        other.value.total_cmp(&self.value).then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// e^x for x <= 0, relative error below 2e-7, 0 below -87. The polynomial is Cephes' `expf`; plain
/// multiplications and additions vectorise and have the same bits on every machine.
#[inline(always)]
fn exp_nonpositive(x: f32) -> f32 {
    /// Adding it rounds to an integer that stands in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x > -87.0 { x } else { -87.0 };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let exponent = shifted - ROUND;
    let r = clamped - exponent * LN2_HIGH - exponent * LN2_LOW;
    let mut p = 1.987_569_2e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + coefficient;
    }
    let fraction = p * r * r + r + 1.0;
    let bits = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    if x > -87.0 { fraction * f32::from_bits(bits) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_to_two_units() {
        for step in 0..870_000 {
            let x = -step as f32 * 1e-4;
            let exact = f64::from(x).exp();
            let relative = (f64::from(exp_nonpositive(x)) - exact).abs() / exact;
            assert!(relative < 2e-7, "{x}: {relative}");
        }
        assert_eq!([exp_nonpositive(0.0), exp_nonpositive(-88.0)], [1.0, 0.0]);
        assert_eq!(exp_nonpositive(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn sums_agree_with_f64() {
        let values: Vec<f32> = (0..1000).map(|i| ((i * 37) % 101) as f32 * 0.2 - 7.0).collect();
        let softmax = Softmax::new(&values, 0.7).unwrap();
        let exact: f64 = values.iter().map(|&v| ((f64::from(v) - 13.0) / f64::from(0.7_f32)).exp()).sum();
        assert!((softmax.total() / exact - 1.0).abs() < 1e-6);
        assert_eq!(softmax.block_sums().iter().sum::<f64>(), softmax.total());
    }

    fn check_top(values: &[f32], k: usize, expected: &[u32]) {
        let ids: Vec<u32> = top_entries(values, k).iter().map(|entry| entry.id).collect();
        assert_eq!(ids, expected, "{values:?} {k}");
        for (at, &id) in expected.iter().enumerate() {
            assert_eq!(rank(values, id) as usize, at + 1);
        }
    }

    #[test]
    fn ties_go_to_the_lower_id() {
        check_top(&[1.0, 3.0, 2.0, 3.0], 3, &[1, 3, 2]);
        check_top(&[5.0, 5.0, 5.0], 2, &[0, 1]);
        check_top(&[1.0, f32::NEG_INFINITY, 2.0], 3, &[2, 0]);
        check_top(&[1.0, 2.0], 0, &[]);
        assert_eq!(argmax(&[1.0, 3.0, 3.0]).unwrap(), 1);
    }

    #[test]
    fn rows_that_cannot_be_sampled() {
        let check = |values: &[f32], expected| assert_eq!(maximum(values).unwrap_err(), expected);
        check(&[1.0, f32::NAN], SampleError::NotANumber);
        check(&[f32::INFINITY], SampleError::NotANumber);
        check(&[f32::NEG_INFINITY], SampleError::NothingLeft);
        check(&[], SampleError::NothingLeft);
    }
}
