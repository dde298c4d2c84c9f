//! Vectors along the first axis: the columns of a matrix, in strips, so that memory does not grow with their number.

use super::super::error::MergeError;
use super::super::pool::Pool;
use super::operands::Operands;
use super::recipe::{Combine, Vectors};
use super::sphere::coefficients;
use super::{Sink, gram::Gram};

/// Columns of a strip; whole GGUF blocks.
const STRIP: usize = 4096;

/// Merge a tensor column by column. Each strip is read twice: for its inner products, and for the result.
///
/// # Errors
/// A tensor that cannot be read, `Undefined`, what the sink says.
pub fn merge(
    pool: &Pool<'_>,
    combine: &Combine,
    operands: &Operands<'_>,
    sink: &Sink<'_>,
) -> Result<(), MergeError> {
    let rows = operands.shape.first().copied().unwrap_or(1);
    let columns = operands.len() / rows.max(1);
    let size = operands.models.len();
    pool.each(
        columns.div_ceil(STRIP),
        || Strip { base: vec![0.0; STRIP], vectors: vec![vec![0.0; STRIP]; size], out: vec![0.0; STRIP] },
        |strip, at| {
            let start = at * STRIP;
            let width = STRIP.min(columns - start);
            let mut grams = vec![Gram::new(size); width];
            for row in 0..rows {
                strip.load(operands, row * columns + start, width)?;
                for (column, gram) in grams.iter_mut().enumerate() {
                    gram.add_products(|vector| strip.vectors[vector][column]);
                }
            }
            let undefined = |why| MergeError::Undefined { tensor: operands.name.to_owned(), why };
            let weights: Vec<Vec<f64>> = grams
                .iter()
                .map(|gram| coefficients(combine, gram).map_err(undefined))
                .collect::<Result<_, _>>()?;
            for row in 0..rows {
                strip.load(operands, row * columns + start, width)?;
                let Strip { base, vectors, out } = &mut *strip;
                for (column, out) in out[..width].iter_mut().enumerate() {
                    let terms = weights[column].iter().zip(&*vectors);
                    let sum: f32 = terms.map(|(weight, vector)| *weight as f32 * vector[column]).sum();
                    *out = if operands.vectors == Vectors::Differences { sum + base[column] } else { sum };
                }
                sink(row * columns + start, &out[..width])?;
            }
            Ok(())
        },
    )?;
    Ok(())
}

/// One thread's part of a row of every tensor.
struct Strip {
    base: Vec<f32>,
    vectors: Vec<Vec<f32>>,
    out: Vec<f32>,
}

impl Strip {
    fn load(&mut self, operands: &Operands<'_>, from: usize, width: usize) -> Result<(), MergeError> {
        if let Some(base) = operands.base {
            base.read(from, &mut self.base[..width])?;
        }
        for (model, vector) in operands.models.iter().zip(&mut self.vectors) {
            model.read(from, &mut vector[..width])?;
            if operands.vectors == Vectors::Differences {
                for (value, base) in vector[..width].iter_mut().zip(&self.base) {
                    *value -= base;
                }
            }
        }
        Ok(())
    }
}
