//! The middle of gated linear units (arXiv:2002.05202): `activation(gate) * up`, element by element.
//!
//! Both activations are x times the logistic function of something: of x itself (SiLU), and of what makes tanh's GELU of it,
//! since (1 + tanh u) / 2 is the logistic function of 2u.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor};

use super::parallel::{SharedMut, output, share};
use super::real::Real;
use super::rows::{contiguous, contiguous_f32, elements, elements_f64};
use super::simd::{Kernel, LANES, Simd, load_some, math, store_some};
use super::tape::{self, Keeps, apply2};
use super::{Workers, shape_error};

const OP: &str = "glu";
/// Elements that are worth handing to a thread.
const PART_ELEMENTS: usize = 1 << 13;
/// `2 sqrt(2 / pi)`, and GELU's cubic term times it.
const GELU_LINEAR: f64 = 1.595_769_121_605_730_7;
const GELU_CUBIC: f64 = GELU_LINEAR * 0.044_715;

/// What a gate goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// transformers' `silu`: SwiGLU.
    Silu,
    /// transformers' `gelu_pytorch_tanh`: GEGLU.
    GeluTanh,
}

impl Activation {
    /// Of one vector.
    #[inline(always)]
    pub(super) unsafe fn of<S: Simd>(self, x: S::F) -> S::F {
        // SAFETY: the caller vouches for the instruction set; no memory is touched.
        unsafe {
            match self {
                Self::Silu => math::silu::<S>(x),
                Self::GeluTanh => {
                    let slope =
                        S::fma(S::splat(GELU_CUBIC as f32), S::mul(x, x), S::splat(GELU_LINEAR as f32));
                    math::times_logistic::<S>(x, S::mul(x, slope))
                }
            }
        }
    }

    /// What the logistic function is of.
    fn inner<T: Real>(self, x: T) -> T {
        match self {
            Self::Silu => x,
            Self::GeluTanh => x * (T::of(GELU_LINEAR) + T::of(GELU_CUBIC) * x * x),
        }
    }

    /// Its derivative.
    fn inner_slope<T: Real>(self, x: T) -> T {
        match self {
            Self::Silu => T::one(),
            Self::GeluTanh => T::of(GELU_LINEAR) + T::of(3.0 * GELU_CUBIC) * x * x,
        }
    }
}

/// gate and up f32 of one shape, which the result has too.
pub fn glu(gate: &Tensor, up: &Tensor, activation: Activation, workers: &Arc<Workers>) -> Result<Tensor> {
    let op = Glu { activation, workers: Arc::clone(workers) };
    apply2(&tape::contiguous(gate)?, &tape::contiguous(up)?, op, Keeps::OPERANDS)
}

/// The same where gate and up stand beside each other, `[tokens, 2 width]`.
pub fn glu_of_halves(gate_up: &Tensor, activation: Activation, workers: &Arc<Workers>) -> Result<Tensor> {
    let width = gate_up.dim(1)? / 2;
    let (gate, up) = (tape::narrow(gate_up, 1, 0, width)?, tape::narrow(gate_up, 1, width, width)?);
    glu(&gate, &up, activation, workers)
}

struct Glu {
    activation: Activation,
    workers: Arc<Workers>,
}

