//! The AdamW update of a tensor in bf16 that has no f32 beside it: the formula of [`adamw`](super::adamw) in f32, and weight and
//! moments each rounded to one of their two neighbours in bf16, to the nearer the more often, so that changes too small for a
//! place in bf16 are kept on average (stochastic rounding, arXiv:2010.06192). To the nearest, they would be lost each time: weights
//! stand still at low rates, and a second moment with beta2 = 0.999 never declines.
//!
//! Which neighbour it is, is a function of (seed, step, tensor, element) alone: threads and stops change no bit.

use super::Workers;
use super::adamw::{AdamWStep, AdamWTensor, Numbers, PART_ELEMENTS};
use super::parallel::SharedMut;
use super::philox::philox4x32_10;
use super::simd::{Kernel, Simd};

/// What decides how an update is rounded, beside its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounding {
    pub seed: u64,
    /// The number of the tensor.
    pub tensor: u32,
}

/// Updates a tensor of bf16 bits on all threads. Elements are independent of each other.
///
/// # Panics
/// Lengths that differ.
pub fn adamw_bf16(step: AdamWStep, tensor: AdamWTensor<'_, u16>, rounding: Rounding, workers: &Workers) {
    tensor.check();
    let AdamWTensor { values, gradient, first_moment, second_moment, mask } = tensor;
    let len = values.len();
    let numbers = Numbers::new(step);
    let draws = Draws { rounding, step: step.step };
    let (values, first, second) =
        (SharedMut::new(values), SharedMut::new(first_moment), SharedMut::new(second_moment));
    workers.run(len.div_ceil(PART_ELEMENTS), &|part| {
        let start = part * PART_ELEMENTS;
        let count = PART_ELEMENTS.min(len - start);
        // SAFETY: each part takes its own elements.
        let (p, m, v) =
            unsafe { (values.slice(start, count), first.slice(start, count), second.slice(start, count)) };
        let g = &gradient[start..][..count];
        let mask = mask.map(|mask| &mask[start / 64..][..count.div_ceil(64)]);
        // SAFETY: plain loops over slices.
        unsafe { workers.isa().dispatch(Update { numbers, draws, start, p, g, m, v, mask }) };
    });
}

pub(super) fn widened(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// One of the neighbours of x in bf16: the one further from 0 in as many of 65,536 cases as x is far from the other.
#[inline(always)]
fn rounded(x: f32, random: u16) -> u16 {
    // What is no number stays none.
    let random = if x.is_finite() { u32::from(random) } else { 0 };
    (x.to_bits().wrapping_add(random) >> 16) as u16
}

#[derive(Clone, Copy)]
struct Draws {
    rounding: Rounding,
    step: u64,
}

impl Draws {
    /// Of the elements 2 * pair and 2 * pair + 1.
    #[inline(always)]
    fn of_pair(self, pair: usize) -> [[u16; 3]; 2] {
        let Rounding { seed, tensor } = self.rounding;
        let counter = [pair as u32, (pair as u64 >> 32) as u32, tensor, self.step as u32];
        let words = philox4x32_10(counter, [seed as u32, (seed >> 32) as u32]);
        let of = |at: usize| [words[2 * at] as u16, (words[2 * at] >> 16) as u16, words[2 * at + 1] as u16];
        [of(0), of(1)]
    }
}

struct Update<'a> {
    numbers: Numbers<f32>,
    draws: Draws,
    /// Of the first element, in the tensor; even.
    start: usize,
    p: &'a mut [u16],
    g: &'a [u16],
    m: &'a mut [u16],
    v: &'a mut [u16],
    mask: Option<&'a [u64]>,
}

