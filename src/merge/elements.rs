//! The numbers of a tensor, read in f32 a piece at a time, so that no step holds a whole tensor.

use crate::weights::{TensorView, WeightsError};

/// Reading starts at multiples of this many elements, and pieces but the last are multiples of it: whole GGUF blocks.
pub const ALIGNMENT: usize = 256;

/// A tensor, flat and row-major.
pub trait Elements: Send + Sync {
    /// Fill `out` with the elements from `from` on. `from` is a multiple of [`ALIGNMENT`], or the start of a row.
    ///
    /// # Errors
    /// A type that has no reader, or rows that begin inside a block.
    fn read(&self, from: usize, out: &mut [f32]) -> Result<(), WeightsError>;
}

impl Elements for TensorView<'_> {
    fn read(&self, from: usize, out: &mut [f32]) -> Result<(), WeightsError> {
        self.read_f32(from, out)
    }
}
