//! Arcee fusion: differences whose importance, their size times the divergence of their row from the base's, is an
//! outlier: at or above the median plus 1.5 times the distance between the quartiles.
//!
//! The quartiles are those of all elements, where mergekit draws a million at random from larger tensors. Divergences are
//! summed in f64: those of close rows are smaller than what f32 sums lose.

use std::ops::Range;

use super::super::error::MergeError;
use super::super::pool::Pool;
use super::derived::Derived;
use super::operands::{Buffers, Operands};
use super::select::{of_key, ranks};

/// The divergence of each row, and from which importance on a difference counts.
pub struct Outliers {
    divergences: Vec<f32>,
    threshold: f32,
}

impl Outliers {
    /// # Errors
    /// A tensor that cannot be read.
    pub fn find(pool: &Pool<'_>, operands: &Operands<'_>) -> Result<Self, MergeError> {
        let row = operands.row();
        let (pieces, _) = pool.each(
            operands.pieces(),
            || operands.buffers(),
            |buffers, piece| {
                let range = operands.load(buffers, piece)?;
                let (base, difference) = (&buffers.base[..range.len()], &buffers.vectors[0][..range.len()]);
                let rows = base.chunks(row).zip(difference.chunks(row));
                Ok(rows.map(|(base, difference)| divergence(base, difference) as f32).collect::<Vec<f32>>())
            },
        )?;
        let divergences = pieces.concat();
        let importances =
            |buffers: &mut Buffers, range: Range<usize>, take: &mut dyn FnMut(usize, &[f32])| {
                let values = &mut buffers.vectors[0][..range.len()];
                for (at, value) in values.iter_mut().enumerate() {
                    *value = value.abs() * divergences[(range.start + at) / row];
                }
                take(0, values);
            };
        let stream = Derived { operands, width: 1, numbers: importances };
        let last = operands.len().saturating_sub(1) as f32;
        let quartile = |share: f32| (share * last) as u64;
        let found = ranks(pool, &stream, &[vec![quartile(0.25), quartile(0.5), quartile(0.75)]])?;
        let values: Vec<f32> = found[0].iter().map(|rank| of_key(rank.key)).collect();
        let threshold = values[1] + 1.5 * (values[2] - values[0]);
        Ok(Self { divergences, threshold })
    }

    /// The differences of a piece that count, the others zero.
    pub fn cut(&self, row: usize, start: usize, differences: &[f32], out: &mut [f32]) {
        for (at, (out, difference)) in out.iter_mut().zip(differences).enumerate() {
            let importance = difference.abs() * self.divergences[(start + at) / row];
            *out = if importance >= self.threshold { *difference } else { 0.0 };
        }
    }
}

/// KL of the softmax of a row from that of the base's row.
fn divergence(base: &[f32], difference: &[f32]) -> f64 {
    let other = |at: usize| f64::from(base[at]) + f64::from(difference[at]);
    let largest = |value: &dyn Fn(usize) -> f64| (0..base.len()).map(value).fold(f64::MIN, f64::max);
    let own = |at: usize| f64::from(base[at]);
    let (most, most_own) = (largest(&other), largest(&own));
    let sum: f64 = (0..base.len()).map(|at| (other(at) - most).exp()).sum();
    let sum_own: f64 = (0..base.len()).map(|at| (own(at) - most_own).exp()).sum();
    let floor = 1e-8;
    let term = |at: usize| {
        let p = (other(at) - most).exp() / sum + floor;
        let q = (own(at) - most_own).exp() / sum_own + floor;
        p * (p / q).ln()
    };
    (0..base.len()).map(term).sum()
}
