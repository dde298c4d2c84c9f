//! RMSNorm: `x / sqrt(mean(x^2) + eps) * weight` along the last dimension.
//!
//! Sixteen partial sums along the row, folded at its end: a row's bits do not depend on the rows beside it.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor};

use super::parallel::{SharedMut, output, share};
use super::real::Real;
use super::rows::{contiguous, contiguous_f32, elements, elements_f64, rows_of};
use super::simd::{Kernel, LANES, Simd, load_some, store_some};
use super::tape::{self, Keeps, apply2};
use super::{Isa, Workers, shape_error};

const OP: &str = "rms_norm";
/// Elements that are worth handing to a thread.
const PART_ELEMENTS: usize = 1 << 14;
/// Rows whose parts in the weight's gradient are summed together: fixed, so that the threads do not matter.
const BACKWARD_ROWS: usize = 64;

/// x f32 `[.., d]`, weight f32 `[d]`; the result has x's shape.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32, workers: &Arc<Workers>) -> Result<Tensor> {
    let op = RmsNorm { eps, workers: Arc::clone(workers) };
    apply2(&tape::contiguous(x)?, &tape::contiguous(weight)?, op, Keeps::OPERANDS)
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
        let (_, width) = rows_of(OP, "x", x_layout)?;
        if weight_layout.shape().dims() != [width] {
            let (x, weight) = (x_layout.shape().dims(), weight_layout.shape().dims());
            return Err(shape_error(
                OP,
                format!("a weight of shape {weight:?} does not fit x of shape {x:?}"),
            ));
        }
        if let CpuStorage::F64(_) = x {
            let weight = contiguous(OP, "weight", weight, weight_layout)?;
            let out = norm_f64(contiguous(OP, "x", x, x_layout)?, weight, self.eps);
            return Ok((CpuStorage::F64(out), x_layout.shape().clone()));
        }
        let x = contiguous_f32(OP, "x", x, x_layout)?;
        let weight = contiguous_f32(OP, "weight", weight, weight_layout)?;
        let out = norm_all(x, weight, self.eps, &self.workers);
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        if x.dtype() == DType::F64 {
            let (x_values, gradient) = (elements_f64(x)?, elements_f64(gradient)?);
            let (dx, dw) =
                norm_backward(&x_values, &elements_f64(weight)?, self.eps, &gradient, &self.workers);
            let dx = Tensor::from_vec(dx, x.shape(), x.device())?;
            return Ok((Some(dx), Some(Tensor::from_vec(dw, weight.shape(), x.device())?)));
        }
        let (dx, dw) =
            norm_backward(&elements(x)?, &elements(weight)?, self.eps, &elements(gradient)?, &self.workers);
        let dx = Tensor::from_vec(dx, x.shape(), x.device())?;
        Ok((Some(dx), Some(Tensor::from_vec(dw, weight.shape(), x.device())?)))
    }
}

/// The gradients of x and of the weight. With r = 1 / sqrt(mean(x^2) + eps) and h = gradient * weight, that of x is
/// r (h - x r^2 mean(h x)), and a row's part in that of the weight is gradient x r.
fn norm_backward<T: Real>(
    x: &[T],
    weight: &[T],
    eps: f32,
    gradient: &[T],
    workers: &Workers,
) -> (Vec<T>, Vec<T>) {
    let width = weight.len();
    let parts = (x.len() / width.max(1)).div_ceil(BACKWARD_ROWS);
    let (mut dx, mut sums) = (vec![T::zero(); x.len()], vec![T::zero(); parts * width]);
    let (dx_shared, sums_shared) = (SharedMut::new(&mut dx), SharedMut::new(&mut sums));
    workers.run(parts, &|part| {
        let start = part * BACKWARD_ROWS * width;
        let len = (BACKWARD_ROWS * width).min(x.len() - start);
        // SAFETY: each part takes its own rows, and sums of its own.
        let (dx, dw) = unsafe { (dx_shared.slice(start, len), sums_shared.slice(part * width, width)) };
        let rows = x[start..].chunks_exact(width).zip(gradient[start..].chunks_exact(width));
        for (dx, (x, gradient)) in dx.chunks_exact_mut(width).zip(rows) {
            norm_row_backward(x, weight, T::of(written(eps)), gradient, dx, dw);
        }
    });
    let mut dw = vec![T::zero(); width];
    for part in sums.chunks_exact(width.max(1)) {
        for (sum, &part) in dw.iter_mut().zip(part) {
            *sum += part;
        }
    }
    (dx, dw)
}

