//! `cap * tanh(x / cap)`, element by element: what keeps logits within bounds. No gradient.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::Workers;
use super::parallel::{output, share};
use super::rows::contiguous_f32;
use super::simd::{Kernel, LANES, Simd, load_some, math, store_some};
use super::tape::{self, Keeps, apply1};

const OP: &str = "softcap";
/// Elements that are worth handing to a thread.
const PART_ELEMENTS: usize = 1 << 14;

/// x f32 of any shape, which the result has too.
///
/// # Errors
/// Another type.
pub fn softcap(x: &Tensor, cap: f32, workers: &Arc<Workers>) -> Result<Tensor> {
    apply1(&tape::contiguous(x)?, SoftCap { cap, workers: Arc::clone(workers) }, Keeps::NOTHING)
}

struct SoftCap {
    cap: f32,
    workers: Arc<Workers>,
}

impl CustomOp1 for SoftCap {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous_f32(OP, "x", storage, layout)?;
        let parts = (x.len() / PART_ELEMENTS).clamp(1, self.workers.threads());
        // SAFETY: the parts' elements cover all, and `Elements` writes its own.
        let out = unsafe {
            output(x.len(), |out| {
                self.workers.run(parts, &|part| {
                    let range = share(x.len(), parts, part);
                    let to = out.start().add(range.start);
                    self.workers.isa().dispatch(Elements { x: &x[range], cap: self.cap, out: to });
                });
            })
        };
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

/// `out` takes as many elements as x has.
struct Elements<'a> {
    x: &'a [f32],
    cap: f32,
    out: *mut f32,
}

impl Kernel for Elements<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let len = self.x.len();
        for i in (0..len).step_by(LANES) {
            // SAFETY: i is below the length of both; dispatch vouches for the instruction set.
            unsafe {
                let (cap, part) = (S::splat(self.cap), S::splat(self.cap.recip()));
                let x = load_some::<S>(self.x.as_ptr().add(i), len - i);
                store_some::<S>(self.out.add(i), S::mul(cap, math::tanh::<S>(S::mul(x, part))), len - i);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::Isa;
    use super::super::testing::{bits, numbers};
    use super::*;

    /// tanh's absolute error is below 3e-7.
    #[test]
    fn follows_f64_and_an_element_is_the_same_alone() {
        let x: Vec<f32> = numbers(1, 40_000).iter().map(|x| x * 200.0).collect();
        for isa in Isa::available() {
            let run = |x: &[f32], threads| {
                let tensor = Tensor::from_slice(x, x.len(), &Device::Cpu).unwrap();
                softcap(&tensor, 30.0, &Workers::with_isa(threads, isa)).unwrap().to_vec1::<f32>().unwrap()
            };
            let out = run(&x, 3);
            for (&x, &y) in x.iter().zip(&out) {
                let exact = 30.0 * (f64::from(x) / 30.0).tanh();
                assert!((f64::from(y) - exact).abs() <= 30.0 * 5e-7, "{isa} at {x}: {y} {exact}");
            }
            assert_eq!(bits(&run(&x[1234..1235], 1)), bits(&out[1234..1235]), "{isa}");
        }
    }
}
