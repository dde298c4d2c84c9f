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

/// The elements of an operand `[tokens, heads, head_dim]` from its first on, and how far its tokens are apart. The
/// tokens may be slices of wider rows; the slice then ends with the last token.
pub(super) fn strided_f32<'a>(
    op: &'static str,
    operand: &str,
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<(&'a [f32], usize)> {
    let CpuStorage::F32(elements) = storage else {
        return Err(shape_error(op, format!("{operand} must be f32, it is {:?}", storage.dtype())));
    };
    match (layout.shape().dims(), layout.stride()) {
        (&[tokens, heads, head_dim], &[stride, head_stride, 1])
            if head_stride == head_dim && stride >= heads * head_dim =>
        {
            let length = if tokens == 0 { 0 } else { (tokens - 1) * stride + heads * head_dim };
            Ok((&elements[layout.start_offset()..][..length], stride))
        }
        _ => Err(shape_error(op, format!("{operand} must be rows of heads, its layout is {layout:?}"))),
    }
}

/// The rows along the last dimension: their number and width.
pub(super) fn rows_of(op: &'static str, operand: &str, layout: &Layout) -> Result<(usize, usize)> {
    match layout.shape().dims().split_last() {
        Some((&width, rows)) if width > 0 => Ok((rows.iter().product(), width)),
        _ => Err(shape_error(op, format!("{operand} of shape {:?} has no rows", layout.shape().dims()))),
    }
}
