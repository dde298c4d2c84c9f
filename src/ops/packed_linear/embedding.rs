//! Rows of a packed weight by token id, so that tied embeddings are one copy of the weight.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::blocks::{self, BlockFormat, CHUNK};
use super::{PackedLinear, PanelElement, Panels, doubles};
use crate::ops::parallel::{output, share};
use crate::ops::rows::{elements, elements_f64};
use crate::ops::shape_error;
use crate::ops::simd::{Kernel, LANES, Simd};

const OP: &str = "embedding";
/// Rows that are worth handing to a thread.
const PART_ROWS: usize = 8;

/// Row `ids[i]` of the table in row i: f32 `[ids, in_features]`.
pub fn embedding(ids: &[u32], table: &Arc<PackedLinear>) -> Result<Tensor> {
    if let Some(id) = ids.iter().find(|&&id| id as usize >= table.out_features) {
        return Err(shape_error(OP, format!("id {id} is outside of {table:?}")));
    }
    if table.is_f64() {
        return doubles::embedding(ids, table);
    }
    let workers = &table.workers;
    let parts = ids.len().div_ceil(PART_ROWS).min(workers.threads());
    let width = table.in_features;
    // SAFETY: the parts' ids cover all, and `Gather` writes the rows of its ids whole.
    let rows = unsafe {
        output(ids.len() * width, |out| {
            workers.run(parts, &|part| {
                let Range { start, end } = share(ids.len(), parts, part);
                let to = out.start().add(start * width);
                workers.isa().dispatch(Gather { table, ids: &ids[start..end], out: to });
            });
        })
    };
    Tensor::from_vec(rows, (ids.len(), width), &Device::Cpu)
}

/// Adds the gradient of `embedding(ids, table)`, f32 `[ids, in_features]`, to the table's, if the table is trainable.
///
/// # Errors
/// A gradient of another shape, or an id out of range.
pub fn embedding_gradient(ids: &[u32], gradient: &Tensor, table: &Arc<PackedLinear>) -> Result<()> {
    let fits = gradient.dims() == [ids.len(), table.in_features];
    if !fits || ids.iter().any(|&id| id as usize >= table.out_features) {
        let detail =
            format!("a gradient of {:?} does not fit {} ids of {table:?}", gradient.dims(), ids.len());
        return Err(shape_error(OP, detail));
    }
    if table.is_f64() {
        return doubles::embedding_gradient(ids, &elements_f64(gradient)?, table);
    }
    table.accumulate_rows(ids, &elements(gradient)?);
    Ok(())
}

/// The rows of `ids`, each below `out_features`, into `out`, which takes them.
struct Gather<'a> {
    table: &'a PackedLinear,
    ids: &'a [u32],
    out: *mut f32,
}

impl Kernel for Gather<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = self.table.in_features;
        for (row, &id) in self.ids.iter().enumerate() {
            let (panel, column) = (id as usize / LANES, id as usize % LANES);
            // SAFETY: `out` takes a row an id.
            let out = unsafe { self.out.add(row * width) };
            // SAFETY: the panel is inside the table, and `out` takes the row.
            unsafe {
                match &self.table.panels {
                    Panels::F32(panels) => gather(panels, panel, column, width, out, |x| x),
                    Panels::Bf16(panels) => {
                        gather(panels, panel, column, width, out, |x| f32::from_bits(u32::from(x) << 16));
                    }
                    Panels::Int8(panels) => {
                        let scale = panels.scale(id as usize);
                        gather(&panels.bytes, panel, column, width, out, |x: i8| f32::from(x) * scale);
                    }
                    Panels::F64(_) => unreachable!("f64 tables have a way of their own"),
                    Panels::Blocks { format, bytes } => {
                        gather_blocks::<S>(*format, bytes, panel, column, width, out);
                    }
                }
            }
        }
    }
}

/// One column of a panel.
#[inline(always)]
unsafe fn gather<T: PanelElement>(
    panels: &[T],
    panel: usize,
    column: usize,
    width: usize,
    out: *mut f32,
    widen: impl Fn(T) -> f32,
) {
    let length = T::panel_elements(width);
    let panel = &panels[panel * length..][..length];
    for i in 0..width {
        // SAFETY: the caller vouches for a row of `width`.
        unsafe { out.add(i).write(widen(panel[T::at(i, column)])) };
    }
}

/// Widens the whole panel for its one column: sixteen times the work of a row, for a few rows a step.
#[inline(always)]
unsafe fn gather_blocks<S: Simd>(
    format: BlockFormat,
    bytes: &[u8],
    panel: usize,
    column: usize,
    width: usize,
    out: *mut f32,
) {
    let mut scratch = std::mem::MaybeUninit::<[f32; CHUNK * LANES]>::uninit();
    let scratch = scratch.as_mut_ptr().cast::<f32>();
    for start in (0..width).step_by(CHUNK) {
        let k = CHUNK.min(width - start);
        let from = (panel * format.row_bytes(width) + format.row_bytes(start)) * LANES;
        // SAFETY: the chunk is inside the panel, the scratch takes it, and `out` takes the row.
        unsafe {
            blocks::widen::<S>(
                format,
                bytes.as_ptr().add(from),
                k.next_multiple_of(format.block_size()),
                scratch,
            );
            for i in 0..k {
                out.add(start + i).write(scratch.add(i * LANES + column).read());
            }
        }
    }
}
