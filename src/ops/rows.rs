//! Reading the operands of an operation: contiguous f32 on the CPU, or an error that says which is not.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Layout, Result};

use super::shape_error;

/// The elements of an operand.
pub(super) fn contiguous_f32<'a>(
    op: &'static str,
    operand: &str,
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<&'a [f32]> {
    let CpuStorage::F32(elements) = storage else {
        return Err(shape_error(op, format!("{operand} must be f32, it is {:?}", storage.dtype())));
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&elements[start..end]),
        None => Err(shape_error(op, format!("{operand} must be contiguous, its layout is {layout:?}"))),
    }
}

/// The rows along the last dimension: their number and width.
pub(super) fn rows_of(op: &'static str, operand: &str, layout: &Layout) -> Result<(usize, usize)> {
    match layout.shape().dims().split_last() {
        Some((&width, rows)) if width > 0 => Ok((rows.iter().product(), width)),
        _ => Err(shape_error(op, format!("{operand} of shape {:?} has no rows", layout.shape().dims()))),
    }
}