fn norm_row_backward<T: Real>(x: &[T], weight: &[T], eps: T, gradient: &[T], dx: &mut [T], dw: &mut [T]) {
    let count = T::of(x.len() as f64);
    let squares: T = x.iter().map(|&x| x * x).sum();
    let r = (squares / count + eps).sqrt().recip();
    let products: T = x.iter().zip(weight).zip(gradient).map(|((&x, &w), &g)| g * w * x).sum();
    let mean = products / count * r * r;
    for ((((dx, dw), &x), &w), &g) in dx.iter_mut().zip(dw).zip(x).zip(weight).zip(gradient) {
        *dx = r * (g * w - x * mean);
        *dw += g * x * r;
    }
}

/// The number that a configuration has, such as 1e-5, and not what f32 makes of it: what f64 adds.
fn written(eps: f32) -> f64 {
    eps.to_string().parse().unwrap_or_else(|_| f64::from(eps))
}

fn norm_f64(x: &[f64], weight: &[f64], eps: f32) -> Vec<f64> {
    let width = weight.len().max(1);
    let normed = |row: &[f64]| {
        let mean = row.iter().map(|x| x * x).sum::<f64>() / width as f64;
        let r = (mean + written(eps)).sqrt().recip();
        row.iter().zip(weight).map(|(x, w)| x * r * w).collect::<Vec<_>>()
    };
    x.chunks_exact(width).flat_map(normed).collect()
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
    use super::super::testing::{Golden, bits, check_gradient, doubles, numbers};
    use super::*;
    use candle_core::Device;

    fn tensor(values: &[f32], shape: impl Into<Shape>) -> Tensor {
        Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
    }

    fn exact(row: &[f32], weight: &[f32], eps: f32) -> Vec<f64> {
        let mean = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / row.len() as f64;
        let scale = 1.0 / (mean + written(eps)).sqrt();
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
    fn gradients_follow_finite_differences_and_pytorch() {
        let workers = Workers::new(2);
        let (x, weight, upstream) = (doubles(1, 3 * 7), doubles(2, 7), doubles(3, 3 * 7));
        let loss = |x: &[f64], weight: &[f64]| -> f64 {
            let rows = x.chunks(7).zip(upstream.chunks(7));
            rows.map(|(x, g)| {
                let mean = x.iter().map(|x| x * x).sum::<f64>() / 7.0;
                let r = (mean + f64::from(1e-5f32)).sqrt().recip();
                x.iter().zip(weight).zip(g).map(|((x, w), g)| x * r * w * g).sum::<f64>()
            })
            .sum()
        };
        let backward = |x: &[f64], weight: &[f64]| norm_backward(x, weight, 1e-5, &upstream, &workers);
        check_gradient(&x, 1e-8, |x| (loss(x, &weight), backward(x, &weight).0));
        check_gradient(&weight, 1e-8, |weight| (loss(&x, weight), backward(&x, weight).1));
        let golden = Golden::new("rms_norm");
        let (x, weight) = (golden.var("x"), golden.var("weight"));
        let y = rms_norm(x.as_tensor(), weight.as_tensor(), golden.number("eps") as f32, &workers).unwrap();
        golden.check(&y, &[("x", &x), ("weight", &weight)]);
    }

    #[test]
    fn gradients_do_not_depend_on_the_threads() {
        let (x, weight, upstream) = (numbers(1, 300 * 48), numbers(2, 48), numbers(3, 300 * 48));
        let run = |threads| norm_backward(&x, &weight, 1e-5, &upstream, &Workers::new(threads));
        let (one, three) = (run(1), run(3));
        assert_eq!((bits(&one.0), bits(&one.1)), (bits(&three.0), bits(&three.1)));
    }
}
