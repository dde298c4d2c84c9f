//! The difference of two tensors, and as much of its decomposition as is asked for.

use super::extract::{ExtractError, ExtractOptions};
use super::svd::{Matrix, Svd, truncated};
use crate::weights::{TensorView, WeightsError};

/// Elements that are read at a time: whole blocks of any type.
const PIECE: usize = 64 << 10;
/// The first rank that is tried for an energy.
const RANK_FIRST: usize = 16;
/// Singular values smaller than this part of the largest are the rounding of f32.
const NOISE: f64 = 1e-7;

/// Hands a tensor on in pieces.
///
/// # Errors
/// A type that has no reader, or of `take`.
pub fn pieces<E: From<WeightsError>>(
    view: &TensorView<'_>,
    mut take: impl FnMut(usize, &[f32]) -> Result<(), E>,
) -> Result<(), E> {
    let (elements, mut values) = (view.elements(), vec![0.0; PIECE.min(view.elements())]);
    for start in (0..elements).step_by(PIECE) {
        let piece = &mut values[..PIECE.min(elements - start)];
        view.read_f32(start, piece)?;
        take(start, piece)?;
    }
    Ok(())
}

/// Whether two tensors hold the same numbers.
///
/// # Errors
/// A type that has no reader.
pub fn is_same(base: &TensorView<'_>, tuned: &TensorView<'_>) -> Result<bool, WeightsError> {
    if base.shape != tuned.shape {
        return Ok(false);
    }
    if base.dtype == tuned.dtype {
        return Ok(base.bytes == tuned.bytes);
    }
    let mut same = true;
    let mut other = vec![0.0; PIECE];
    pieces(tuned, |start, values| {
        let other = &mut other[..values.len()];
        base.read_f32(start, other)?;
        same &= values == other;
        Ok::<_, WeightsError>(())
    })?;
    Ok(same)
}

/// `tuned - base` of two matrices.
///
/// # Errors
/// `Tensor`: other shapes, or numbers that are not finite.
pub fn difference(base: &TensorView<'_>, tuned: &TensorView<'_>) -> Result<Matrix, ExtractError> {
    let wrong = |problem| ExtractError::Tensor { tensor: tuned.name.clone(), problem };
    if base.shape != tuned.shape {
        return Err(wrong(
            "has other shapes in the two models, which no adapter brings together; --exclude it",
        ));
    }
    let mut values = vec![0.0; tuned.elements()];
    pieces(tuned, |start, piece| {
        let values = &mut values[start..start + piece.len()];
        base.read_f32(start, values)?;
        values.iter_mut().zip(piece).for_each(|(value, tuned)| *value = tuned - *value);
        Ok::<_, WeightsError>(())
    })?;
    let matrix = Matrix::new(values, tuned.shape[0], tuned.shape[1])?;
    if matrix.energy().is_finite() { Ok(matrix) } else { Err(wrong("has differences that are not finite")) }
}

/// The decomposition, cut where the options say.
///
/// # Errors
/// Memory that cannot be had.
pub fn decompose(matrix: &Matrix, options: &ExtractOptions) -> Result<Svd, ExtractError> {
    let rank_max = options.rank.min(matrix.rank_max());
    let mut rank = if options.energy.is_some() { rank_max.min(RANK_FIRST) } else { rank_max };
    loop {
        let svd = truncated(matrix, rank)?;
        let (kept, is_enough) = kept(&svd.values, matrix.energy(), options);
        if is_enough || rank == rank_max {
            return Ok(svd.cut(kept));
        }
        rank = (2 * rank).min(rank_max);
    }
}

/// How many of the values are kept, and whether that does not depend on those that are not known yet.
fn kept(values: &[f64], total: f64, options: &ExtractOptions) -> (usize, bool) {
    let floor = options.sv_epsilon.max(values.first().map_or(0.0, |largest| largest * NOISE));
    let enough = options.energy.map_or(f64::INFINITY, |energy| energy * total);
    let mut sum = 0.0;
    for (at, value) in values.iter().enumerate() {
        if *value <= floor || sum >= enough {
            return (at, true);
        }
        sum += value * value;
    }
    (values.len(), sum >= enough)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_by_energy_and_size() {
        let check = |energy: Option<f64>, sv_epsilon: f64, values: &[f64], expected: (usize, bool)| {
            let options = ExtractOptions { energy, sv_epsilon, ..ExtractOptions::default() };
            assert_eq!(kept(values, 100.0, &options), expected, "{energy:?} {sv_epsilon}");
        };
        check(None, 0.0, &[8.0, 4.0, 4.0], (3, false));
        check(None, 4.0, &[8.0, 4.0, 4.0], (1, true));
        check(None, 0.0, &[8.0, 1e-7, 1e-8], (1, true));
        check(Some(0.64), 0.0, &[8.0, 4.0, 4.0], (1, true));
        check(Some(0.8), 0.0, &[8.0, 4.0, 4.0], (2, true));
        check(Some(0.97), 0.0, &[8.0, 4.0, 4.0], (3, false));
        check(Some(0.96), 0.0, &[8.0, 4.0, 4.0], (3, true));
        check(Some(0.5), 0.0, &[], (0, false));
    }
}
