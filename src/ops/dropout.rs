//! Dropout: each element is 0 with probability p, and else divided by 1 - p.
//!
//! The mask is a function of (key, stream, element) alone, drawn by Philox: the backward pass, and a forward pass that is
//! run again for its sake, make the same one, so that it is never stored.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::parallel::{SharedMut, share};
use super::philox::philox4x32_10;
use super::rows::{contiguous_f32, elements};
use super::tape::{Keeps, apply1, contiguous};
use super::{Workers, shape_error};

const OP: &str = "dropout";
/// Elements that are worth handing to a thread.
const PART_ELEMENTS: usize = 1 << 13;
/// Elements that one call of the generator decides over.
const GROUP: usize = 4;

/// How much to drop, and the numbers that decide what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// From 0 to below 1.
    pub probability: f32,
    /// Another one, another mask: of a seed and a step, for instance.
    pub key: u64,
    /// Tells the masks of one key apart: those of a model's layers.
    pub stream: u64,
}

/// f32 of any shape, which the result has too.
///
/// # Errors
/// A probability out of range.
pub fn dropout(x: &Tensor, dropout: Dropout, workers: &Arc<Workers>) -> Result<Tensor> {
    let Dropout { probability, .. } = dropout;
    if !(0.0..1.0).contains(&probability) {
        let detail = format!("the probability is {probability}; it must be from 0 to below 1");
        return Err(shape_error(OP, detail));
    }
    if probability == 0.0 {
        return Ok(x.clone());
    }
    apply1(&contiguous(x)?, Masked { dropout, workers: Arc::clone(workers) }, Keeps::NOTHING)
}

struct Masked {
    dropout: Dropout,
    workers: Arc<Workers>,
}

impl Masked {
    fn of(&self, x: &[f32]) -> Vec<f32> {
        let Dropout { probability, key, stream } = self.dropout;
        let mask = Mask {
            // Words below it drop: the probability in parts of 2^32.
            threshold: (f64::from(probability) * (1_u64 << 32) as f64) as u32,
            scale: (1.0 - probability).recip(),
            key: halves(key),
            stream: halves(stream),
        };
        let mut out = vec![0.0; x.len()];
        let groups = x.len().div_ceil(GROUP);
        let parts = (x.len() / PART_ELEMENTS).clamp(1, self.workers.threads());
        let shared = SharedMut::new(&mut out);
        self.workers.run(parts, &|part| {
            let groups = share(groups, parts, part);
            let start = groups.start * GROUP;
            let x = &x[start..x.len().min(groups.end * GROUP)];
            // SAFETY: the parts' groups are disjoint.
            let out = unsafe { shared.slice(start, x.len()) };
            for (group, (x, out)) in groups.zip(x.chunks(GROUP).zip(out.chunks_mut(GROUP))) {
                mask.group(group as u64, x, out);
            }
        });
        out
    }
}

struct Mask {
    threshold: u32,
    scale: f32,
    key: [u32; 2],
    stream: [u32; 2],
}

impl Mask {
    /// At most `GROUP` elements.
    fn group(&self, group: u64, x: &[f32], out: &mut [f32]) {
        let [low, high] = halves(group);
        let words = philox4x32_10([low, high, self.stream[0], self.stream[1]], self.key);
        for ((out, x), word) in out.iter_mut().zip(x).zip(words) {
            *out = if word < self.threshold { 0.0 } else { x * self.scale };
        }
    }
}

fn halves(number: u64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}

impl CustomOp1 for Masked {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = contiguous_f32(OP, "x", storage, layout)?;
        Ok((CpuStorage::F32(self.of(x)), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Tensor::from_vec(self.of(&elements(gradient)?), x.shape(), x.device()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bits, numbers};
    use super::*;
    use candle_core::{Device, Var};

    const SETTING: Dropout = Dropout { probability: 0.25, key: 7 << 40 | 3, stream: 5 };

    fn run(x: &[f32], setting: Dropout, threads: usize) -> Vec<f32> {
        let x = Tensor::from_slice(x, x.len(), &Device::Cpu).unwrap();
        dropout(&x, setting, &Workers::new(threads)).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn elements_are_dropped_or_scaled_and_the_mean_stays() {
        for probability in [0.05, 0.25, 0.5, 0.9] {
            let out = run(&vec![1.0; 100_001], Dropout { probability, ..SETTING }, 2);
            let kept = (1.0 - probability).recip();
            assert!(out.iter().all(|&y| y == 0.0 || y == kept));
            let dropped = out.iter().filter(|&&y| y == 0.0).count() as f32 / out.len() as f32;
            assert!((dropped - probability).abs() < 0.005, "{probability}: {dropped}");
        }
        let x = numbers(1, 9);
        assert_eq!(run(&x, Dropout { probability: 0.0, ..SETTING }, 1), x);
    }

    #[test]
    fn a_mask_is_a_function_of_its_key_alone() {
        let x = numbers(2, 50_003);
        let mask = run(&x, SETTING, 1);
        assert_eq!(bits(&run(&x, SETTING, 3)), bits(&mask));
        assert_eq!(bits(&run(&x[..10], SETTING, 1)), bits(&mask[..10]));
        for other in [
            Dropout { key: 3, ..SETTING },
            Dropout { key: 8 << 40 | 3, ..SETTING },
            Dropout { stream: 6, ..SETTING },
        ] {
            let same =
                run(&x, other, 1).iter().zip(&mask).filter(|(a, b)| (**a == 0.0) == (**b == 0.0)).count();
            // Independent masks agree on p^2 + (1 - p)^2.
            assert!((same as f64 / x.len() as f64 - 0.625).abs() < 0.01, "{other:?}");
        }
    }

    #[test]
    fn the_gradient_has_the_same_mask() {
        let x = Var::from_slice(&numbers(3, 1000), 1000, &Device::Cpu).unwrap();
        let y = dropout(x.as_tensor(), SETTING, &Workers::new(2)).unwrap();
        let weights = Tensor::from_slice(&numbers(4, 1000), 1000, &Device::Cpu).unwrap();
        let gradients = (y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
        let gradient = gradients.get(x.as_tensor()).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(bits(&gradient), bits(&run(&numbers(4, 1000), SETTING, 1)));
    }

    #[test]
    fn probabilities_out_of_range_are_refused() {
        let x = Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
        for probability in [-0.1, 1.0, f32::NAN] {
            let refused = dropout(&x, Dropout { probability, ..SETTING }, &Workers::new(1)).unwrap_err();
            assert!(refused.to_string().contains("from 0 to below 1"), "{refused}");
        }
    }
}
