//! LayerNorm: `(x - mean) / sqrt(variance + eps) * weight + bias` along the last dimension, with its gradient.
//! Ba et al., <https://arxiv.org/abs/1607.06450>; the variance is the biased one, as in PyTorch.
//!
//! A row's sums are sixteen partial sums, folded at its end: its bits do not depend on the rows beside it. The gradients
//! of weight and bias are sums over fixed parts of the rows, added in order: their bits do not depend on the threads.
//! f32, and f64 for what is differentiated numerically.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor, WithDType};

use super::parallel::{SharedMut, share};
use super::rows::rows_of;
use super::simd::{Kernel, LANES, Simd};
use super::{Workers, shape_error};

const OP: &str = "layer_norm";
/// Elements that are worth handing to a thread.
const PART_ELEMENTS: usize = 1 << 14;
/// Rows whose share of the weight's gradient is summed before the parts are added up.
const GRADIENT_ROWS: usize = 64;

/// x `[.., d]`, weight and bias `[d]`, all f32 or all f64; the result has x's shape.
pub fn layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    workers: &Arc<Workers>,
) -> Result<Tensor> {
    let op = LayerNorm(Settings { eps, workers: Arc::clone(workers) });
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

#[derive(Clone)]
struct Settings {
    eps: f64,
    workers: Arc<Workers>,
}

struct LayerNorm(Settings);

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = rows_of(OP, "x", x_layout)?;
        check_vector("weight", weight_layout, width)?;
        check_vector("bias", bias_layout, width)?;
        let Settings { eps, workers } = &self.0;
        let (w, b) = ((weight, weight_layout), (bias, bias_layout));
        let out = match x.dtype() {
            DType::F32 => forward::<f32>((x, x_layout), w, b, *eps, workers),
            _ => forward::<f64>((x, x_layout), w, b, *eps, workers),
        }?;
        Ok((out, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let dx = x.track_op().then(|| {
            x.apply_op3_no_bwd(weight, &gradient, &InputGradient(self.0.clone())) // [.., d]
        });
        let parameters = (weight.track_op() || bias.track_op()).then(|| {
            x.apply_op2_no_bwd(&gradient, &ParameterGradients(self.0.clone())) // [2, d]
        });
        let Some(parameters) = parameters.transpose()? else { return Ok((dx.transpose()?, None, None)) };
        Ok((dx.transpose()?, Some(parameters.get(0)?), Some(parameters.get(1)?)))
    }
}

/// x, weight and the result's gradient to x's gradient.
struct InputGradient(Settings);

impl CustomOp3 for InputGradient {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Settings { eps, workers } = &self.0;
        let (w, g) = ((weight, weight_layout), (gradient, gradient_layout));
        let out = match x.dtype() {
            DType::F32 => input_gradient::<f32>((x, x_layout), w, g, *eps, workers),
            _ => input_gradient::<f64>((x, x_layout), w, g, *eps, workers),
        }?;
        Ok((out, x_layout.shape().clone()))
    }
}

/// x and the result's gradient to the gradients of weight and bias, `[2, d]`.
struct ParameterGradients(Settings);

impl CustomOp2 for ParameterGradients {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = rows_of(OP, "x", x_layout)?;
        let Settings { eps, workers } = &self.0;
        let g = (gradient, gradient_layout);
        let out = match x.dtype() {
            DType::F32 => parameter_gradients::<f32>((x, x_layout), g, width, *eps, workers),
            _ => parameter_gradients::<f64>((x, x_layout), g, width, *eps, workers),
        }?;
        Ok((out, Shape::from((2, width))))
    }
}

type Operand<'a> = (&'a CpuStorage, &'a Layout);

fn check_vector(name: &str, layout: &Layout, width: usize) -> Result<()> {
    if layout.dims() == [width] {
        return Ok(());
    }
    let found = layout.dims();
    Err(shape_error(OP, format!("a {name} of shape {found:?} does not fit rows of {width} elements")))
}

