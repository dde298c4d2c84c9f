//! Linears with low-rank additions, as LoRA has them (arXiv:2106.09685): `x W^T + b + scale (x A^T) B^T`, several side by side.
//!
//! Bit for bit what `linear`, a product with A, its scaling and `linear_add` with B make one after the other. As one operation its
//! result is written once, x has one gradient, and of what lies between only `x A^T` is kept, which is as narrow as the rank.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::PackedLinear;
use super::backward::{Term, input_gradient};
use super::forward::{add_product, product, side_by_side};
use crate::ops::rows::{contiguous_f32, elements};
use crate::ops::shape_error;
use crate::ops::tape::{Keeps, apply1, apply2, contiguous, is_tracked};

const OP: &str = "adapted_linears";

/// What is added to a linear: A `[rank, in_features]`, B `[out_features, rank]`.
#[derive(Clone)]
pub struct LowRank {
    pub a: Arc<PackedLinear>,
    pub b: Arc<PackedLinear>,
    /// `alpha / rank`, or `alpha / sqrt(rank)`.
    pub scale: f64,
}

/// A linear with what is added to it, if anything.
#[derive(Clone)]
pub struct AdaptedLinear {
    pub weight: Arc<PackedLinear>,
    pub low_rank: Option<LowRank>,
}

/// The results side by side, f32 `[tokens, sum of out_features]`, of x f32 `[tokens, in_features]`; added to a residual of the
/// result's shape, if there is one.
///
/// # Errors
/// Shapes that do not fit.
pub fn adapted_linears(x: &Tensor, linears: &[AdaptedLinear], residual: Option<&Tensor>) -> Result<Tensor> {
    for AdaptedLinear { weight, low_rank } in linears {
        let Some(LowRank { a, b, .. }) = low_rank else { continue };
        let fit = a.in_features == weight.in_features
            && b.out_features == weight.out_features
            && a.out_features == b.in_features;
        if !fit {
            return Err(shape_error(OP, format!("{a:?} and {b:?} do not fit {weight:?}")));
        }
    }
    let op = AdaptedLinears { linears: linears.to_vec(), products: Mutex::new(is_tracked(x).then(Vec::new)) };
    let keeps = if op.learns() { Keeps::OPERANDS } else { Keeps::NOTHING };
    let x = contiguous(x)?;
    match residual {
        None => apply1(&x, op, keeps),
        Some(residual) => apply2(&x, &contiguous(residual)?, op, keeps),
    }
}

struct AdaptedLinears {
    linears: Vec<AdaptedLinear>,
    /// `scale x A^T` of each addition, if a gradient will be asked for.
    products: Mutex<Option<Vec<Vec<f32>>>>,
}

impl AdaptedLinears {
    fn learns(&self) -> bool {
        self.linears.iter().any(|AdaptedLinear { weight, low_rank }| {
            let factors = low_rank.iter().flat_map(|LowRank { a, b, .. }| [a, b]);
            std::iter::once(weight).chain(factors).any(|weight| weight.is_trainable())
        })
    }

    /// Each linear and where its columns begin in the result.
    fn offsets(&self) -> impl Iterator<Item = (&AdaptedLinear, usize)> {
        self.linears.iter().scan(0, |offset, linear| {
            let start = *offset;
            *offset += linear.weight.out_features;
            Some((linear, start))
        })
    }

