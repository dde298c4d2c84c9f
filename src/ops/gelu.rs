//! GELU and its gradient, element by element: exact, `x * normal_cdf(x)`, and the tanh form that T5 v1.1 uses.
//! Hendrycks and Gimpel, <https://arxiv.org/abs/1606.08415>.
//!
//! f32, and f64 for what is differentiated numerically. In f32, erf and tanh are rational functions (those of XLA and
//! Eigen), within 5e-7 of the exact value: the compiler makes vectors of them, and every instruction set gives the same
//! bits.

use std::f64::consts::{FRAC_1_SQRT_2, PI};
use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, WithDType};

use super::parallel::{SharedMut, share};
use super::simd::{Kernel, Simd};
use super::{Workers, shape_error};

const OP: &str = "gelu";
/// Elements that are worth handing to a thread.
const PART_ELEMENTS: usize = 1 << 13;
/// The cubic term of the tanh form.
const CUBIC: f64 = 0.044_715;

/// Which GELU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gelu {
    /// transformers' `gelu`
    Exact,
    /// transformers' `gelu_new` and `gelu_pytorch_tanh`
    Tanh,
}

/// x f32 or f64 of any shape, which the result has too.
pub fn gelu(x: &Tensor, form: Gelu, workers: &Arc<Workers>) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Forward { form, workers: Arc::clone(workers) })
}

struct Forward {
    form: Gelu,
    workers: Arc<Workers>,
}

impl CustomOp1 for Forward {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Self { form, workers } = self;
        let out = match x.dtype() {
            DType::F32 => forward::<f32>(*form, x, layout, workers),
            _ => forward::<f64>(*form, x, layout, workers),
        }?;
        Ok((out, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let op = Backward { form: self.form, workers: Arc::clone(&self.workers) };
        x.apply_op2_no_bwd(&gradient.contiguous()?, &op).map(Some)
    }
}

/// x and the result's gradient to x's gradient.
struct Backward {
    form: Gelu,
    workers: Arc<Workers>,
}

impl CustomOp2 for Backward {
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
        let Self { form, workers } = self;
        let (x, g) = ((x, x_layout), (gradient, gradient_layout));
        let out = match x.0.dtype() {
            DType::F32 => backward::<f32>(*form, x, g, workers),
            _ => backward::<f64>(*form, x, g, workers),
        }?;
        Ok((out, x_layout.shape().clone()))
    }
}

fn forward<T: Float>(form: Gelu, x: &CpuStorage, layout: &Layout, workers: &Workers) -> Result<CpuStorage> {
    let x = elements::<T>(x, layout)?;
    Ok(match form {
        Gelu::Exact => map(x.len(), workers, |i| x[i] * normal_cdf(x[i])),
        Gelu::Tanh => map(x.len(), workers, |i| x[i] * half(T::one() + inner(x[i]).tanh())),
    })
}

fn backward<T: Float>(
    form: Gelu,
    (x, x_layout): (&CpuStorage, &Layout),
    (gradient, gradient_layout): (&CpuStorage, &Layout),
    workers: &Workers,
) -> Result<CpuStorage> {
    let (x, gradient) = (elements::<T>(x, x_layout)?, elements::<T>(gradient, gradient_layout)?);
    Ok(match form {
        Gelu::Exact => map(x.len(), workers, |i| gradient[i] * exact_slope(x[i])),
        Gelu::Tanh => map(x.len(), workers, |i| gradient[i] * tanh_slope(x[i])),
    })
}

#[inline(always)]
fn half<T: Float>(x: T) -> T {
    x * T::from_f64(0.5)
}

#[inline(always)]
fn normal_cdf<T: Float>(x: T) -> T {
    half(T::one() + (x * T::from_f64(FRAC_1_SQRT_2)).erf())
}

/// `cdf(x) + x * density(x)`
#[inline(always)]
fn exact_slope<T: Float>(x: T) -> T {
    let density = (half(x * x) * T::from_f64(-1.0)).exp() * T::from_f64((2.0 * PI).sqrt().recip());
    normal_cdf(x) + x * density
}

/// What the tanh is of.
#[inline(always)]
fn inner<T: Float>(x: T) -> T {
    T::from_f64((2.0 / PI).sqrt()) * (x + T::from_f64(CUBIC) * x * x * x)
}

#[inline(always)]
fn tanh_slope<T: Float>(x: T) -> T {
    let tanh = inner(x).tanh();
    let inner_slope = T::from_f64((2.0 / PI).sqrt()) * (T::one() + T::from_f64(3.0 * CUBIC) * x * x);
    half(T::one() + tanh) + half(x) * (T::one() - tanh * tanh) * inner_slope
}

trait Float: WithDType {
    fn erf(self) -> Self;
    fn tanh(self) -> Self;
    fn exp(self) -> Self;
}

impl Float for f64 {
    fn erf(self) -> Self {
        candle_core::cpu::erf::erf_f64(self)
    }

    fn tanh(self) -> Self {
        f64::tanh(self)
    }

    fn exp(self) -> Self {
        f64::exp(self)
    }
}

impl Float for f32 {
    /// XLA's `ErfImpl32`.
    #[inline(always)]
    fn erf(self) -> Self {
        const ABOVE: [f32; 7] = [
            -2.726_142_3e-10,
            2.770_681_4e-8,
            -2.101_024e-6,
            -5.692_506_5e-5,
            -7.349_906_3e-4,
            -2.954_6e-3,
            -1.609_603_3e-2,
        ];
        const BELOW: [f32; 5] =
            [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329_2e-3, -1.426_473_9e-2];
        odd_rational(self, 3.9, &ABOVE, &BELOW)
    }