fn elements<'a, T: WithDType>(name: &str, (storage, layout): Operand<'a>) -> Result<&'a [T]> {
    let Ok(all) = T::cpu_storage_as_slice(storage) else {
        let found = storage.dtype();
        return Err(shape_error(
            OP,
            format!("x, weight and bias must be all f32 or all f64, {name} is {found:?}"),
        ));
    };
    match layout.contiguous_offsets() {
        Some((start, end)) if start == end => Ok(&[]),
        Some((start, end)) => Ok(&all[start..end]),
        None => Err(shape_error(OP, format!("{name} must be contiguous, its layout is {layout:?}"))),
    }
}

fn forward<T: WithDType>(
    x: Operand,
    weight: Operand,
    bias: Operand,
    eps: f64,
    workers: &Workers,
) -> Result<CpuStorage> {
    let (x, weight, bias) =
        (elements::<T>("x", x)?, elements::<T>("weight", weight)?, elements::<T>("bias", bias)?);
    let width = weight.len();
    Ok(rows(x.len(), width, workers, |row, out: &mut [T]| {
        let x = &x[row * width..][..width];
        let Moments { mean, scale } = moments(x, eps);
        for (i, out) in out.iter_mut().enumerate() {
            *out = (x[i] - mean) * scale * weight[i] + bias[i];
        }
    }))
}

/// With `n = (x - mean) * scale` and `g = gradient * weight`: `scale * (g - mean(g) - n * mean(g n))`.
fn input_gradient<T: WithDType>(
    x: Operand,
    weight: Operand,
    gradient: Operand,
    eps: f64,
    workers: &Workers,
) -> Result<CpuStorage> {
    let (x, weight, gradient) =
        (elements::<T>("x", x)?, elements::<T>("weight", weight)?, elements::<T>("gradient", gradient)?);
    let width = weight.len();
    let count = T::from_f64(width as f64);
    Ok(rows(x.len(), width, workers, |row, out: &mut [T]| {
        let (x, gradient) = (&x[row * width..][..width], &gradient[row * width..][..width]);
        let Moments { mean, scale } = moments(x, eps);
        let of_normed = |i: usize| gradient[i] * weight[i];
        let normed = |i: usize| (x[i] - mean) * scale;
        let mean_gradient = sum(width, of_normed) / count;
        let mean_product = sum(width, |i| of_normed(i) * normed(i)) / count;
        for (i, out) in out.iter_mut().enumerate() {
            *out = scale * (of_normed(i) - mean_gradient - normed(i) * mean_product);
        }
    }))
}

fn parameter_gradients<T: WithDType>(
    x: Operand,
    gradient: Operand,
    width: usize,
    eps: f64,
    workers: &Workers,
) -> Result<CpuStorage> {
    let (x, gradient) = (elements::<T>("x", x)?, elements::<T>("gradient", gradient)?);
    let part = GRADIENT_ROWS * width;
    let parts = x.len().div_ceil(part);
    let mut sums = vec![T::zero(); parts * 2 * width]; // [parts, 2, d]
    let shared = SharedMut::new(&mut sums);
    workers.run(parts, &|index| {
        let range = index * part..x.len().min((index + 1) * part);
        // SAFETY: a part has its own sums, and the processor the instruction set of its `Workers`.
        unsafe {
            let sums = shared.slice(index * 2 * width, 2 * width);
            let (x, gradient) = (&x[range.clone()], &gradient[range]);
            workers.isa().dispatch(Run(|| add_part(x, gradient, eps, sums)));
        }
    });
    let mut total = vec![T::zero(); 2 * width];
    for part in sums.chunks_exact(2 * width) {
        for (total, part) in total.iter_mut().zip(part) {
            *total += *part;
        }
    }
    Ok(T::to_cpu_storage_owned(total))
}

