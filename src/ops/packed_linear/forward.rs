//! `linear`, the candle operation.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::PackedLinear;
use super::gemm::Gemm;
use crate::ops::parallel::{output, share};
use crate::ops::rows::contiguous_f32;
use crate::ops::simd::LANES;
use crate::ops::{OpsError, shape_error};

const OP: &str = "packed_linear";
/// Multiply-adds that are worth handing to a thread, some microseconds.
const PART_MULTIPLY_ADDS: usize = 1 << 17;
/// Parts a thread of an operation, so that a thread that was kept from running does not hold up all.
const PARTS_PER_THREAD: usize = 4;

/// `x W^T + b`: x f32 `[tokens, in_features]`, result f32 `[tokens, out_features]`. No gradient: `backward`
/// through it is an error.
pub fn linear(x: &Tensor, weight: &Arc<PackedLinear>) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Linear(Arc::clone(weight)))
}

struct Linear(Arc<PackedLinear>);

impl CustomOp1 for Linear {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let weight = &*self.0;
        let x = contiguous_f32(OP, "x", storage, layout)?;
        let rows = match *layout.shape().dims() {
            [rows, k] if k == weight.in_features => rows,
            _ => {
                return Err(shape_error(
                    OP,
                    format!("x of shape {:?} does not fit {weight:?}", layout.shape().dims()),
                ));
            }
        };
        let out = weight.forward(x, rows);
        Ok((CpuStorage::F32(out), (rows, weight.out_features).into()))
    }
}

impl PackedLinear {
    /// `x` holds `rows * in_features` floats.
    fn forward(&self, x: &[f32], rows: usize) -> Vec<f32> {
        let panels = self.out_features.div_ceil(LANES);
        // Columns go out in whole tiles.
        let unit = if rows > 1 { self.workers.isa().tile_panels() } else { 1 };
        let units = panels.div_ceil(unit);
        let work = rows * self.in_features * self.out_features;
        let most = units.min(PARTS_PER_THREAD * self.workers.threads());
        let parts = (work / PART_MULTIPLY_ADDS).clamp(1, most.max(1));
        // SAFETY: the parts' panels cover every column, and the kernel writes its columns of every row.
        unsafe {
            output(rows * self.out_features, |out| {
                if rows == 0 {
                    return;
                }
                self.workers.run(parts, &|part| {
                    let units = share(units, parts, part);
                    let gemm = Gemm {
                        x,
                        rows,
                        in_features: self.in_features,
                        out_features: self.out_features,
                        weight: &self.panels,
                        bias: self.bias.as_deref(),
                        panels: units.start * unit..panels.min(units.end * unit),
                        out: out.start(),
                    };
                    // The shapes were checked by the operation, and no two parts share a column.
                    self.workers.isa().dispatch(gemm);
                });
            })
        }
    }
}

/// A packed weight holds as many elements as its shape says; an empty shape has no kernel.
pub(super) fn check_not_empty(out_features: usize, in_features: usize) -> std::result::Result<(), OpsError> {
    if out_features == 0 || in_features == 0 {
        let detail = format!("a weight of {out_features} x {in_features} is empty");
        return Err(OpsError::shape(OP, detail));
    }
    Ok(())
}
