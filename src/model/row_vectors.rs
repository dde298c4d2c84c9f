//! Rows of a batch whose input is a vector of its own and not a token's embedding: what an encoder's states become in
//! the decoder's space.

use candle_core::{Device, Result, Tensor};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowVectors {
    /// Rows of the batch, ascending; their ids must be in the vocabulary and play no part.
    pub rows: Vec<u32>,
    /// `[rows, hidden]`, flat.
    pub values: Vec<f32>,
}

impl RowVectors {
    /// The embeddings `[total_tokens, hidden]` with the vectors in their rows.
    ///
    /// # Errors
    /// Vectors of another width, or a row outside of the batch.
    pub fn put_over(&self, embedded: Tensor) -> Result<Tensor> {
        if self.rows.is_empty() {
            return Ok(embedded);
        }
        let (tokens, hidden) = embedded.dims2()?;
        if self.values.len() != self.rows.len() * hidden {
            candle_core::bail!(
                "{} vectors of {hidden} take {} numbers, not {}",
                self.rows.len(),
                self.rows.len() * hidden,
                self.values.len()
            );
        }
        let mut values = embedded.flatten_all()?.to_vec1::<f32>()?;
        for (row, vector) in self.rows.iter().zip(self.values.chunks_exact(hidden)) {
            let start = *row as usize * hidden;
            let Some(place) = values.get_mut(start..start + hidden) else {
                candle_core::bail!("row {row} is not in a batch of {tokens}");
            };
            place.copy_from_slice(vector);
        }
        Tensor::from_vec(values, (tokens, hidden), &Device::Cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(rows: &[u32], values: &[f32]) -> Result<Vec<f32>> {
        let embedded = Tensor::new(&[[1.0_f32, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::Cpu)?;
        let vectors = RowVectors { rows: rows.to_vec(), values: values.to_vec() };
        vectors.put_over(embedded)?.flatten_all()?.to_vec1()
    }

    #[test]
    fn vectors_take_the_place_of_embeddings() {
        assert_eq!(put(&[], &[]).unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(put(&[0, 2], &[7.0, 8.0, 9.0, 0.5]).unwrap(), [7.0, 8.0, 3.0, 4.0, 9.0, 0.5]);
        assert!(put(&[3], &[7.0, 8.0]).unwrap_err().to_string().contains("row 3"));
        assert!(put(&[0], &[7.0]).unwrap_err().to_string().contains("1 vectors of 2"));
    }
}