/// Adds the gradients of weight and bias from some rows to `sums`, `[2, d]`.
#[inline(always)]
fn add_part<T: WithDType>(x: &[T], gradient: &[T], eps: f64, sums: &mut [T]) {
    let width = sums.len() / 2;
    let (of_weight, of_bias) = sums.split_at_mut(width);
    for (x, gradient) in x.chunks_exact(width).zip(gradient.chunks_exact(width)) {
        let Moments { mean, scale } = moments(x, eps);
        for i in 0..width {
            of_weight[i] += gradient[i] * (x[i] - mean) * scale;
            of_bias[i] += gradient[i];
        }
    }
}

/// `fill` for every row of an output of `len` elements, on all threads.
fn rows<T: WithDType>(
    len: usize,
    width: usize,
    workers: &Workers,
    fill: impl Fn(usize, &mut [T]) + Sync,
) -> CpuStorage {
    let mut out = vec![T::zero(); len];
    let shared = SharedMut::new(&mut out);
    let parts = (len / PART_ELEMENTS).clamp(1, workers.threads());
    workers.run(parts, &|part| {
        let range = share(len / width, parts, part);
        // SAFETY: the parts' rows are disjoint, and the processor has the instruction set of its `Workers`.
        unsafe {
            let out = shared.slice(range.start * width, range.len() * width);
            workers.isa().dispatch(Run(|| {
                for (row, out) in range.clone().zip(out.chunks_exact_mut(width)) {
                    fill(row, out);
                }
            }));
        }
    });
    T::to_cpu_storage_owned(out)
}

/// Plain code compiled for the instruction set, whose vectors the compiler finds. It never fuses a product and a sum, so
/// that all sets give the same bits.
struct Run<F>(F);

impl<F: FnOnce()> Kernel for Run<F> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        (self.0)();
    }
}

struct Moments<T> {
    mean: T,
    /// `1 / sqrt(variance + eps)`
    scale: T,
}

#[inline(always)]
fn moments<T: WithDType>(row: &[T], eps: f64) -> Moments<T> {
    let count = T::from_f64(row.len() as f64);
    let mean = sum(row.len(), |i| row[i]) / count;
    let variance = sum(row.len(), |i| (row[i] - mean) * (row[i] - mean)) / count;
    Moments { mean, scale: T::from_f64((variance.to_f64() + eps).sqrt().recip()) }
}