    fn forward(
        &self,
        x: &[f32],
        x_shape: &Shape,
        residual: Option<(&[f32], &Shape)>,
    ) -> Result<(CpuStorage, Shape)> {
        let weights = self.linears.iter().map(|linear| Arc::clone(&linear.weight)).collect();
        let (mut y, shape) = side_by_side(x, x_shape, weights, residual)?;
        let (rows, width) = shape.dims2()?;
        let mut products = Vec::new();
        for (linear, offset) in self.offsets() {
            let Some(LowRank { a, b, scale }) = &linear.low_rank else { continue };
            let mut down = product(x, rows, a)?; // [rows, rank]
            for x in &mut down {
                *x *= *scale as f32;
            }
            add_product(&down, rows, b, &mut y, width, offset)?;
            products.push(down);
        }
        if let Some(kept) = self.products.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            *kept = products;
        }
        Ok((CpuStorage::F32(y), shape))
    }

    /// The gradient of x; those of weights and factors that learn are added to theirs.
    fn backward(&self, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let Some(products) = self.products.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Err(shape_error(OP, "its gradient was taken already"));
        };
        let (rows, width) = gradient.dims2()?;
        let dy = elements(gradient)?;
        let values = if self.learns() { Some(elements(x)?) } else { None };
        let accumulate = |weight: &PackedLinear, x: &[f32], dy: &[f32], width, offset| {
            weight.accumulate(x, dy, width, offset).map_err(candle_core::Error::wrap)
        };
        let mut products = products.into_iter();
        // Of `x A^T`, with the A that it goes on to.
        let mut inner: Vec<(&Arc<PackedLinear>, Vec<f32>)> = Vec::new();
        for (linear, offset) in self.offsets() {
            if let Some(x) = &values {
                accumulate(&linear.weight, x, &dy, width, offset)?;
            }
            let Some(LowRank { a, b, scale }) = &linear.low_rank else { continue };
            let down = products.next().unwrap_or_default();
            accumulate(b, &down, &dy, width, offset)?;
            let term = Term { weight: b, dy: &dy, width, offset };
            let mut gradient = input_gradient(&[term], rows)?; // [rows, rank]
            for x in &mut gradient {
                *x *= *scale as f32;
            }
            if let Some(x) = &values {
                accumulate(a, x, &gradient, a.out_features, 0)?;
            }
            inner.push((a, gradient));
        }
        let outer = self.offsets().map(|(AdaptedLinear { weight, .. }, offset)| Term {
            weight,
            dy: &dy,
            width,
            offset,
        });
        let inner = inner.iter().map(|(a, dy)| Term { weight: a, dy, width: a.out_features, offset: 0 });
        let terms: Vec<Term<'_>> = outer.chain(inner).collect();
        if terms.is_empty() {
            return x.zeros_like();
        }
        Tensor::from_vec(input_gradient(&terms, rows)?, x.shape(), x.device())
    }
}

impl CustomOp1 for AdaptedLinears {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward(contiguous_f32(OP, "x", storage, layout)?, layout.shape(), None)
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        self.backward(x, gradient).map(Some)
    }
}

