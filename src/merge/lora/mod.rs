//! LoRA adapters: a weight with its adapter's change, read as it streams, and adapters drawn out of a tuned model.
//!
//! The sum `W + scale * (B A)` is formed in f32 and not rounded here. PEFT rounds it to the type of `W`, once; so does
//! whoever writes it in that type. A merge that goes on computing with it starts from the better number.

mod difference;
mod extract;
mod extractor;
mod factors;
mod selection;
mod svd;

use super::elements::Elements;
use crate::weights::{Change, TensorView, WeightsError};
pub use extract::{ExtractError, ExtractOptions, ExtractedModule, Extraction, extract};
pub use svd::{Matrix, Svd, truncated};

/// Columns that are summed up at a time: a sum and the rows that go into it stay in a core's caches.
const COLUMNS: usize = 1024;

/// A base weight with what its adapter does to it.
pub struct Adapted<'a> {
    base: TensorView<'a>,
    product: Option<Product>,
}

/// `scale * (left right)`, in the layout of the weight.
struct Product {
    /// `[rows, rank]`
    left: Vec<f32>,
    /// `[rank, columns]`
    right: Vec<f32>,
    rank: usize,
    columns: usize,
    scale: f32,
}

impl<'a> Adapted<'a> {
    /// Reads the change's matrices. [`Adapter::check_base`](crate::weights::Adapter::check_base) has found the shapes to
    /// go together.
    ///
    /// # Errors
    /// A type that has no reader.
    pub fn new(base: TensorView<'a>, change: Option<Change<'a>>) -> Result<Self, WeightsError> {
        Ok(match change {
            None => Self { base, product: None },
            Some(Change::Replaced(whole)) => Self { base: whole, product: None },
            Some(Change::Added { values, scale }) => {
                let left = values.to_f32()?;
                let product = Product { left, right: vec![1.0], rank: 1, columns: 1, scale: scale as f32 };
                Self { base, product: Some(product) }
            }
            Some(Change::LowRank { a, b, scale, transposed, base: own }) => {
                let (rank, inputs, outputs) = (a.shape[0], a.shape[1], b.shape[0]);
                let (a, b) = (a.to_f32()?, b.to_f32()?);
                let (left, right, columns) = if transposed {
                    (transpose(&a, rank, inputs), transpose(&b, outputs, rank), outputs)
                } else {
                    (b, a, inputs)
                };
                let product = Product { left, right, rank, columns, scale: scale as f32 };
                Self { base: own.unwrap_or(base), product: Some(product) }
            }
        })
    }

    /// Of the weight.
    pub fn shape(&self) -> &[usize] {
        &self.base.shape
    }
}

impl Elements for Adapted<'_> {
    fn read(&self, from: usize, out: &mut [f32]) -> Result<(), WeightsError> {
        self.base.read_f32(from, out)?;
        if let Some(product) = &self.product {
            product.add(from, out);
        }
        Ok(())
    }
}

impl Product {
    /// Adds the elements from `from` on: a row, or what of it is asked for, after the other.
    fn add(&self, from: usize, out: &mut [f32]) {
        let mut sums = [0.0; COLUMNS];
        let mut at = 0;
        while at < out.len() {
            let (row, column) = ((from + at) / self.columns, (from + at) % self.columns);
            let length = (self.columns - column).min(out.len() - at).min(COLUMNS);
            let sums = &mut sums[..length];
            sums.fill(0.0);
            let factors = &self.left[row * self.rank..][..self.rank];
            let of = |k: usize| &self.right[k * self.columns + column..][..length];
            // Four rows at a time: a sum is loaded and stored once for them.
            let (fours, rest) = factors.as_chunks::<4>();
            for (i, [f0, f1, f2, f3]) in fours.iter().enumerate() {
                let (r0, r1, r2, r3) = (of(4 * i), of(4 * i + 1), of(4 * i + 2), of(4 * i + 3));
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum += f0 * r0[j] + f1 * r1[j] + f2 * r2[j] + f3 * r3[j];
                }
            }
            for (i, factor) in rest.iter().enumerate() {
                for (sum, value) in sums.iter_mut().zip(of(4 * fours.len() + i)) {
                    *sum += factor * value;
                }
            }
            for (value, sum) in out[at..at + length].iter_mut().zip(sums) {
                *value += self.scale * *sum;
            }
            at += length;
        }
    }
}

/// Of `[rows, columns]`.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut transposed = vec![0.0; rows * columns];
    for row in 0..rows {
        for column in 0..columns {
            transposed[column * rows + row] = values[row * columns + column];
        }
    }
    transposed
}