/// The sum of `term(i)`, term i in lane i mod 16; the lanes halving.
#[inline(always)]
fn sum<T: WithDType>(count: usize, term: impl Fn(usize) -> T) -> T {
    let mut lanes = [T::zero(); LANES];
    let whole = count / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    for i in whole..count {
        lanes[i - whole] += term(i);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            let other = lanes[lane + width];
            lanes[lane] += other;
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::Isa;
    use super::super::testing::{bits, numbers};
    use super::*;

    fn exact(row: &[f32], weight: &[f32], bias: &[f32], eps: f64) -> Vec<f64> {
        let wide: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
        let mean = wide.iter().sum::<f64>() / wide.len() as f64;
        let variance = wide.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / wide.len() as f64;
        let scale = 1.0 / (variance + eps).sqrt();
        let affine = |i: usize| (wide[i] - mean) * scale * f64::from(weight[i]) + f64::from(bias[i]);
        (0..row.len()).map(affine).collect()
    }

    fn tensor(values: &[f32], shape: impl Into<Shape>) -> Tensor {
        Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
    }

    fn check(rows: usize, width: usize) {
        let (x, weight, bias) = (numbers(1, rows * width), numbers(2, width), numbers(3, width));
        let mut first = None;
        for isa in Isa::available() {
            let workers = Workers::with_isa(2, isa);
            let (w, b) = (tensor(&weight, width), tensor(&bias, width));
            let run = |x: &Tensor| layer_norm(x, &w, &b, 1e-5, &workers).unwrap();
            let out = run(&tensor(&x, (rows, width))).to_vec2::<f32>().unwrap();
            for (row, out) in x.chunks(width).zip(&out) {
                for (y, exact) in out.iter().zip(exact(row, &weight, &bias, 1e-5)) {
                    // Three roundings of numbers up to 4.
                    assert!((f64::from(*y) - exact).abs() <= 2e-6, "{isa}: {y} is not {exact}");
                }
                let alone = run(&tensor(row, (1, 1, width))).flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(bits(&alone), bits(out), "{isa}: {rows} x {width}");
            }
            let all = bits(&out.concat());
            assert_eq!(first.get_or_insert_with(|| all.clone()), &all, "{isa}");
        }
    }

    #[test]
    fn follows_f64_and_a_row_is_the_same_alone_and_on_every_instruction_set() {
        for (rows, width) in [(1, 2), (3, 7), (5, 16), (33, 64), (40, 384), (70, 1000)] {
            check(rows, width);
        }
    }

    /// Central differences in f64, at more rows than one part of the parameters' gradients.
    #[test]
    fn gradients_follow_finite_differences() {
        let (rows, width, workers) = (GRADIENT_ROWS + 3, 5, Workers::new(2));
        let wide = |seed, shape: &[usize]| {
            let values: Vec<f64> = numbers(seed, shape.iter().product()).into_iter().map(f64::from).collect();
            Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        let operands = [wide(1, &[rows, width]), wide(2, &[width]), wide(3, &[width])];
        let loss_weights = wide(4, &[rows, width]);
        let loss = |[x, w, b]: &[Tensor; 3]| {
            layer_norm(x, w, b, 1e-3, &workers).unwrap().mul(&loss_weights).unwrap().sum_all().unwrap()
        };
        let variables = operands.clone().map(|operand| Var::from_tensor(&operand).unwrap());
        let gradients = loss(&variables.each_ref().map(|v| v.as_tensor().clone())).backward().unwrap();
        for (which, variable) in variables.iter().enumerate() {
            let found = gradients.get(variable.as_tensor()).unwrap().flatten_all().unwrap();
            let values = operands[which].flatten_all().unwrap().to_vec1::<f64>().unwrap();
            for (i, found) in found.to_vec1::<f64>().unwrap().into_iter().enumerate() {
                let at = |step: f64| {
                    let mut moved = values.clone();
                    moved[i] += step;
                    let mut operands = operands.clone();
                    let shape = operands[which].shape().clone();
                    operands[which] = Tensor::from_vec(moved, shape, &Device::Cpu).unwrap();
                    loss(&operands).to_scalar::<f64>().unwrap()
                };
                let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
                // The step squared times a third derivative of about 1000 near a small variance, and 1e-16 / step.
                assert!(
                    (found - expected).abs() <= 1e-7 * (1.0 + expected.abs()),
                    "{which} {i}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn a_frozen_norm_passes_the_gradient_on() {
        let x = Var::from_tensor(&tensor(&numbers(1, 12), (3, 4))).unwrap();
        let (w, b) = (tensor(&numbers(2, 4), 4), tensor(&numbers(3, 4), 4));
        let y = layer_norm(x.as_tensor(), &w, &b, 1e-5, &Workers::new(1)).unwrap();
        let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(gradients.get(x.as_tensor()).unwrap().dims(), [3, 4]);
    }

    #[test]
    fn wrong_operands_are_errors() {
        let workers = Workers::new(1);
        let x = tensor(&[1.0; 12], (3, 4));
        let check = |x: &Tensor, w: &Tensor, part: &str| {
            let message = layer_norm(x, w, w, 1e-5, &workers).unwrap_err().to_string();
            assert!(message.contains("layer_norm") && message.contains(part), "{message}");
        };
        check(&x, &tensor(&[1.0; 3], 3), "a weight of shape [3] does not fit rows of 4");
        check(&x, &Tensor::ones(4, DType::F64, &Device::Cpu).unwrap(), "weight is F64");
        check(&Tensor::zeros((3, 4), DType::U32, &Device::Cpu).unwrap(), &tensor(&[1.0; 4], 4), "x is U32");
    }
}