impl CustomOp2 for Glu {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate_shape, up_shape) = (gate_layout.shape(), up_layout.shape());
        if gate_shape != up_shape {
            return Err(shape_error(OP, format!("gate {gate_shape:?} and up {up_shape:?} differ in shape")));
        }
        if let CpuStorage::F64(_) = gate {
            let gate: &[f64] = contiguous(OP, "gate", gate, gate_layout)?;
            let up: &[f64] = contiguous(OP, "up", up, up_layout)?;
            let value = |(&gate, up)| gate / (1.0 + (-self.activation.inner::<f64>(gate)).exp()) * up;
            let out = gate.iter().zip(up).map(value).collect();
            return Ok((CpuStorage::F64(out), gate_shape.clone()));
        }
        let gate = contiguous_f32(OP, "gate", gate, gate_layout)?;
        let up = contiguous_f32(OP, "up", up, up_layout)?;
        let parts = (gate.len() / PART_ELEMENTS).clamp(1, self.workers.threads());
        // SAFETY: the parts' elements cover all, and `Elements` writes its own.
        let out = unsafe {
            output(gate.len(), |out| {
                self.workers.run(parts, &|part| {
                    let range = share(gate.len(), parts, part);
                    let to = out.start().add(range.start);
                    let kernel = Elements {
                        gate: &gate[range.clone()],
                        up: &up[range],
                        activation: self.activation,
                        out: to,
                    };
                    self.workers.isa().dispatch(kernel);
                });
            })
        };
        Ok((CpuStorage::F32(out), gate_shape.clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        if gate.dtype() == DType::F64 {
            let (gates, ups) = backward(
                &elements_f64(gate)?,
                &elements_f64(up)?,
                &elements_f64(gradient)?,
                self.activation,
                &self.workers,
            );
            let tensor = |x| Tensor::from_vec(x, gate.shape(), gate.device()).map(Some);
            return Ok((tensor(gates)?, tensor(ups)?));
        }
        let (gate_gradient, up_gradient) =
            backward(&elements(gate)?, &elements(up)?, &elements(gradient)?, self.activation, &self.workers);
        let tensor = |x| Tensor::from_vec(x, gate.shape(), gate.device()).map(Some);
        Ok((tensor(gate_gradient)?, tensor(up_gradient)?))
    }
}

/// The gradients of gate and up. With s the logistic function of z, what is made of the gate, the activation's derivative is
/// s (1 + gate (1 - s) z').
fn backward<T: Real>(
    gate: &[T],
    up: &[T],
    gradient: &[T],
    activation: Activation,
    workers: &Workers,
) -> (Vec<T>, Vec<T>) {
    let (mut gates, mut ups) = (vec![T::zero(); gate.len()], vec![T::zero(); gate.len()]);
    let (gates_shared, ups_shared) = (SharedMut::new(&mut gates), SharedMut::new(&mut ups));
    workers.run(gate.len().div_ceil(PART_ELEMENTS), &|part| {
        let start = part * PART_ELEMENTS;
        let len = PART_ELEMENTS.min(gate.len() - start);
        // SAFETY: each part takes its own elements.
        let (gates, ups) = unsafe { (gates_shared.slice(start, len), ups_shared.slice(start, len)) };
        for (to, &gate) in gates.iter_mut().zip(&gate[start..]) {
            *to = -activation.inner(gate);
        }
        T::exp_all(workers.isa(), gates);
        let rest = gate[start..].iter().zip(&up[start..]).zip(&gradient[start..]);
        for ((gate_to, up_to), ((&gate, &up), &gradient)) in gates.iter_mut().zip(ups).zip(rest) {
            let s = T::one() / (T::one() + *gate_to);
            *up_to = gradient * gate * s;
            *gate_to = gradient * up * s * (T::one() + gate * (T::one() - s) * activation.inner_slope(gate));
        }
    });
    (gates, ups)
}

/// Slices of one length, which `out` takes.
struct Elements<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    activation: Activation,
    out: *mut f32,
}