    /// Eigen's `ptanh`.
    #[inline(always)]
    fn tanh(self) -> Self {
        const ABOVE: [f32; 7] = [
            -2.760_768_5e-16,
            2.000_188e-13,
            -8.604_672e-11,
            5.122_297_1e-8,
            1.485_722_4e-5,
            6.372_619_3e-4,
            4.893_524_6e-3,
        ];
        const BELOW: [f32; 4] = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];
        odd_rational(self, 7.9, &ABOVE, &BELOW)
    }

    fn exp(self) -> Self {
        f32::exp(self)
    }
}

/// `x * above(x^2) / below(x^2)`, the coefficients from the highest power down. From `far` on it is 1 or -1, from which the
/// function is not 3e-7 away: GELU multiplies what is missing by x, however large.
#[inline(always)]
fn odd_rational(x: f32, far: f32, above: &[f32], below: &[f32]) -> f32 {
    let near = x.clamp(-far, far);
    let square = near * near;
    let polynomial = |coefficients: &[f32]| coefficients.iter().fold(0.0, |sum, c| sum * square + c);
    let value = near * polynomial(above) / polynomial(below);
    if x.abs() < far { value } else { 1_f32.copysign(x) }
}

fn elements<'a, T: Float>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let Ok(all) = T::cpu_storage_as_slice(storage) else {
        return Err(shape_error(OP, format!("x must be f32 or f64, it is {:?}", storage.dtype())));
    };
    match layout.contiguous_offsets() {
        Some((start, end)) if start == end => Ok(&[]),
        Some((start, end)) => Ok(&all[start..end]),
        None => Err(shape_error(OP, format!("x must be contiguous, its layout is {layout:?}"))),
    }
}

/// `value(i)` for every element, on all threads.
fn map<T: Float>(len: usize, workers: &Workers, value: impl Fn(usize) -> T + Sync) -> CpuStorage {
    let mut out = vec![T::zero(); len];
    let shared = SharedMut::new(&mut out);
    let parts = (len / PART_ELEMENTS).clamp(1, workers.threads());
    workers.run(parts, &|part| {
        let range = share(len, parts, part);
        // SAFETY: the parts are disjoint, and the processor has the instruction set of its `Workers`.
        unsafe {
            let out = shared.slice(range.start, range.len());
            workers.isa().dispatch(Fill { first: range.start, out, value: &value });
        }
    });
    T::to_cpu_storage_owned(out)
}

/// Plain code compiled for the instruction set, whose vectors the compiler finds.
struct Fill<'a, T, F> {
    first: usize,
    out: &'a mut [T],
    value: &'a F,
}

impl<T, F: Fn(usize) -> T> Kernel for Fill<'_, T, F> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for (i, out) in self.out.iter_mut().enumerate() {
            *out = (self.value)(self.first + i);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::Isa;
    use super::super::testing::bits;
    use super::*;

    /// -6 to 6, where either form is curved, and the far ends.
    fn points() -> Vec<f64> {
        (-600..=600).map(|i| f64::from(i) / 100.0).chain([-1e4, -20.0, 20.0, 1e4]).collect()
    }

    fn exact(form: Gelu, x: f64) -> f64 {
        match form {
            Gelu::Exact => x * normal_cdf(x),
            Gelu::Tanh => x * half(1.0 + f64::tanh(inner(x))),
        }
    }

    #[test]
    fn f32_follows_f64_on_every_instruction_set() {
        let narrow: Vec<f32> = points().into_iter().map(|x| x as f32).collect();
        for form in [Gelu::Exact, Gelu::Tanh] {
            let mut first = None;
            for isa in Isa::available() {
                let x = Tensor::new(narrow.as_slice(), &Device::Cpu).unwrap();
                let y = gelu(&x, form, &Workers::with_isa(2, isa)).unwrap().to_vec1::<f32>().unwrap();
                for (x, y) in narrow.iter().zip(&y) {
                    let expected = exact(form, f64::from(*x));
                    let error = (f64::from(*y) - expected).abs();
                    assert!(
                        error <= 5e-7 * (1.0 + x.abs().min(6.0) as f64) + 1e-7 * expected.abs(),
                        "{form:?} {isa}: {x} {y} {expected}"
                    );
                }
                assert_eq!(first.get_or_insert_with(|| bits(&y)), &bits(&y), "{isa}");
            }
        }
    }

    #[test]
    fn the_gradient_follows_finite_differences() {
        let workers = Workers::new(2);
        let points: Vec<f64> = points().into_iter().filter(|x| x.abs() < 30.0).collect();
        for form in [Gelu::Exact, Gelu::Tanh] {
            let at = |step: f64| {
                let moved: Vec<f64> = points.iter().map(|x| x + step).collect();
                gelu(&Tensor::new(moved, &Device::Cpu).unwrap(), form, &workers)
                    .unwrap()
                    .to_vec1::<f64>()
                    .unwrap()
            };
            let x = Var::from_tensor(&Tensor::new(points.as_slice(), &Device::Cpu).unwrap()).unwrap();
            let y = gelu(x.as_tensor(), form, &workers).unwrap();
            let gradients = y.sum_all().unwrap().backward().unwrap();
            let found = gradients.get(x.as_tensor()).unwrap().to_vec1::<f64>().unwrap();
            for ((found, up), down) in found.iter().zip(at(1e-5)).zip(at(-1e-5)) {
                let expected = (up - down) / 2e-5;
                assert!((found - expected).abs() <= 1e-8, "{form:?}: {found} is not {expected}");
            }
        }
    }

    #[test]
    fn wrong_operands_are_errors() {
        let x = Tensor::zeros(3, DType::U32, &Device::Cpu).unwrap();
        let message = gelu(&x, Gelu::Exact, &Workers::new(1)).unwrap_err().to_string();
        assert!(message.contains("gelu") && message.contains("U32"), "{message}");
    }
}
