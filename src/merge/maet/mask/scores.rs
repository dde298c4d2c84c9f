//! How much each neuron of a tensor changed, as a stream that can be read again.

use super::super::super::error::MergeError;
use super::super::super::pool::Pool;
use super::super::super::stages::select::Stream;
use super::super::super::stages::{Buffers, Operands};
use super::neurons::{Matrix, norms};
use crate::weights::Neurons;

/// Neurons of a piece of those that lie in memory.
const PIECE: usize = 32 << 10;

pub struct Scores<'a> {
    /// The one vector of which is the change.
    pub operands: &'a Operands<'a>,
    /// Of whole rows or columns, with the neuron that an element is part of. `None`: each element is one.
    pub neurons: Option<(Matrix, Vec<f32>)>,
}

impl<'a> Scores<'a> {
    /// # Errors
    /// A tensor that cannot be read, `Undefined` for one that is not finite.
    pub fn of(pool: &Pool<'_>, operands: &'a Operands<'a>, neurons: Neurons) -> Result<Self, MergeError> {
        let matrix = Matrix::of(operands.shape, neurons);
        let neurons = matrix.map(|matrix| Ok::<_, MergeError>((matrix, norms(pool, operands, matrix)?)));
        Ok(Self { operands, neurons: neurons.transpose()? })
    }

    /// The sizes of the changes of a piece of elements, in the first of the buffers' vectors.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn changes<'b>(
        operands: &Operands<'_>,
        buffers: &'b mut Buffers,
        piece: usize,
    ) -> Result<&'b [f32], MergeError> {
        let size = operands.load(buffers, piece)?.len();
        let changes = &mut buffers.vectors[0][..size];
        for change in &mut *changes {
            *change = change.abs();
        }
        if changes.iter().all(|change| change.is_finite()) {
            return Ok(changes);
        }
        let why = "the difference from the base has numbers that are not finite";
        Err(MergeError::Undefined { tensor: operands.name.to_owned(), why })
    }
}

impl Stream for Scores<'_> {
    type Scratch = Buffers;

    fn pieces(&self) -> usize {
        match &self.neurons {
            None => self.operands.pieces(),
            Some((_, norms)) => norms.len().div_ceil(PIECE),
        }
    }

    fn scratch(&self) -> Buffers {
        self.operands.buffers()
    }

    fn width(&self) -> usize {
        1
    }

    fn visit(
        &self,
        scratch: &mut Buffers,
        piece: usize,
        take: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), MergeError> {
        match &self.neurons {
            None => take(0, Self::changes(self.operands, scratch, piece)?),
            Some((_, norms)) => take(0, &norms[piece * PIECE..((piece + 1) * PIECE).min(norms.len())]),
        }
        Ok(())
    }
}