impl Kernel for Elements<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let len = self.gate.len();
        let mut i = 0;
        while i < len {
            // SAFETY: i is below the length of all three.
            unsafe {
                let gate = load_some::<S>(self.gate.as_ptr().add(i), len - i);
                let up = load_some::<S>(self.up.as_ptr().add(i), len - i);
                store_some::<S>(self.out.add(i), S::mul(self.activation.of::<S>(gate), up), len - i);
            }
            i += LANES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Isa;
    use super::super::testing::{Golden, bits, check_gradient, doubles, numbers};
    use super::*;
    use candle_core::Device;

    const BOTH: [Activation; 2] = [Activation::Silu, Activation::GeluTanh];

    fn exact(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::GeluTanh => {
                // (1 + tanh u) / 2 without the cancellation of tanh near -1.
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                x / (1.0 + (-2.0 * u).exp())
            }
        }
    }

    fn check(rows: usize, width: usize, activation: Activation) {
        let gate: Vec<f32> = numbers(4, rows * width).iter().map(|x| x * 20.0).collect();
        let up = numbers(5, rows * width);
        let tensor = |x: &[f32]| Tensor::from_slice(x, (x.len() / width, width), &Device::Cpu).unwrap();
        for isa in Isa::available() {
            let run = |gate: &[f32], up: &[f32], threads| {
                let workers = Workers::with_isa(threads, isa);
                let out = glu(&tensor(gate), &tensor(up), activation, &workers).unwrap();
                out.flatten_all().unwrap().to_vec1::<f32>().unwrap()
            };
            let out = run(&gate, &up, 2);
            for ((&gate, &up), &y) in gate.iter().zip(&up).zip(&out) {
                let exact = exact(activation, f64::from(gate)) * f64::from(up);
                // GELU's cube is rounded before the exponential makes a factor of the error, down to what f32 cannot hold.
                let relative = if activation == Activation::Silu { 1e-6 } else { 1e-5 };
                let error = (f64::from(y) - exact).abs();
                assert!(
                    error <= relative * exact.abs() + 1e-30,
                    "{isa} {activation:?} at {gate}: {y} {exact}"
                );
            }
            let last = (rows - 1) * width;
            assert_eq!(bits(&run(&gate[last..], &up[last..], 1)), bits(&out[last..]), "{isa}");
        }
    }

    #[test]
    fn follows_f64_and_a_row_is_the_same_alone() {
        for (rows, width) in [(1, 1), (3, 15), (33, 1536), (2, 17)] {
            for activation in BOTH {
                check(rows, width, activation);
            }
        }
    }

    #[test]
    fn shapes_must_agree() {
        let tensor = |shape| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        let result = glu(&tensor((2, 3)), &tensor((3, 2)), Activation::Silu, &Workers::new(1));
        assert!(result.is_err());
    }

    #[test]
    fn gradients_follow_finite_differences_and_pytorch() {
        let workers = Workers::new(2);
        for activation in BOTH {
            check_gradient(&doubles(1, 40), 1e-8, |gate| {
                let (up, weights) = (doubles(2, 40), doubles(3, 40));
                let value = |g: f64, u: f64| exact(activation, g) * u;
                let loss = gate.iter().zip(&up).zip(&weights).map(|((&g, &u), w)| w * value(g, u)).sum();
                (loss, backward(gate, &up, &weights, activation, &workers).0)
            });
        }
        let golden = Golden::new("swiglu");
        let (gate, up) = (golden.var("gate"), golden.var("up"));
        let y = glu(gate.as_tensor(), up.as_tensor(), Activation::Silu, &workers).unwrap();
        golden.check(&y, &[("gate", &gate), ("up", &up)]);
    }

    /// The two ways to GELU, the encoders' and the decoders', are one function.
    #[test]
    fn tanhs_gelu_is_that_of_the_encoders() {
        let (workers, x) = (Workers::new(1), numbers(7, 600));
        let x: Vec<f32> = x.iter().map(|x| x * 8.0).collect();
        let x = Tensor::from_vec(x, 600, &Device::Cpu).unwrap();
        let found = glu(&x, &x.ones_like().unwrap(), Activation::GeluTanh, &workers).unwrap();
        let expected = super::super::gelu(&x, super::super::Gelu::Tanh, &workers).unwrap();
        for (found, expected) in
            found.to_vec1::<f32>().unwrap().iter().zip(expected.to_vec1::<f32>().unwrap())
        {
            assert!((found - expected).abs() <= 2e-6, "{found} {expected}");
        }
    }
}
