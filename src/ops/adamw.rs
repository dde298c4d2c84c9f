//! The AdamW update of one tensor, in place: Decoupled weight decay regularization (arXiv:1711.05101), algorithm 2, in the
//! order of operations of PyTorch's `torch.optim.AdamW`:
//!
//! ```text
//! p *= 1 - lr * decay
//! m += (1 - beta1) (g - m)
//! v  = beta2 v + (1 - beta2) g^2
//! p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//! ```
//!
//! A masked element keeps its value, while its moments see the whole gradient (MAET's masked training).

use candle_core::WithDType;
use num_traits::Zero;

use super::Workers;
use super::adamw_bf16::widened;
use super::aligned::Plain;
use super::parallel::{SharedMut, share};
use super::real::Real;
use super::simd::{Kernel, Simd};

/// Elements a thread takes at once: whole words of a mask.
pub(super) const PART_ELEMENTS: usize = 1 << 16;

/// The numbers of one update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    pub learning_rate: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    /// 0 for tensors that do not decay.
    pub weight_decay: f64,
    /// What the gradient is multiplied by first, such as the clipping factor.
    pub gradient_scale: f64,
    /// t: 1 for the first update.
    pub step: u64,
}

/// A tensor with its gradient and its moments, all of one length.
pub struct AdamWTensor<'a, T = f32> {
    pub values: &'a mut [T],
    pub gradient: &'a [T],
    pub first_moment: &'a mut [T],
    pub second_moment: &'a mut [T],
    /// Which elements may change: bit i % 64 of word i / 64. `None` for all.
    pub mask: Option<&'a [u64]>,
}

impl<T> AdamWTensor<'_, T> {
    /// # Panics
    /// Lengths that differ.
    pub(super) fn check(&self) {
        let len = self.values.len();
        assert!(
            self.gradient.len() == len && self.first_moment.len() == len && self.second_moment.len() == len,
            "a gradient and moments of other lengths than the weight's"
        );
        assert!(
            self.mask.is_none_or(|mask| mask.len() == len.div_ceil(64)),
            "a mask of another length than the weight's"
        );
    }
}

/// Updates a tensor on all threads. Elements are independent of each other.
///
/// # Panics
/// Lengths that differ.
pub fn adamw<T: Real>(step: AdamWStep, tensor: AdamWTensor<'_, T>, workers: &Workers) {
    tensor.check();
    let AdamWTensor { values, gradient, first_moment, second_moment, mask } = tensor;
    let len = values.len();
    let numbers = Numbers::new(step);
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
        unsafe { workers.isa().dispatch(Update { numbers, p, g, m, v, mask }) };
    });
}

/// The sum of the squares of some numbers, in f64: over fixed parts, added in their order.
pub fn sum_of_squares<T: Real>(values: &[T], workers: &Workers) -> f64 {
    squares(values, WithDType::to_f64, workers)
}

/// The same of bf16 bits.
pub fn sum_of_squares_bf16(values: &[u16], workers: &Workers) -> f64 {
    squares(values, |bits| f64::from(widened(bits)), workers)
}

fn squares<T: Copy + Sync>(values: &[T], of: impl Fn(T) -> f64 + Sync, workers: &Workers) -> f64 {
    let parts = values.len().div_ceil(PART_ELEMENTS);
    let mut sums = vec![0.0f64; parts];
    let shared = SharedMut::new(&mut sums);
    workers.run(parts, &|part| {
        let part_values = &values[part * PART_ELEMENTS..values.len().min((part + 1) * PART_ELEMENTS)];
        // Eight sums, so that the additions do not wait for each other.
        let mut eight = [0.0f64; 8];
        for chunk in part_values.chunks(8) {
            for (sum, &x) in eight.iter_mut().zip(chunk) {
                *sum += of(x) * of(x);
            }
        }
        // SAFETY: each part has a sum of its own.
        unsafe { shared.slice(part, 1)[0] = eight.iter().sum() };
    });
    sums.iter().sum()
}

/// Sets all elements to 0, on all threads.
pub fn clear<T: Plain + Zero>(values: &mut [T], workers: &Workers) {
    let len = values.len();
    let parts = len.div_ceil(PART_ELEMENTS);
    let shared = SharedMut::new(values);
    workers.run(parts, &|part| {
        let range = share(len, parts, part);
        // SAFETY: each part takes its own elements.
        unsafe { shared.slice(range.start, range.len()) }.fill(T::zero());
    });
}

/// A step's numbers in the tensor's own type, each rounded once.
#[derive(Clone, Copy)]
pub(super) struct Numbers<T> {
    keep: T,
    one_minus_beta1: T,
    beta2: T,
    one_minus_beta2: T,
    step_size: T,
    second_correction: T,
    eps: T,
    gradient_scale: T,
}

