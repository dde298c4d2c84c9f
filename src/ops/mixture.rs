//! A mixture of experts in the place of a gated block (arXiv:1701.06538; as Mixtral, arXiv:2401.04088, and Qwen have it): a router
//! gives each token some experts and their weights, and the token's result is the weighted sum of theirs, to which that of an
//! expert shared by all may be added.
//!
//! Tokens are gathered by expert, so that each expert's panels are read once for all of its tokens. A token's bits do not
//! depend on the others: a linear's row is one chain of sums, the softmax is over the token's own logits, and its
//! experts' results are added in the experts' order. No gradient.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::packed_linear::{gated_product, product};
use super::parallel::{SharedMut, share};
use super::real::{Real, largest, sum_of};
use super::rows::contiguous_f32;
use super::tape::is_tracked;
use super::{Activation, PackedLinear, Workers, shape_error};

const OP: &str = "mixture";
/// Elements that are worth handing to a thread.
const PART_ELEMENTS: usize = 1 << 14;

/// `down(activation(gate(x)) * up(x))`
#[derive(Clone)]
pub struct Expert {
    /// `[width, hidden]`
    pub gate: Arc<PackedLinear>,
    /// `[width, hidden]`
    pub up: Arc<PackedLinear>,
    /// `[hidden, width]`
    pub down: Arc<PackedLinear>,
}

/// An expert that all tokens go through, its result times the logistic function of a logit of the token's own.
#[derive(Clone)]
pub struct SharedExpert {
    pub expert: Expert,
    /// `[1, hidden]`
    pub gate: Arc<PackedLinear>,
}

#[derive(Clone)]
pub struct Mixture {
    /// `[experts, hidden]`
    pub router: Arc<PackedLinear>,
    pub experts: Vec<Expert>,
    pub shared: Option<SharedExpert>,
    pub experts_per_token: usize,
    /// The weights of a token's experts are made to sum to 1.
    pub normalised: bool,
    pub activation: Activation,
}

/// A token of an expert, and what the expert's result counts for it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Routed {
    token: usize,
    weight: f32,
}

impl Mixture {
    /// x f32 `[tokens, hidden]`, which the result is too.
    ///
    /// # Errors
    /// Shapes that do not fit; an x whose gradient will be asked for.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if is_tracked(x) {
            return Err(candle_core::Error::BackwardNotSupported { op: OP });
        }
        x.contiguous()?.apply_op1_no_bwd(&Op(self))
    }

    fn workers(&self) -> &Workers {
        self.router.workers()
    }

    fn run(&self, x: &[f32], tokens: usize) -> Result<Vec<f32>> {
        let mut out = vec![0.0; x.len()];
        let by_expert = self.route(&product(x, tokens, &self.router)?);
        for (expert, routed) in self.experts.iter().zip(&by_expert).filter(|(_, routed)| !routed.is_empty()) {
            let rows = self.gather(x, routed);
            let results = expert.forward(&rows, routed.len(), self.activation)?;
            self.add(&results, routed, &mut out);
        }
        if let Some(SharedExpert { expert, gate }) = &self.shared {
            let logits = product(x, tokens, gate)?;
            let logistic = |x: f32| 1.0 / (1.0 + (-x).exp());
            let all = logits.iter().enumerate().map(|(token, &x)| Routed { token, weight: logistic(x) });
            self.add(&expert.forward(x, tokens, self.activation)?, &all.collect::<Vec<_>>(), &mut out);
        }
        Ok(out)
    }

    /// The tokens of each expert, ascending, from the router's logits `[tokens, experts]`.
    fn route(&self, logits: &[f32]) -> Vec<Vec<Routed>> {
        let mut by_expert = vec![Vec::new(); self.experts.len()];
        for (token, logits) in logits.chunks_exact(self.experts.len()).enumerate() {
            for (expert, weight) in self.choose(logits) {
                by_expert[expert].push(Routed { token, weight });
            }
        }
        by_expert
    }

    /// The experts with the largest weights, the first of equal ones, and their part of the softmax.
    fn choose(&self, logits: &[f32]) -> Vec<(usize, f32)> {
        let largest = largest(logits, f32::NEG_INFINITY);
        let mut weights: Vec<f32> = logits.iter().map(|x| x - largest).collect();
        f32::exp_all(self.workers().isa(), &mut weights);
        let sum = sum_of(&weights);
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_unstable_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
        order.truncate(self.experts_per_token);
        let sum = if self.normalised { order.iter().map(|&expert| weights[expert]).sum() } else { sum };
        order.into_iter().map(|expert| (expert, weights[expert] / sum)).collect()
    }

    /// The rows of an expert's tokens, `[routed, hidden]`.
    fn gather(&self, x: &[f32], routed: &[Routed]) -> Vec<f32> {
        let hidden = self.router.in_features();
        let mut rows = vec![0.0; routed.len() * hidden];
        let parts = self.parts(rows.len());
        let out = SharedMut::new(&mut rows);
        self.workers().run(parts, &|part| {
            for index in share(routed.len(), parts, part) {
                // SAFETY: each part takes rows of its own.
                let row = unsafe { out.slice(index * hidden, hidden) };
                row.copy_from_slice(&x[routed[index].token * hidden..][..hidden]);
            }
        });
        rows
    }

    /// Threads that so many elements are worth.
    fn parts(&self, elements: usize) -> usize {
        (elements / PART_ELEMENTS).clamp(1, self.workers().threads())
    }

    /// Adds results `[routed, hidden]`, weighted, to those of their tokens.
    fn add(&self, results: &[f32], routed: &[Routed], out: &mut [f32]) {
        let hidden = self.router.in_features();
        let parts = self.parts(results.len());
        let out = SharedMut::new(out);
        self.workers().run(parts, &|part| {
            for index in share(routed.len(), parts, part) {
                let Routed { token, weight } = routed[index];
                // SAFETY: an expert has a token once, and each part takes its own.
                let sums = unsafe { out.slice(token * hidden, hidden) };
                let results = &results[index * hidden..][..hidden];
                sums.iter_mut().zip(results).for_each(|(sum, x)| *sum += weight * x);
            }
        });
    }

    pub fn bytes(&self) -> usize {
        let of = |Expert { gate, up, down }: &Expert| gate.bytes() + up.bytes() + down.bytes();
        let shared = self.shared.as_ref().map_or(0, |shared| of(&shared.expert) + shared.gate.bytes());
        self.router.bytes() + shared + self.experts.iter().map(of).sum::<usize>()
    }

    fn fits(&self) -> bool {
        let hidden = self.router.in_features();
        let of = |Expert { gate, up, down }: &Expert| {
            let takes = gate.in_features() == hidden && up.in_features() == hidden;
            let gives = down.out_features() == hidden;
            takes && gives && [gate, up].iter().all(|weight| weight.out_features() == down.in_features())
        };
        let shared = self.shared.iter().all(|shared| {
            of(&shared.expert) && (shared.gate.out_features(), shared.gate.in_features()) == (1, hidden)
        });
        let chosen = (1..=self.experts.len()).contains(&self.experts_per_token);
        shared && chosen && self.router.out_features() == self.experts.len() && self.experts.iter().all(of)
    }
}

