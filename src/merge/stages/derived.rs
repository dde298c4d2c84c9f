//! Numbers that follow from a tensor's vectors piece by piece, as a stream whose order statistics can be asked for.

use std::ops::Range;

use super::super::error::MergeError;
use super::operands::{Buffers, Operands};
use super::select::Stream;

/// Makes a piece's numbers from its loaded vectors and hands each sequence of them on.
pub struct Derived<'a, F> {
    pub operands: &'a Operands<'a>,
    /// Sequences side by side.
    pub width: usize,
    pub numbers: F,
}

impl<F> Stream for Derived<'_, F>
where
    F: Fn(&mut Buffers, Range<usize>, &mut dyn FnMut(usize, &[f32])) + Sync,
{
    type Scratch = Buffers;

    fn pieces(&self) -> usize {
        self.operands.pieces()
    }

    fn scratch(&self) -> Buffers {
        self.operands.buffers()
    }

    fn width(&self) -> usize {
        self.width
    }

    fn visit(
        &self,
        buffers: &mut Buffers,
        piece: usize,
        take: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), MergeError> {
        let range = self.operands.load(buffers, piece)?;
        (self.numbers)(buffers, range, take);
        Ok(())
    }
}
