//! Reading the operands of an operation: f32 on the CPU, contiguous or in contiguous rows, or an error that says
//! which is not.

use std::ops::{Deref, Range};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, WithDType};

use super::shape_error;

/// The elements of an operand in f32.
pub(super) fn contiguous_f32<'a>(
    op: &'static str,
    operand: &str,
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<&'a [f32]> {
    contiguous(op, operand, storage, layout)
}

/// The elements of an operand.
pub(super) fn contiguous<'a, T: WithDType>(
    op: &'static str,
    operand: &str,
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<&'a [T]> {
    let Ok(elements) = T::cpu_storage_as_slice(storage) else {
        let wanted = T::DTYPE.as_str();
        return Err(shape_error(op, format!("{operand} must be {wanted}, it is {:?}", storage.dtype())));
    };
    match layout.contiguous_offsets() {
        // A view of an empty tensor may start behind its end.
        Some((start, end)) if start == end => Ok(&[]),
        Some((start, end)) => Ok(&elements[start..end]),
        None => Err(shape_error(op, format!("{operand} must be contiguous, its layout is {layout:?}"))),
    }
}

/// Rows of `width` neighbouring floats, the rows `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct StridedRows<'a> {
    elements: &'a [f32],
    width: usize,
    stride: usize,
}

impl<'a> StridedRows<'a> {
    /// An operand `[rows, m, n]` whose last two dimensions are contiguous: a narrow of a fused projection is one.
    pub fn new(op: &'static str, operand: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let CpuStorage::F32(elements) = storage else {
            return Err(shape_error(op, format!("{operand} must be f32, it is {:?}", storage.dtype())));
        };
        let wrong =
            || shape_error(op, format!("the rows of {operand} must be contiguous, its layout is {layout:?}"));
        let (&[rows, m, n], &[stride, _, _]) = (layout.dims(), layout.stride()) else {
            return Err(wrong());
        };
        if !rows_are_contiguous(layout) {
            return Err(wrong());
        }
        // A view of an empty tensor may start behind its end.
        let elements = match rows.checked_sub(1) {
            Some(last) => {
                elements.get(layout.start_offset()..).and_then(|rest| rest.get(..last * stride + m * n))
            }
            None => Some([].as_slice()),
        };
        Ok(Self { elements: elements.ok_or_else(wrong)?, width: m * n, stride })
    }

    /// One row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &'a [f32] {
        &self.elements[row * self.stride..][..self.width]
    }
}

/// Whether the last two of three dimensions lie as one run.
pub(super) fn rows_are_contiguous(layout: &Layout) -> bool {
    match (layout.dims(), layout.stride()) {
        (&[_, m, n], &[_, over_m, over_n]) => (n <= 1 || over_n == 1) && (m <= 1 || over_m == n),
        _ => false,
    }
}

/// A tensor's f32 elements, in order: what a backward pass reads. A copy where the tensor is not contiguous.
pub(super) fn elements(x: &Tensor) -> Result<Elements<impl Deref<Target = Storage>>> {
    let (storage, layout) = x.storage_and_layout();
    if let (Storage::Cpu(CpuStorage::F32(_)), Some((start, end))) = (&*storage, layout.contiguous_offsets()) {
        return Ok(Elements::Borrowed { storage, range: start..end });
    }
    drop(storage);
    Ok(Elements::Copied(x.flatten_all()?.to_vec1()?))
}

/// The same of a tensor in f64; always a copy.
pub(super) fn elements_f64(x: &Tensor) -> Result<Vec<f64>> {
    x.flatten_all()?.to_vec1()
}

pub(super) enum Elements<S> {
    Borrowed { storage: S, range: Range<usize> },
    Copied(Vec<f32>),
}

impl<S: Deref<Target = Storage>> Deref for Elements<S> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Copied(elements) => elements,
            Self::Borrowed { storage, range } => match &**storage {
                // A view of an empty tensor may start behind its end.
                Storage::Cpu(CpuStorage::F32(_)) if range.is_empty() => &[],
                Storage::Cpu(CpuStorage::F32(elements)) => &elements[range.clone()],
                _ => &[],
            },
        }
    }
}

/// The rows along the last dimension: their number and width.
pub(super) fn rows_of(op: &'static str, operand: &str, layout: &Layout) -> Result<(usize, usize)> {
    match layout.shape().dims().split_last() {
        Some((&width, rows)) if width > 0 => Ok((rows.iter().product(), width)),
        _ => Err(shape_error(op, format!("{operand} of shape {:?} has no rows", layout.shape().dims()))),
    }
}
