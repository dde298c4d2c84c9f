//! Inner products of vectors, in f64: all that angles, norms and means on the sphere need to know of a tensor.

use super::super::error::MergeError;
use super::super::pool::Pool;
use super::operands::Operands;

/// The inner products of some vectors, symmetric.
#[derive(Debug, Clone, PartialEq)]
pub struct Gram {
    size: usize,
    products: Vec<f64>,
}

impl Gram {
    pub fn new(size: usize) -> Self {
        Self { size, products: vec![0.0; size * size] }
    }

    pub fn size(&self) -> usize {
        self.size
    }

    pub fn get(&self, i: usize, j: usize) -> f64 {
        self.products[i * self.size + j]
    }

    /// The length of a vector.
    pub fn norm(&self, i: usize) -> f64 {
        self.get(i, i).max(0.0).sqrt()
    }

    /// The inner product of two combinations of the vectors.
    pub fn product(&self, a: &[f64], b: &[f64]) -> f64 {
        let row = |i: usize| (0..self.size).map(|j| self.get(i, j) * b[j]).sum::<f64>();
        (0..self.size).map(|i| a[i] * row(i)).sum()
    }

    /// The products of rows that lie in memory.
    pub fn of(&mut self, rows: &[&[f32]]) {
        for i in 0..self.size {
            for j in 0..=i {
                let product = dot(rows[i], rows[j]);
                (self.products[i * self.size + j], self.products[j * self.size + i]) = (product, product);
            }
        }
    }

    /// Add the products of one element of each vector.
    pub fn add_products(&mut self, element: impl Fn(usize) -> f32) {
        for i in 0..self.size {
            for j in 0..self.size {
                self.products[i * self.size + j] += f64::from(element(i)) * f64::from(element(j));
            }
        }
    }

    fn add(&mut self, other: &Self) {
        for (sum, product) in self.products.iter_mut().zip(&other.products) {
            *sum += product;
        }
    }
}

/// Of whole tensors.
///
/// # Errors
/// A tensor that cannot be read.
pub fn of_tensor(pool: &Pool<'_>, operands: &Operands<'_>) -> Result<Gram, MergeError> {
    let size = operands.models.len();
    let (pieces, _) = pool.each(
        operands.pieces(),
        || operands.buffers(),
        |buffers, piece| {
            let range = operands.load(buffers, piece)?;
            let rows: Vec<&[f32]> = buffers.vectors.iter().map(|vector| &vector[..range.len()]).collect();
            let mut gram = Gram::new(size);
            gram.of(&rows);
            Ok(gram)
        },
    )?;
    let mut total = Gram::new(size);
    for piece in &pieces {
        total.add(piece);
    }
    Ok(total)
}

/// In eight sums that run side by side.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let ((a_eights, a_rest), (b_eights, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0_f64; 8];
    for (a, b) in a_eights.iter().zip(b_eights) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    sums.iter().sum::<f64>() + rest
}
