//! The floats of the backward passes: f32 on the vector kernels, f64 in plain loops, so that the same code is checked
//! against finite differences in f64 and runs fast in f32.

use candle_core::WithDType;
use num_traits::Float;

use super::Isa;
use super::aligned::Plain;
use super::product::{Product, ProductKernel, plain_product};
use super::simd::{Kernel, LANES, Simd, load_some, math, store_some};

pub trait Real: WithDType + Plain + Float + std::iter::Sum {
    fn of(x: f64) -> Self;

    /// `C (+)= A B`.
    ///
    /// # Safety
    /// What `Product` demands of its pointers.
    unsafe fn product(isa: Isa, product: Product<Self>);

    /// Every element's exponential, in place.
    fn exp_all(isa: Isa, x: &mut [Self]);
}

/// The largest of `x` and `start`; NaN is passed over.
pub(super) fn largest<T: Real>(x: &[T], start: T) -> T {
    by_lanes(x, start, Float::max)
}

/// Sixteen sums along the elements, added in their order at the end.
pub(super) fn sum_of<T: Real>(x: &[T]) -> T {
    by_lanes(x, T::zero(), |a, b| a + b)
}

/// Lanes that do not wait for each other, folded at the end.
fn by_lanes<T: Real>(x: &[T], start: T, fold: impl Fn(T, T) -> T) -> T {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = fold(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = fold(*lane, x);
    }
    lanes.into_iter().fold(start, fold)
}

impl Real for f32 {
    fn of(x: f64) -> Self {
        x as f32
    }

    unsafe fn product(isa: Isa, product: Product<Self>) {
        // SAFETY: the caller's word.
        unsafe { isa.dispatch(ProductKernel(product)) }
    }

    fn exp_all(isa: Isa, x: &mut [Self]) {
        // SAFETY: the kernel stays inside the slice.
        unsafe { isa.dispatch(Exp(x)) }
    }
}

impl Real for f64 {
    fn of(x: f64) -> Self {
        x
    }

    unsafe fn product(_: Isa, product: Product<Self>) {
        // SAFETY: the caller's word.
        unsafe { plain_product(product) }
    }

    fn exp_all(_: Isa, x: &mut [Self]) {
        for x in x {
            *x = x.exp();
        }
    }
}

struct Exp<'a>(&'a mut [f32]);

impl Kernel for Exp<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let len = self.0.len();
        for i in (0..len).step_by(LANES) {
            // SAFETY: i is below the length.
            unsafe {
                let x = load_some::<S>(self.0.as_ptr().add(i), len - i);
                store_some::<S>(self.0.as_mut_ptr().add(i), math::exp::<S>(x), len - i);
            }
        }
    }
}
