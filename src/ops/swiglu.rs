//! SwiGLU's middle: `silu(gate) * up`, element by element.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor};

use super::parallel::{SharedMut, output, share};
use super::real::Real;
use super::rows::{contiguous, contiguous_f32, elements, elements_f64};
use super::simd::{Kernel, LANES, Simd, load_some, math, store_some};
use super::tape::{self, Keeps, apply2};
use super::{Workers, shape_error};

const OP: &str = "swiglu";
/// Elements that are worth handing to a thread.
const PART_ELEMENTS: usize = 1 << 13;

/// gate and up f32 of one shape, which the result has too.
pub fn swiglu(gate: &Tensor, up: &Tensor, workers: &Arc<Workers>) -> Result<Tensor> {
    let op = SwiGlu { workers: Arc::clone(workers) };
    apply2(&tape::contiguous(gate)?, &tape::contiguous(up)?, op, Keeps::OPERANDS)
}

struct SwiGlu {
    workers: Arc<Workers>,
}

impl CustomOp2 for SwiGlu {
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
            let out = gate.iter().zip(up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect();
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
                    let kernel = Elements { gate: &gate[range.clone()], up: &up[range], out: to };
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
            let (gates, ups) = swiglu_backward(
                &elements_f64(gate)?,
                &elements_f64(up)?,
                &elements_f64(gradient)?,
                &self.workers,
            );
            let tensor = |x| Tensor::from_vec(x, gate.shape(), gate.device()).map(Some);
            return Ok((tensor(gates)?, tensor(ups)?));
        }
        let (gate_gradient, up_gradient) =
            swiglu_backward(&elements(gate)?, &elements(up)?, &elements(gradient)?, &self.workers);
        let tensor = |x| Tensor::from_vec(x, gate.shape(), gate.device()).map(Some);
        Ok((tensor(gate_gradient)?, tensor(up_gradient)?))
    }
}

/// The gradients of gate and up. With s the logistic function of the gate, silu' = s (1 + gate (1 - s)).
pub(super) fn swiglu_backward<T: Real>(
    gate: &[T],
    up: &[T],
    gradient: &[T],
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
            *to = -gate;
        }
        T::exp_all(workers.isa(), gates);
        let rest = gate[start..].iter().zip(&up[start..]).zip(&gradient[start..]);
        for ((gate_to, up_to), ((&gate, &up), &gradient)) in gates.iter_mut().zip(ups).zip(rest) {
            let s = T::one() / (T::one() + *gate_to);
            *up_to = gradient * gate * s;
            *gate_to = gradient * up * s * (T::one() + gate * (T::one() - s));
        }
    });
    (gates, ups)
}

/// Slices of one length, which `out` takes.
struct Elements<'a> {
    gate: &'a [f32],
    up: &'a [f32],
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
                store_some::<S>(self.out.add(i), S::mul(math::silu::<S>(gate), up), len - i);
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

    fn check(rows: usize, width: usize) {
        let gate: Vec<f32> = numbers(4, rows * width).iter().map(|x| x * 20.0).collect();
        let up = numbers(5, rows * width);
        let tensor = |x: &[f32]| Tensor::from_slice(x, (x.len() / width, width), &Device::Cpu).unwrap();
        for isa in Isa::available() {
            let run = |gate: &[f32], up: &[f32], threads| {
                let out = swiglu(&tensor(gate), &tensor(up), &Workers::with_isa(threads, isa)).unwrap();
                out.flatten_all().unwrap().to_vec1::<f32>().unwrap()
            };
            let out = run(&gate, &up, 2);
            for ((&gate, &up), &y) in gate.iter().zip(&up).zip(&out) {
                let (gate, up) = (f64::from(gate), f64::from(up));
                let exact = gate / (1.0 + (-gate).exp()) * up;
                assert!((f64::from(y) - exact).abs() <= 1e-6 * exact.abs(), "{isa}: {y} {exact}");
            }
            let last = (rows - 1) * width;
            assert_eq!(bits(&run(&gate[last..], &up[last..], 1)), bits(&out[last..]), "{isa}");
        }
    }

    #[test]
    fn follows_f64_and_a_row_is_the_same_alone() {
        for (rows, width) in [(1, 1), (3, 15), (33, 1536), (2, 17)] {
            check(rows, width);
        }
    }

    #[test]
    fn shapes_must_agree() {
        let tensor = |shape| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(swiglu(&tensor((2, 3)), &tensor((3, 2)), &Workers::new(1)).is_err());
    }

    #[test]
    fn gradients_follow_finite_differences_and_pytorch() {
        let workers = Workers::new(2);
        check_gradient(&doubles(1, 40), 1e-8, |gate| {
            let (up, weights) = (doubles(2, 40), doubles(3, 40));
            let value = |g: f64, u: f64| g / (1.0 + (-g).exp()) * u;
            let loss = gate.iter().zip(&up).zip(&weights).map(|((&g, &u), w)| w * value(g, u)).sum();
            (loss, swiglu_backward(gate, &up, &weights, &workers).0)
        });
        let golden = Golden::new("swiglu");
        let (gate, up) = (golden.var("gate"), golden.var("up"));
        let y = swiglu(gate.as_tensor(), up.as_tensor(), &workers).unwrap();
        golden.check(&y, &[("gate", &gate), ("up", &up)]);
    }
}
