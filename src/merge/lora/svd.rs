//! The truncated singular value decomposition of a large matrix.
//!
//! Where the shorter side is short, exactly, from the products of its rows. Otherwise by subspace iteration from a seeded
//! random start (Halko, Martinsson, Tropp 2011, Finding structure with randomness, algorithms 4.4 and 5.1), for as long as an
//! iteration takes a noticeable part of what is left: differences of weights have flat spectra. What the factors leave is
//! then within some thousandths of the least that any of that rank leave. Single values of a flat part of the spectrum, where one
//! vector is as good as another, are less exact (within some hundredths).
//!
//! Large products are candle's, in f32 with the matrix and in f64 among the subspace's own vectors. The start does not
//! depend on anything but the shape: the same matrix gives the same factors.

use candle_core::{DType, Device, Result, Tensor};

use super::factors::Cholesky;

/// Shorter sides up to this are done exactly.
const EXACT_MAX: usize = 256;
/// Vectors beyond the rank: a tenth-of-a-millionth chance to miss something (Halko et al., section 4.2), and a quarter of
/// the rank, with which flat spectra need fewer iterations.
const OVERSAMPLING: usize = 10;
/// An iteration that takes less than this part of the energy that was left is the last.
const GROWTH: f64 = 1e-4;
/// What is left, as a part of the whole, when there is only rounding.
const NOTHING: f64 = 1e-12;
const ITERATIONS_MAX: usize = 24;

/// A matrix in memory.
pub struct Matrix {
    values: Tensor,
    rows: usize,
    columns: usize,
    energy: f64,
}

/// `sum of value * left right^T`, largest value first.
pub struct Svd {
    pub values: Vec<f64>,
    /// `[rank, rows]`
    pub left: Vec<f32>,
    /// `[rank, columns]`
    pub right: Vec<f32>,
}

impl Matrix {
    /// Of row-major values.
    ///
    /// # Errors
    /// A length that is not that of the shape.
    pub fn new(values: Vec<f32>, rows: usize, columns: usize) -> Result<Self> {
        let energy = values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
        let values = Tensor::from_vec(values, (rows, columns), &Device::Cpu)?;
        Ok(Self { values, rows, columns, energy })
    }

    /// The sum of squares, which is that of the singular values.
    pub fn energy(&self) -> f64 {
        self.energy
    }

    pub fn rank_max(&self) -> usize {
        self.rows.min(self.columns)
    }
}

/// The largest singular values and their vectors, at most `rank`; fewer where the matrix has fewer.
///
/// # Errors
/// Memory that cannot be had.
pub fn truncated(matrix: &Matrix, rank: usize) -> Result<Svd> {
    let found = if matrix.rank_max() <= EXACT_MAX { exact(matrix)? } else { iterated(matrix, rank)? };
    let rank = rank.min(found.values.len());
    let rows = |tensor: &Tensor| -> Result<Vec<f32>> {
        tensor.narrow(0, 0, rank)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
    };
    Ok(Svd { left: rows(&found.left)?, right: rows(&found.right)?, values: found.values[..rank].to_vec() })
}

impl Svd {
    /// The first of them.
    #[must_use]
    pub fn cut(mut self, rank: usize) -> Self {
        if rank < self.values.len() {
            let share = |rows: &[f32]| rows.len() / self.values.len() * rank;
            let (left, right) = (share(&self.left), share(&self.right));
            self.left.truncate(left);
            self.right.truncate(right);
            self.values.truncate(rank);
        }
        self
    }
}

/// As [`Svd`], not yet cut.
struct Found {
    values: Vec<f64>,
    left: Tensor,
    right: Tensor,
}

fn exact(matrix: &Matrix) -> Result<Found> {
    let values = matrix.values.to_dtype(DType::F64)?;
    let is_wide = matrix.rows <= matrix.columns;
    let rows = if is_wide { values } else { values.t()?.contiguous()? };
    let (values, left, right) = of_rows(&rows)?;
    let (left, right) = if is_wide { (left, right) } else { (right, left) };
    Ok(Found { values, left, right })
}

fn iterated(matrix: &Matrix, rank: usize) -> Result<Found> {
    let size = (rank + rank / 4 + OVERSAMPLING).min(matrix.rank_max());
    let transposed = matrix.values.t()?;
    let mut start = Tensor::from_vec(signs(size * matrix.columns), (size, matrix.columns), &Device::Cpu)?;
    let (mut energy, mut iteration) = (0.0, 0);
    loop {
        let subspace = orthonormal(&start.matmul(&transposed)?.to_dtype(DType::F64)?)?; // [size, rows]
        let inside = subspace.to_dtype(DType::F32)?.matmul(&matrix.values)?.to_dtype(DType::F64)?; // [size, columns]
        let (before, now) = (energy, inside.sqr()?.sum_all()?.to_scalar::<f64>()?);
        iteration += 1;
        let left = (matrix.energy - now).max(NOTHING * matrix.energy);
        if now - before <= GROWTH * left || iteration == ITERATIONS_MAX {
            let (values, turn, right) = of_rows(&inside)?;
            return Ok(Found { values, left: turn.matmul(&subspace)?, right });
        }
        energy = now;
        start = orthonormal(&inside)?.to_dtype(DType::F32)?;
    }
}

/// The decomposition of a few long rows, in f64.
fn of_rows(rows: &Tensor) -> Result<(Vec<f64>, Tensor, Tensor)> {
    let (size, length) = rows.dims2()?;
    let (values, vectors) = cholesky(rows)?.singular();
    let rank = values.len();
    if rank == 0 {
        let none = |length| Tensor::zeros((0, length), DType::F64, &Device::Cpu);
        return Ok((values, none(size)?, none(length)?));
    }
    let left = Tensor::from_vec(vectors.concat(), (rank, size), &Device::Cpu)?;
    let inverse: Vec<f64> = values.iter().map(|value| value.recip()).collect();
    let inverse = Tensor::from_vec(inverse, (rank, 1), &Device::Cpu)?;
    let right = left.matmul(rows)?.broadcast_mul(&inverse)?;
    Ok((values, left, right))
}

/// Orthonormal rows for the same space, twice over, for the first time is as good as the rows are independent.
fn orthonormal(rows: &Tensor) -> Result<Tensor> {
    let mut rows = rows.clone();
    for _ in 0..2 {
        let size = rows.dim(0)?;
        let cholesky = cholesky(&rows)?;
        let rank = cholesky.columns.len();
        if rank == 0 {
            // All are zero; one of them says so too.
            return rows.narrow(0, 0, 1);
        }
        rows = Tensor::from_vec(cholesky.inverse(size), (rank, size), &Device::Cpu)?.matmul(&rows)?;
    }
    Ok(rows)
}

fn cholesky(rows: &Tensor) -> Result<Cholesky> {
    let products = rows.matmul(&rows.t()?)?.flatten_all()?.to_vec1()?;
    Ok(Cholesky::new(&products, rows.dim(0)?))
}

/// Random signs, which serve as well as normal numbers: bits of SplitMix64 (Steele, Lea, Flood 2014).
fn signs(count: usize) -> Vec<f32> {
    let draw = |word: u64| {
        let mut z = word.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    (0..count).map(|at| if draw(at as u64 / 64) >> (at % 64) & 1 == 1 { 1.0 } else { -1.0 }).collect()
}
