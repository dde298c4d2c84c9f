//! RMSNorm: `x / sqrt(mean(x^2) + eps) * weight` along the last dimension.
//!
//! Sixteen partial sums along the row, folded at its end: a row's bits do not depend on the rows beside it.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::parallel::{output, share};
use super::rows::{contiguous_f32, rows_of};
use super::simd::{Kernel, LANES, Simd, load_some, store_some};
use super::{Isa, Workers, shape_error};

const OP: &str = "rms_norm";
/// Elements that are worth handing to a thread.
const PART_ELEMENTS: usize = 1 << 14;

/// x f32 `[.., d]`, weight f32 `[d]`; the result has x's shape. No gradient: `backward` through it is an error.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32, workers: &Arc<Workers>) -> Result<Tensor> {
    let op = RmsNorm { eps, workers: Arc::clone(workers) };
    x.contiguous()?.apply_op2(&weight.contiguous()?, op)
}

struct RmsNorm {
    eps: f32,
    workers: Arc<Workers>,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = contiguous_f32(OP, "x", x, x_layout)?;
        let weight = contiguous_f32(OP, "weight", weight, weight_layout)?;
        let (_, width) = rows_of(OP, "x", x_layout)?;
        if weight_layout.shape().dims() != [width] {
            let (x, weight) = (x_layout.shape().dims(), weight_layout.shape().dims());
            return Err(shape_error(
                OP,
                format!("a weight of shape {weight:?} does not fit x of shape {x:?}"),
            ));
        }
        let out = norm_all(x, weight, self.eps, &self.workers);
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

/// The norm of whole rows of the weight's width, on all threads.
pub(super) fn norm_all(x: &[f32], weight: &[f32], eps: f32, workers: &Workers) -> Vec<f32> {
    let width = weight.len();
    let parts = (x.len() / PART_ELEMENTS).clamp(1, workers.threads());
    // SAFETY: the parts' rows cover all, and `norm_rows` writes its rows whole.
    unsafe {
        output(x.len(), |out| {
            workers.run(parts, &|part| {
                let Range { start, end } = share(x.len() / width.max(1), parts, part);
                let part = &x[start * width..end * width];
                norm_rows(workers.isa(), part, weight, eps, out.start().add(start * width));
            });
        })
    }
}

/// The norm of whole rows of the weight's width, on this thread.
///
/// # Safety
/// `out` takes as many floats as x holds.
pub(super) unsafe fn norm_rows(isa: Isa, x: &[f32], weight: &[f32], eps: f32, out: *mut f32) {
    // SAFETY: the caller's word.
    unsafe { isa.dispatch(Rows { x, weight, eps, out }) }
}

/// Whole rows of the weight's width; `out` takes as many floats as x holds.
struct Rows<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: *mut f32,
}

impl Kernel for Rows<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = self.weight.len();
        for (index, row) in self.x.chunks_exact(width).enumerate() {
            // SAFETY: every index is below the width, in the row, the weight and the output.
            unsafe {
                let mut squares = S::splat(0.0);
                let mut i = 0;
                while i < width {
                    let x = load_some::<S>(row.as_ptr().add(i), width - i);
                    squares = S::fma(x, x, squares);
                    i += LANES;
                }
                let scale = 1.0 / (S::sum(squares) / width as f32 + self.eps).sqrt();
                let (scale, out) = (S::splat(scale), self.out.add(index * width));
                let mut i = 0;
                while i < width {
                    let x = load_some::<S>(row.as_ptr().add(i), width - i);
                    let w = load_some::<S>(self.weight.as_ptr().add(i), width - i);
                    store_some::<S>(out.add(i), S::mul(S::mul(x, scale), w), width - i);
                    i += LANES;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Isa;
    use super::super::testing::{bits, numbers};
    use super::*;
    use candle_core::{Device, Var};

    fn tensor(values: &[f32], shape: impl Into<Shape>) -> Tensor {
        Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
    }

    fn exact(row: &[f32], weight: &[f32], eps: f32) -> Vec<f64> {
        let mean = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / row.len() as f64;
        let scale = 1.0 / (mean + f64::from(eps)).sqrt();
        row.iter().zip(weight).map(|(&x, &w)| f64::from(x) * scale * f64::from(w)).collect()
    }

    fn check(rows: usize, width: usize) {
        let (x, weight) = (numbers(1, rows * width), numbers(2, width));
        for isa in Isa::available() {
            let workers = Workers::with_isa(2, isa);
            let run = |x: &Tensor| rms_norm(x, &tensor(&weight, width), 1e-5, &workers).unwrap();
            let out = run(&tensor(&x, (rows, width))).to_vec2::<f32>().unwrap();
            for (row, out) in x.chunks(width).zip(&out) {
                for (y, exact) in out.iter().zip(exact(row, &weight, 1e-5)) {
                    assert!((f64::from(*y) - exact).abs() <= 1e-6 * exact.abs() + 1e-7, "{isa}: {y} {exact}");
                }
                let alone = run(&tensor(row, (1, 1, width))).flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(bits(&alone), bits(out), "{isa}: {rows} x {width}");
            }
        }
    }

    #[test]
    fn follows_f64_and_a_row_is_the_same_alone() {
        for (rows, width) in [(1, 1), (3, 7), (5, 16), (33, 64), (40, 576), (70, 1000)] {
            check(rows, width);
        }
    }

    #[test]
    fn wrong_operands_are_errors() {
        let workers = Workers::new(1);
        let x = tensor(&[1.0; 12], (3, 4));
        let message = rms_norm(&x, &tensor(&[1.0; 3], 3), 1e-5, &workers).unwrap_err().to_string();
        assert!(
            message.contains("rms_norm") && message.contains("[3]") && message.contains("[3, 4]"),
            "{message}"
        );
        let ints = Tensor::zeros((3, 4), candle_core::DType::U32, &Device::Cpu).unwrap();
        assert!(rms_norm(&ints, &tensor(&[1.0; 4], 4), 1e-5, &workers).is_err());
    }

    #[test]
    fn a_gradient_is_refused() {
        let x = Var::from_tensor(&tensor(&[1.0; 12], (3, 4))).unwrap();
        let y = rms_norm(x.as_tensor(), &tensor(&[1.0; 4], 4), 1e-5, &Workers::new(1)).unwrap();
        assert!(y.sum_all().unwrap().backward().is_err());
    }
}