impl<T: Real> Numbers<T> {
    pub(super) fn new(step: AdamWStep) -> Self {
        let t = step.step as f64;
        Self {
            keep: T::of(1.0 - step.learning_rate * step.weight_decay),
            one_minus_beta1: T::of(1.0 - step.beta1),
            beta2: T::of(step.beta2),
            one_minus_beta2: T::of(1.0 - step.beta2),
            step_size: T::of(step.learning_rate / (1.0 - step.beta1.powf(t))),
            second_correction: T::of((1.0 - step.beta2.powf(t)).sqrt()),
            eps: T::of(step.eps),
            gradient_scale: T::of(step.gradient_scale),
        }
    }

    /// The new value; the moments are changed in place.
    #[inline(always)]
    pub(super) fn update(&self, p: T, g: T, m: &mut T, v: &mut T) -> T {
        let g = g * self.gradient_scale;
        *m += self.one_minus_beta1 * (g - *m);
        *v = self.beta2 * *v + self.one_minus_beta2 * (g * g);
        p * self.keep - self.step_size * *m / (v.sqrt() / self.second_correction + self.eps)
    }
}

struct Update<'a, T> {
    numbers: Numbers<T>,
    p: &'a mut [T],
    g: &'a [T],
    m: &'a mut [T],
    v: &'a mut [T],
    mask: Option<&'a [u64]>,
}

impl<T: Real> Kernel for Update<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { numbers, p, g, m, v, mask } = self;
        let Some(mask) = mask else {
            for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                *p = numbers.update(*p, g, m, v);
            }
            return;
        };
        for (i, (((p, &g), m), v)) in p.iter_mut().zip(g).zip(m).zip(v).enumerate() {
            let new = numbers.update(*p, g, m, v);
            if mask[i / 64] >> (i % 64) & 1 == 1 {
                *p = new;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Isa;
    use crate::ops::testing::{bits, numbers};

    const STEP: AdamWStep = AdamWStep {
        learning_rate: 1e-2,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.1,
        gradient_scale: 0.5,
        step: 1,
    };

    /// The module's formula in f64, after three steps.
    #[test]
    fn follows_the_formula() {
        for isa in Isa::available() {
            let workers = Workers::with_isa(2, isa);
            let len = 100_003;
            let mut values = numbers(1, len);
            let mut exact: Vec<f64> = values.iter().map(|&x| f64::from(x)).collect();
            let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
            let (mut exact_m, mut exact_v) = (vec![0.0f64; len], vec![0.0f64; len]);
            for t in 1..=3u64 {
                let gradient = numbers(10 + t, len);
                let tensor = AdamWTensor {
                    values: &mut values,
                    gradient: &gradient,
                    first_moment: &mut m,
                    second_moment: &mut v,
                    mask: None,
                };
                adamw(AdamWStep { step: t, ..STEP }, tensor, &workers);
                for i in 0..len {
                    let g = f64::from(gradient[i]) * 0.5;
                    exact[i] *= 1.0 - 1e-2 * 0.1;
                    exact_m[i] = 0.9 * exact_m[i] + 0.1 * g;
                    exact_v[i] = 0.95 * exact_v[i] + 0.05 * g * g;
                    let (c1, c2) = (1.0 - 0.9f64.powf(t as f64), 1.0 - 0.95f64.powf(t as f64));
                    exact[i] -= 1e-2 / c1 * exact_m[i] / ((exact_v[i] / c2).sqrt() + 1e-8);
                }
            }
            for (found, exact) in values.iter().zip(&exact) {
                assert!((f64::from(*found) - exact).abs() < 1e-6, "{isa}: {found} {exact}");
            }
        }
    }

    #[test]
    fn a_masked_element_keeps_its_value_and_has_its_moments() {
        let workers = Workers::new(2);
        let len = 70_001;
        let gradient = numbers(2, len);
        let run = |mask: Option<&[u64]>| {
            let (mut values, mut m, mut v) = (numbers(1, len), vec![0.0; len], vec![0.0; len]);
            let (values_mut, first_moment, second_moment) = (&mut values[..], &mut m[..], &mut v[..]);
            let tensor =
                AdamWTensor { values: values_mut, gradient: &gradient, first_moment, second_moment, mask };
            adamw(STEP, tensor, &workers);
            (values, m, v)
        };
        let all = run(None);
        let mask: Vec<u64> =
            (0..len.div_ceil(64) as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let masked = run(Some(&mask));
        assert_eq!((bits(&all.1), bits(&all.2)), (bits(&masked.1), bits(&masked.2)));
        for (i, start) in numbers(1, len).into_iter().enumerate() {
            let expected = if mask[i / 64] >> (i % 64) & 1 == 1 { all.0[i] } else { start };
            assert_eq!(masked.0[i].to_bits(), expected.to_bits());
        }
    }

    #[test]
    fn sums_do_not_depend_on_threads() {
        let values = numbers(1, 200_005);
        let sum = sum_of_squares(&values, &Workers::new(1));
        assert_eq!(sum.to_bits(), sum_of_squares(&values, &Workers::new(3)).to_bits());
        let exact: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
        assert!((sum - exact).abs() < 1e-9 * exact);
        let mut values = values;
        clear(&mut values, &Workers::new(3));
        assert!(values.iter().all(|&x| x == 0.0));
    }
}
