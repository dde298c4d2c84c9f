//! What becomes of the sums of a few panels: bias, then a residual or a gated unit, then into the output.

use std::ops::Range;

use super::PANELS_MAX;
use crate::ops::Activation;
use crate::ops::simd::{Kernel, LANES, Simd, load_some, store_some};

/// What is done with x W^T + b.
#[derive(Clone, Copy)]
pub enum Then<'a> {
    Keep,
    /// Add it to the residual, of the output's shape.
    Add(&'a [f32]),
    /// Add it to what the output holds.
    AddTo,
    /// The activation of it, times the sums of the `up` weight (`[rows, PANELS_MAX * 16]`) and its bias.
    Gate {
        activation: Activation,
        up: *const f32,
        up_bias: Option<&'a [f32]>,
    },
}

/// Takes the sums of a few panels of one weight into the output.
pub struct Finish<'a> {
    /// `[rows, PANELS_MAX * 16]`
    pub sums: *const f32,
    /// Of the whole output.
    pub rows: Range<usize>,
    /// The weight's columns that the sums are of; as far as they exist.
    pub columns: Range<usize>,
    /// Of the weight.
    pub bias: Option<&'a [f32]>,
    pub then: Then<'a>,
    /// `[all rows, stride]`
    pub out: *mut f32,
    pub stride: usize,
    /// Where the weight's first column stands in the output.
    pub offset: usize,
}

impl Kernel for Finish<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Range { start, end } = self.columns;
        for (index, row) in self.rows.clone().enumerate() {
            for column in (start..end).step_by(LANES) {
                let count = end - column;
                let from = index * PANELS_MAX * LANES + column - start;
                let to = row * self.stride + self.offset + column;
                // SAFETY: `sums` and `up` hold whole panels; bias, residual and output hold `count` columns from here.
                unsafe {
                    let sum = biased::<S>(self.sums.add(from), self.bias, column, count);
                    let value = match self.then {
                        Then::Keep => sum,
                        Then::Add(residual) => S::add(load_some::<S>(residual.as_ptr().add(to), count), sum),
                        Then::AddTo => S::add(load_some::<S>(self.out.add(to), count), sum),
                        Then::Gate { activation, up, up_bias } => {
                            let up = biased::<S>(up.add(from), up_bias, column, count);
                            S::mul(activation.of::<S>(sum), up)
                        }
                    };
                    store_some::<S>(self.out.add(to), value, count);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn biased<S: Simd>(sums: *const f32, bias: Option<&[f32]>, column: usize, count: usize) -> S::F {
    // SAFETY: the caller vouches for sixteen sums, and for `count` elements of the bias from `column` on.
    unsafe {
        let sums = S::load(sums);
        match bias {
            Some(bias) => S::add(sums, load_some::<S>(bias.as_ptr().add(column), count)),
            None => sums,
        }
    }
}
