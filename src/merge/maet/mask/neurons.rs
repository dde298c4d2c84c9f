//! Rows and columns as neurons: the Euclidean norms of their changes, summed in f64 over fixed parts in order.

use super::super::super::error::MergeError;
use super::super::super::pool::Pool;
use super::super::super::stages::Operands;
use super::scores::Scores;
use crate::weights::Neurons;

/// A tensor seen as a matrix whose rows, or columns, are neurons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    by_columns: bool,
}

impl Matrix {
    /// `None` where each element is a neuron: if asked for, and in vectors.
    pub fn of(shape: &[usize], neurons: Neurons) -> Option<Self> {
        let (first, last) = match shape {
            [first, .., last] => (*first, *last),
            _ => return None,
        };
        let all: usize = shape.iter().product();
        match neurons {
            Neurons::Element => None,
            Neurons::Row => Some(Self { rows: first, columns: all / first.max(1), by_columns: false }),
            Neurons::Column => Some(Self { rows: all / last.max(1), columns: last, by_columns: true }),
        }
    }

    fn neurons(self) -> usize {
        if self.by_columns { self.columns } else { self.rows }
    }

    /// The neuron that an element is part of.
    pub fn neuron(self, element: usize) -> usize {
        if self.by_columns { element % self.columns } else { element / self.columns }
    }
}

/// Parts of a tensor whose neurons are summed up one by one; each takes memory for those that it meets.
const PARTS: usize = 16;

/// # Errors
/// A tensor that cannot be read, `Undefined` for a norm that is not finite.
pub fn norms(pool: &Pool<'_>, operands: &Operands<'_>, matrix: Matrix) -> Result<Vec<f32>, MergeError> {
    let pieces = operands.pieces();
    let share = pieces.div_ceil(PARTS).max(1);
    let (parts, _) = pool.each(
        pieces.div_ceil(share),
        || operands.buffers(),
        |buffers, part| {
            let range = part * share..((part + 1) * share).min(pieces);
            let elements = operands.range(range.start).start..operands.range(range.end - 1).end;
            let (first, met) = met(matrix, elements.start, elements.end);
            let mut sums = vec![0.0_f64; met];
            for piece in range {
                let start = operands.range(piece).start;
                for (at, change) in Scores::changes(operands, buffers, piece)?.iter().enumerate() {
                    sums[matrix.neuron(start + at) - first] += f64::from(*change).powi(2);
                }
            }
            Ok((first, sums))
        },
    )?;
    let mut total = vec![0.0_f64; matrix.neurons()];
    for (first, sums) in parts {
        total[first..].iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
    let norms: Vec<f32> = total.into_iter().map(|sum| sum.sqrt() as f32).collect();
    if norms.iter().all(|norm| norm.is_finite()) {
        return Ok(norms);
    }
    let why = "the difference from the base has a row or column whose norm is not finite in f32";
    Err(MergeError::Undefined { tensor: operands.name.to_owned(), why })
}

/// The first neuron that a run of elements is part of, and how many it may be part of from there on.
fn met(matrix: Matrix, start: usize, end: usize) -> (usize, usize) {
    if matrix.by_columns || start >= end {
        return (0, matrix.neurons());
    }
    let first = matrix.neuron(start);
    (first, matrix.neuron(end - 1) + 1 - first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_matrices() {
        let check = |shape: &[usize], neurons: Neurons, expected: Option<(usize, &[usize])>| {
            let matrix = Matrix::of(shape, neurons);
            let found = matrix.map(|matrix| {
                let of_elements = (0..shape.iter().product()).map(|element| matrix.neuron(element)).collect();
                (matrix.neurons(), of_elements)
            });
            assert_eq!(
                found,
                expected.map(|(count, of_elements)| (count, of_elements.to_vec())),
                "{shape:?}"
            );
        };
        check(&[2, 3], Neurons::Element, None);
        check(&[6], Neurons::Row, None);
        check(&[], Neurons::Column, None);
        check(&[2, 3], Neurons::Row, Some((2, &[0, 0, 0, 1, 1, 1])));
        check(&[2, 3], Neurons::Column, Some((3, &[0, 1, 2, 0, 1, 2])));
        check(&[2, 1, 2], Neurons::Row, Some((2, &[0, 0, 1, 1])));
        check(&[2, 2, 2], Neurons::Column, Some((2, &[0, 1, 0, 1, 0, 1, 0, 1])));
        check(&[0, 3], Neurons::Row, Some((0, &[])));
    }
}