impl CustomOp2 for AdaptedLinears {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = contiguous_f32(OP, "x", x, x_layout)?;
        let residual = contiguous_f32(OP, "residual", residual, residual_layout)?;
        self.forward(x, x_layout.shape(), Some((residual, residual_layout.shape())))
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(self.backward(x, gradient)?), Some(gradient.clone())))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::{Storage, WeightData, linear, linear_add};
    use super::*;
    use crate::ops::testing::{bits, numbers};
    use crate::ops::{Workers, record, scale};

    const ROWS: usize = 70;

    fn tensor(seed: u64, shape: (usize, usize)) -> Tensor {
        Tensor::from_vec(numbers(seed, shape.0 * shape.1), shape, &Device::Cpu).unwrap()
    }

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Two linears of 40 features, of which the second has an addition or both have, and whose factors learn.
    fn linears(storage: Storage, both: bool, workers: &Arc<Workers>) -> Vec<AdaptedLinear> {
        let pack = |seed, n: usize, k: usize, storage, learns: bool| {
            let values = numbers(seed, n * k);
            let mut packed =
                PackedLinear::pack(WeightData::F32(&values), n, k, None, storage, workers).unwrap();
            if learns {
                Arc::get_mut(&mut packed).unwrap().set_trainable().unwrap();
            }
            packed
        };
        let low_rank = |seed, n: usize| LowRank {
            a: pack(seed, 4, 40, Storage::F32, true),
            b: pack(seed + 1, n, 4, Storage::F32, true),
            scale: 1.5,
        };
        vec![
            AdaptedLinear {
                weight: pack(1, 24, 40, storage, false),
                low_rank: both.then(|| low_rank(3, 24)),
            },
            AdaptedLinear { weight: pack(2, 9, 40, storage, false), low_rank: Some(low_rank(5, 9)) },
        ]
    }

    fn stepwise(x: &Tensor, linear_: &AdaptedLinear, residual: Option<&Tensor>) -> Tensor {
        let plain = match residual {
            None => linear(x, &linear_.weight).unwrap(),
            Some(residual) => linear_add(x, &linear_.weight, residual).unwrap(),
        };
        let Some(LowRank { a, b, scale: factor }) = &linear_.low_rank else { return plain };
        let down = scale(&linear(x, a).unwrap(), *factor).unwrap();
        linear_add(&down, b, &plain).unwrap()
    }

    #[test]
    fn results_are_those_of_single_steps() {
        let workers = Workers::new(2);
        for storage in [Storage::F32, Storage::Bf16] {
            for both in [false, true] {
                let all = linears(storage, both, &workers);
                let x = tensor(7, (ROWS, 40));
                let found = adapted_linears(&x, &all, None).unwrap();
                let expected: Vec<Tensor> = all.iter().map(|linear| stepwise(&x, linear, None)).collect();
                assert_eq!(bits(&values(&found)), bits(&values(&Tensor::cat(&expected, 1).unwrap())));
                let residual = tensor(8, (ROWS, 9));
                let found = adapted_linears(&x, &all[1..], Some(&residual)).unwrap();
                assert_eq!(bits(&values(&found)), bits(&values(&stepwise(&x, &all[1], Some(&residual)))));
            }
        }
    }

    #[test]
    fn gradients_are_those_of_single_steps() {
        let workers = Workers::new(2);
        let gradients = |all: &mut [AdaptedLinear]| -> Vec<Vec<f32>> {
            let factors = all.iter_mut().filter_map(|linear| linear.low_rank.as_mut());
            let learned = factors.flat_map(|LowRank { a, b, .. }| [a, b]).map(|factor| {
                let factor = Arc::get_mut(factor).unwrap();
                let order = factor.order();
                order.to_rows(factor.learned().unwrap().0.gradient)
            });
            learned.collect()
        };
        let (x, upstream) = (tensor(7, (ROWS, 40)), tensor(9, (ROWS, 33)));
        let mut single = linears(Storage::F32, true, &workers);
        let var = Var::from_tensor(&x).unwrap();
        let pieces: Vec<Tensor> =
            single.iter().map(|linear| stepwise(var.as_tensor(), linear, None)).collect();
        let top = (Tensor::cat(&pieces, 1).unwrap() * &upstream).unwrap().sum_all().unwrap();
        let expected = values(top.backward().unwrap().get(var.as_tensor()).unwrap());
        drop((pieces, top));

        let mut together = linears(Storage::F32, true, &workers);
        let (y, tape) = record(&[&x], &workers, || adapted_linears(&x, &together, None)).unwrap();
        let found = values(&tape.backward(&y, upstream).unwrap().remove(&x).unwrap().unwrap());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{found} {expected}");
        }
        for (found, expected) in gradients(&mut together).iter().zip(&gradients(&mut single)) {
            assert_eq!(bits(found), bits(expected));
        }
    }

    #[test]
    fn factors_that_do_not_fit_are_named() {
        let workers = Workers::new(1);
        let mut all = linears(Storage::F32, true, &workers);
        all.swap(0, 1);
        let wrong = AdaptedLinear { weight: all[0].weight.clone(), low_rank: all[1].low_rank.clone() };
        let error = adapted_linears(&tensor(1, (2, 40)), &[wrong], None).unwrap_err().to_string();
        assert!(error.contains("do not fit PackedLinear(40 -> 9"), "{error}");
    }
}