impl Kernel for Update<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { numbers, draws, start, p, g, m, v, mask } = self;
        let mut random = [[0; 3]; 2];
        for (i, (((p, &g), m), v)) in p.iter_mut().zip(g).zip(m).zip(v).enumerate() {
            let at = start + i;
            if at.is_multiple_of(2) {
                random = draws.of_pair(at / 2);
            }
            let [of_value, of_first, of_second] = random[at % 2];
            let (mut first, mut second) = (widened(*m), widened(*v));
            let new = numbers.update(widened(*p), widened(g), &mut first, &mut second);
            (*m, *v) = (rounded(first, of_first), rounded(second, of_second));
            if mask.is_none_or(|mask| mask[i / 64] >> (i % 64) & 1 == 1) {
                *p = rounded(new, of_value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Isa;
    use crate::ops::testing::numbers;

    const STEP: AdamWStep = AdamWStep {
        learning_rate: 1e-4,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        gradient_scale: 1.0,
        step: 1,
    };

    fn halves(values: &[f32]) -> Vec<u16> {
        values.iter().map(|&x| half::bf16::from_f32(x).to_bits()).collect()
    }

    /// So many updates by the same gradients: values and both moments.
    fn run(values: &[f32], gradient: &[f32], steps: u64, workers: &Workers) -> [Vec<u16>; 3] {
        let (mut values, gradient) = (halves(values), halves(gradient));
        let (mut first, mut second) = (vec![0; values.len()], vec![0; values.len()]);
        for step in 1..=steps {
            let tensor = AdamWTensor {
                values: &mut values,
                gradient: &gradient,
                first_moment: &mut first,
                second_moment: &mut second,
                mask: None,
            };
            adamw_bf16(AdamWStep { step, ..STEP }, tensor, Rounding { seed: 7, tensor: 3 }, workers);
        }
        [values, first, second]
    }

    /// Every draw, for numbers of both signs and for 0.
    #[test]
    fn a_number_becomes_its_neighbours_in_proportion() {
        let check = |x: f32, low: u16, high_cases: usize| {
            let high = (0..=u16::MAX).filter(|&random| rounded(x, random) == low + 1).count();
            let low = (0..=u16::MAX).filter(|&random| rounded(x, random) == low).count();
            assert_eq!((high, low), (high_cases, 65_536 - high_cases), "{x}");
        };
        check(1.0, 0x3f80, 0);
        check(0.0, 0, 0);
        check(f32::from_bits(0x3f80_4000), 0x3f80, 0x4000);
        check(f32::from_bits(0xbf80_0001), 0xbf80, 1);
        assert_eq!(rounded(f32::INFINITY, u16::MAX), 0x7f80);
        assert!(widened(rounded(f32::NAN, 1)).is_nan());
    }

    /// Updates of 1e-4 from 1 on, where bf16 has steps of 2^-8: to the nearest, each would be lost. Fifty of them are 5e-3 in the mean
    /// of 100,000 weights, whose standard error is 1.4e-5 (each takes a step of 2^-8 with probability 0.0256 an update).
    #[test]
    fn small_updates_are_not_lost_on_average() {
        let len = 100_000;
        let [values, _, second] = run(&vec![1.0; len], &vec![0.5; len], 50, &Workers::new(2));
        let moved = values.iter().map(|&bits| 1.0 - f64::from(widened(bits))).sum::<f64>() / len as f64;
        assert!((moved - 5e-3).abs() < 1e-4, "{moved}");
        // The second moment has gone its way of a thousandth a step too.
        let second = second.iter().map(|&bits| f64::from(widened(bits))).sum::<f64>() / len as f64;
        let expected = 0.25 * (1.0 - 0.999f64.powi(50));
        assert!((second - expected).abs() < 2e-3 * expected, "{second} {expected}");
    }

    #[test]
    fn threads_and_instruction_sets_change_no_bit() {
        let len = 2 * PART_ELEMENTS + 3;
        let (values, gradient) = (numbers(1, len), numbers(2, len));
        let expected = run(&values, &gradient, 3, &Workers::new(1));
        for isa in Isa::available() {
            assert!(run(&values, &gradient, 3, &Workers::with_isa(3, isa)) == expected, "{isa}");
        }
    }

    /// Places of a panel that have no element.
    #[test]
    fn zeros_without_a_gradient_stay_zeros() {
        let [values, first, second] = run(&[0.0; 9], &[0.0; 9], 3, &Workers::new(1));
        assert!([values, first, second].concat().iter().all(|&bits| bits == 0));
    }
}
