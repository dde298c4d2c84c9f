//! The tensors of one merge, in pieces of whole rows or of a fixed length.

use std::ops::Range;

use super::super::elements::{ALIGNMENT, Elements};
use super::super::error::MergeError;
use super::recipe::Vectors;

/// Elements of a piece: 128 KiB of f32, so that a few vectors of a piece stay in a core's second-level cache.
const PIECE: usize = 32 << 10;

/// Elements of a piece; whole rows where they are needed.
pub fn piece_length(shape: &[usize], by_rows: bool) -> usize {
    let row = shape.last().copied().unwrap_or(1).max(1);
    match by_rows {
        false => PIECE,
        true if row >= PIECE => row,
        true => PIECE / row * row,
    }
}

/// What goes into a merge: all tensors have the same shape.
pub struct Operands<'a> {
    pub name: &'a str,
    pub shape: &'a [usize],
    pub base: Option<&'a dyn Elements>,
    /// Without the base where the method merges differences.
    pub models: Vec<&'a dyn Elements>,
    pub vectors: Vectors,
    /// Elements of a piece.
    piece: usize,
}

/// One thread's piece of every tensor.
pub struct Buffers {
    pub base: Vec<f32>,
    pub vectors: Vec<Vec<f32>>,
    pub out: Vec<f32>,
    /// Room for ranks.
    pub order: Vec<u64>,
}

impl<'a> Operands<'a> {
    /// `by_rows`: pieces hold whole rows, of the last axis.
    pub fn new(
        name: &'a str,
        shape: &'a [usize],
        base: Option<&'a dyn Elements>,
        models: Vec<&'a dyn Elements>,
        vectors: Vectors,
        by_rows: bool,
    ) -> Self {
        debug_assert!(PIECE.is_multiple_of(ALIGNMENT));
        Self { name, shape, base, models, vectors, piece: piece_length(shape, by_rows) }
    }

    /// With one of the models alone.
    pub fn only(&self, model: usize) -> Self {
        Self { models: vec![self.models[model]], ..*self }
    }

    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Length of the last axis.
    pub fn row(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    pub fn pieces(&self) -> usize {
        self.len().div_ceil(self.piece)
    }

    /// The piece that begins at an element.
    pub fn piece_at(&self, start: usize) -> usize {
        start / self.piece
    }

    pub fn range(&self, piece: usize) -> Range<usize> {
        let start = piece * self.piece;
        start..(start + self.piece).min(self.len())
    }

    pub fn buffers(&self) -> Buffers {
        let size = self.piece.min(self.len());
        Buffers {
            base: vec![0.0; if self.base.is_some() { size } else { 0 }],
            vectors: vec![vec![0.0; size]; self.models.len()],
            out: vec![0.0; size],
            order: Vec::new(),
        }
    }

    /// Whether a piece holds numbers alone: signs, ranks and sums of anything else mean nothing.
    ///
    /// # Errors
    /// `Undefined`.
    pub fn check_finite(&self, buffers: &Buffers, size: usize) -> Result<(), MergeError> {
        let base = &buffers.base[..size.min(buffers.base.len())];
        let all = buffers.vectors.iter().map(|vector| &vector[..size]).chain([base]);
        let is_finite =
            |values: &[f32]| !values.iter().fold(false, |found, value| found | !value.is_finite());
        if all.into_iter().all(is_finite) {
            return Ok(());
        }
        let why = "an input holds numbers that are infinite or none (NaN): the checkpoint is damaged, or its training \
                   diverged";
        Err(MergeError::Undefined { tensor: self.name.to_owned(), why })
    }

    /// Read a piece of all tensors and make vectors of them.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn load(&self, buffers: &mut Buffers, piece: usize) -> Result<Range<usize>, MergeError> {
        let range = self.range(piece);
        let size = range.len();
        if let Some(base) = self.base {
            base.read(range.start, &mut buffers.base[..size])?;
        }
        for (model, vector) in self.models.iter().zip(&mut buffers.vectors) {
            model.read(range.start, &mut vector[..size])?;
            if self.vectors == Vectors::Differences {
                for (value, base) in vector[..size].iter_mut().zip(&buffers.base[..size]) {
                    *value -= base;
                }
            }
        }
        Ok(range)
    }
}
