//! Small symmetric matrices in f64: the Cholesky factor and the singular values and vectors behind it.
//!
//! With `G = Y Y^T` for a few long rows `Y`, the left singular vectors of `Y` are the eigenvectors of `G`. They are found as
//! Veselic and Hari 1989 (A note on a one-sided Jacobi algorithm) do: pivoted Cholesky, then one-sided Jacobi on the factor.
//! `Y` holds f32, so that squaring it in f64 loses nothing above a ten-millionth of the largest singular value.

/// Diagonals smaller than this part of the largest are rounding.
const DEPENDENT: f64 = 1e-15;
/// Cosines that count as none.
const ORTHOGONAL: f64 = 1e-13;
/// Sweeps after which Jacobi ends in any case; it needs about six.
const SWEEPS_MAX: usize = 30;

/// The columns of a pivoted Cholesky factor: `G = sum of c c^T`, in order of falling pivots, as many as `G` has rank.
pub struct Cholesky {
    pub columns: Vec<Vec<f64>>,
    /// The row that each column began at.
    pub pivots: Vec<usize>,
}

impl Cholesky {
    /// Of a symmetric `[size, size]` matrix without negative eigenvalues.
    pub fn new(matrix: &[f64], size: usize) -> Self {
        let mut diagonal: Vec<f64> = (0..size).map(|i| matrix[i * size + i]).collect();
        let largest = diagonal.iter().copied().fold(0.0, f64::max);
        let mut found = Self { columns: Vec::new(), pivots: Vec::new() };
        while found.columns.len() < size {
            let Some(pivot) = (0..size).max_by(|i, j| diagonal[*i].total_cmp(&diagonal[*j])) else { break };
            let height = diagonal[pivot];
            if height.is_nan() || height <= largest * DEPENDENT * size as f64 {
                break;
            }
            let mut column = matrix[pivot * size..][..size].to_vec();
            for before in &found.columns {
                add(&mut column, -before[pivot], before);
            }
            let root = height.sqrt();
            for (i, value) in column.iter_mut().enumerate() {
                *value = if found.pivots.contains(&i) { 0.0 } else { *value / root };
                diagonal[i] -= *value * *value;
            }
            column[pivot] = root;
            diagonal[pivot] = f64::NEG_INFINITY;
            found.pivots.push(pivot);
            found.columns.push(column);
        }
        found
    }

    /// `[rank, size]`: what makes orthonormal rows of the rows whose products the matrix held.
    pub fn inverse(&self, size: usize) -> Vec<f64> {
        let rank = self.columns.len();
        let mut inverse = vec![0.0; rank * size];
        for (row, pivot) in self.pivots.iter().enumerate() {
            let (done, rest) = inverse.split_at_mut(row * size);
            let current = &mut rest[..size];
            current[*pivot] = 1.0;
            for (before, column) in self.columns[..row].iter().enumerate() {
                add(current, -column[*pivot], &done[before * size..][..size]);
            }
            let scale = self.columns[row][*pivot].recip();
            for value in current {
                *value *= scale;
            }
        }
        inverse
    }

    /// Singular values of the factor, largest first, and its left singular vectors.
    pub fn singular(mut self) -> (Vec<f64>, Vec<Vec<f64>>) {
        rotate_apart(&mut self.columns);
        let mut found: Vec<(f64, Vec<f64>)> =
            self.columns.into_iter().map(|column| (dot(&column, &column).sqrt(), column)).collect();
        found.retain(|(value, _)| *value > 0.0);
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (value, column) in &mut found {
            for element in column {
                *element /= *value;
            }
        }
        found.into_iter().unzip()
    }
}

/// One-sided Jacobi: rotates pairs of vectors until all are orthogonal.
fn rotate_apart(vectors: &mut [Vec<f64>]) {
    for _ in 0..SWEEPS_MAX {
        let mut squares: Vec<f64> = vectors.iter().map(|vector| dot(vector, vector)).collect();
        let mut is_done = true;
        for second in 1..vectors.len() {
            let (firsts, rest) = vectors.split_at_mut(second);
            for (first, p) in firsts.iter_mut().enumerate() {
                let q = &mut rest[0];
                let (alpha, beta, gamma) = (squares[first], squares[second], dot(p, q));
                if gamma.abs() <= ORTHOGONAL * (alpha * beta).sqrt() {
                    continue;
                }
                is_done = false;
                let zeta = (beta - alpha) / (2.0 * gamma);
                let tangent = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
                let cosine = tangent.hypot(1.0).recip();
                rotate(p, q, cosine, cosine * tangent);
                squares[first] = alpha - tangent * gamma;
                squares[second] = beta + tangent * gamma;
            }
        }
        if is_done {
            break;
        }
    }
}

fn rotate(p: &mut [f64], q: &mut [f64], cosine: f64, sine: f64) {
    for (p, q) in p.iter_mut().zip(q) {
        (*p, *q) = (cosine * *p - sine * *q, sine * *p + cosine * *q);
    }
}

fn add(sum: &mut [f64], factor: f64, values: &[f64]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

/// In eight sums that run side by side.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a_eights, a_rest), (b_eights, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a_eights.iter().zip(b_eights) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Y Y^T` of rows.
    fn gram(rows: &[Vec<f64>]) -> Vec<f64> {
        rows.iter().flat_map(|a| rows.iter().map(|b| dot(a, b))).collect()
    }

    #[test]
    fn values_of_a_rank_one_and_of_a_diagonal_matrix() {
        let check = |rows: &[Vec<f64>], expected: &[f64]| {
            let (values, vectors) = Cholesky::new(&gram(rows), rows.len()).singular();
            assert_eq!(values.len(), expected.len(), "{values:?}");
            for (value, expected) in values.iter().zip(expected) {
                assert!((value - expected).abs() < 1e-12 * expected, "{values:?}");
            }
            for vector in vectors {
                assert!((dot(&vector, &vector) - 1.0).abs() < 1e-12);
            }
        };
        check(&[vec![3.0, 0.0], vec![0.0, -4.0]], &[4.0, 3.0]);
        check(&[vec![1.0, 2.0, 2.0], vec![2.0, 4.0, 4.0]], &[45.0_f64.sqrt()]);
        // [[1, 1], [0, 1]] has the golden ratio and its inverse.
        check(&[vec![1.0, 1.0], vec![0.0, 1.0]], &[1.618_033_988_749_895, 0.618_033_988_749_895]);
        check(&[vec![0.0; 3], vec![0.0; 3]], &[]);
        check(&[vec![f64::NAN, 1.0], vec![0.0, 1.0]], &[]);
    }

    #[test]
    fn the_inverse_makes_rows_orthonormal() {
        let rows = [vec![1.0, 2.0, 0.5, 0.0], vec![1.0, -1.0, 0.0, 3.0], vec![2.0, 1.0, 0.5, 3.0]];
        let cholesky = Cholesky::new(&gram(&rows), 3);
        // The third is the sum of the others.
        assert_eq!(cholesky.columns.len(), 2);
        let inverse = cholesky.inverse(3);
        let made: Vec<Vec<f64>> = inverse
            .chunks(3)
            .map(|row| (0..4).map(|at| (0..3).map(|i| row[i] * rows[i][at]).sum()).collect())
            .collect();
        for (at, product) in gram(&made).into_iter().enumerate() {
            let expected = if at % 3 == 0 { 1.0 } else { 0.0 };
            assert!((product - expected).abs() < 1e-12, "{at}: {product}");
        }
    }
}