impl Expert {
    /// x `[rows, hidden]`, which the result is too.
    fn forward(&self, x: &[f32], rows: usize, activation: Activation) -> Result<Vec<f32>> {
        product(&gated_product(x, rows, &self.gate, &self.up, activation)?, rows, &self.down)
    }
}

struct Op<'a>(&'a Mixture);

impl CustomOp1 for Op<'_> {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Self(mixture) = self;
        let (router, experts) = (&mixture.router, mixture.experts.len());
        let &[tokens, hidden] = layout.dims() else {
            return Err(shape_error(OP, format!("x must be [tokens, hidden], it is {:?}", layout.dims())));
        };
        if hidden != router.in_features() || !mixture.fits() {
            let detail = format!("x of {:?} and {experts} experts do not fit {router:?}", layout.dims());
            return Err(shape_error(OP, detail));
        }
        let out = mixture.run(contiguous_f32(OP, "x", storage, layout)?, tokens)?;
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::testing::{bits, numbers};
    use super::super::{Int8Scales, Isa, Storage, WeightData};
    use super::*;

    const HIDDEN: usize = 40;
    const WIDTH: usize = 24;
    const EXPERTS: usize = 6;

    fn weight(seed: u64, n: usize, k: usize) -> Vec<f32> {
        numbers(seed, n * k)
    }

    fn pack(seed: u64, n: usize, k: usize, storage: Storage, workers: &Arc<Workers>) -> Arc<PackedLinear> {
        PackedLinear::pack(WeightData::F32(&weight(seed, n, k)), n, k, None, storage, workers).unwrap()
    }

    fn expert(seed: u64, storage: Storage, workers: &Arc<Workers>) -> Expert {
        Expert {
            gate: pack(seed, WIDTH, HIDDEN, storage, workers),
            up: pack(seed + 1, WIDTH, HIDDEN, storage, workers),
            down: pack(seed + 2, HIDDEN, WIDTH, storage, workers),
        }
    }

    fn mixture(storage: Storage, normalised: bool, workers: &Arc<Workers>) -> Mixture {
        Mixture {
            router: pack(1, EXPERTS, HIDDEN, Storage::F32, workers),
            experts: (0..EXPERTS as u64).map(|at| expert(10 + 3 * at, storage, workers)).collect(),
            shared: normalised.then(|| SharedExpert {
                expert: expert(90, storage, workers),
                gate: pack(2, 1, HIDDEN, Storage::F32, workers),
            }),
            experts_per_token: 3,
            normalised,
            activation: Activation::Silu,
        }
    }

    fn run(mixture: &Mixture, x: &[f32]) -> Vec<f32> {
        let x = Tensor::from_slice(x, (x.len() / HIDDEN, HIDDEN), &Device::Cpu).unwrap();
        mixture.forward(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn times(x: &[f64], seed: u64, n: usize, k: usize) -> Vec<f64> {
        let rows = weight(seed, n, k);
        rows.chunks_exact(k).map(|row| row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum()).collect()
    }

    /// One token, written out.
    fn exact(x: &[f32], normalised: bool) -> Vec<f64> {
        let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let of_expert = |seed: u64| {
            let (gate, up) = (times(&x, seed, WIDTH, HIDDEN), times(&x, seed + 1, WIDTH, HIDDEN));
            let gated: Vec<f64> = gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            times(&gated, seed + 2, HIDDEN, WIDTH)
        };
        let powers: Vec<f64> = times(&x, 1, EXPERTS, HIDDEN).iter().map(|x| x.exp()).collect();
        let mut order: Vec<usize> = (0..EXPERTS).collect();
        order.sort_by(|&a, &b| powers[b].total_cmp(&powers[a]));
        let chosen = &order[..3];
        let sum: f64 = if normalised { chosen.iter().map(|&e| powers[e]).sum() } else { powers.iter().sum() };
        let mut out = vec![0.0; HIDDEN];
        let mut add =
            |weight: f64, y: Vec<f64>| out.iter_mut().zip(y).for_each(|(sum, y)| *sum += weight * y);
        for &e in chosen {
            add(powers[e] / sum, of_expert(10 + 3 * e as u64));
        }
        if normalised {
            add(1.0 / (1.0 + (-times(&x, 2, 1, HIDDEN)[0]).exp()), of_expert(90));
        }
        out
    }

    #[test]
    fn results_are_the_weighted_sums() {
        let x = numbers(7, 50 * HIDDEN);
        for normalised in [false, true] {
            for isa in Isa::available() {
                let workers = Workers::with_isa(2, isa);
                let found = run(&mixture(Storage::F32, normalised, &workers), &x);
                for (x, found) in x.chunks_exact(HIDDEN).zip(found.chunks_exact(HIDDEN)) {
                    for (found, expected) in found.iter().zip(exact(x, normalised)) {
                        assert!((f64::from(*found) - expected).abs() <= 1e-4, "{isa}: {found} {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_token_is_the_same_alone_and_on_any_number_of_threads() {
        let x = numbers(8, 90 * HIDDEN);
        let int8 = [Int8Scales::PerChannel, Int8Scales::PerGroup32].map(Storage::Int8);
        for storage in [Storage::F32, Storage::Bf16].into_iter().chain(int8) {
            for isa in Isa::available() {
                let all = run(&mixture(storage, true, &Workers::with_isa(3, isa)), &x);
                let one = mixture(storage, true, &Workers::with_isa(1, isa));
                for (x, all) in x.chunks_exact(HIDDEN).zip(all.chunks_exact(HIDDEN)).step_by(7) {
                    assert_eq!(bits(&run(&one, x)), bits(all), "{isa} {storage:?}");
                }
                assert!(run(&one, &[]).is_empty());
            }
        }
    }

    #[test]
    fn rows_are_gathered_on_any_number_of_threads() {
        let tokens = 4 * PART_ELEMENTS / HIDDEN;
        let x = numbers(9, tokens * HIDDEN);
        let routed: Vec<Routed> = (0..tokens).rev().map(|token| Routed { token, weight: 1.0 }).collect();
        let expected: Vec<f32> = x.chunks_exact(HIDDEN).rev().flatten().copied().collect();
        for threads in [1, 3] {
            let mixture = mixture(Storage::F32, false, &Workers::new(threads));
            assert!(mixture.gather(&x, &routed) == expected, "{threads} threads");
        }
    }

    #[test]
    fn equal_experts_are_taken_in_their_order() {
        let mixture = mixture(Storage::F32, false, &Workers::new(1));
        let chosen = mixture.choose(&[1.0, 2.0, 1.0, 1.0, 2.0, 0.0]);
        assert_eq!(chosen.iter().map(|(expert, _)| *expert).collect::<Vec<_>>(), [1, 4, 0]);
        let chosen = mixture.choose(&[f32::NAN; EXPERTS]);
        assert_eq!(chosen.len(), 3);
    }

    #[test]
    fn gradients_and_wrong_shapes_are_refused() {
        let workers = Workers::new(1);
        let mut mixture = mixture(Storage::F32, true, &workers);
        let zeros = |width| Tensor::zeros((2, width), candle_core::DType::F32, &Device::Cpu).unwrap();
        let x = Var::from_tensor(&zeros(HIDDEN)).unwrap();
        let error = mixture.forward(x.as_tensor()).unwrap_err().to_string();
        assert!(error.contains("mixture"), "{error}");
        assert!(mixture.forward(&zeros(HIDDEN + 1)).is_err());
        mixture.experts_per_token = EXPERTS + 1;
        assert!(mixture.forward(&zeros(HIDDEN)).is_err());
        mixture.experts_per_token = 2;
        mixture.experts[1].down = pack(1, HIDDEN, WIDTH + 1, Storage::F32, &workers);
        assert!(mixture.forward(&zeros(HIDDEN)).is_err());
    }
}
