//! A LoRA adapter beside a decoder: to a linear's `W x` it adds `scale * B (A x)` (Hu et al. 2021,
//! <https://arxiv.org/abs/2106.09685>).
//!
//! The decoder never changes: an adapter travels with the rows of a [`Batch`](super::Batch) that it is for, so that rows of
//! several adapters and of none go through the layers together. Serving reads adapters (`open`), training makes them
//! (`initial`), changes their factors and writes them (`save`); both compute with `apply`.

mod apply;
mod initial;
mod open;
mod save;
mod target;

use std::sync::Arc;

use crate::ops::{AdaptedLinear, LowRank, OpsError, PackedLinear, Storage, WeightData, Workers};
use crate::weights::AdapterConfig;

pub use apply::AdapterRows;
pub(super) use apply::{adapt, any_adapts, sole};
pub use initial::LoraSettings;
pub use open::AdapterOptions;
pub use target::Target;

/// The factors of every adapted linear of a decoder.
#[derive(Clone)]
pub struct Adapter {
    /// What the files of the adapter say of it.
    config: AdapterConfig,
    /// A place for each of [`Target::ALL`], a layer.
    layers: Vec<[Option<Pair>; Target::COUNT]>,
}

/// One linear's change; its factors are f32.
pub type Pair = LowRank;

impl Adapter {
    pub fn config(&self) -> &AdapterConfig {
        &self.config
    }

    /// Layers of the decoder that it is for.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// How a linear changes; `None` where it does not.
    pub fn pair(&self, layer: usize, target: Target) -> Option<&Pair> {
        self.layers.get(layer)?[target as usize].as_ref()
    }

    /// A linear with its change, if it has one.
    pub(super) fn adapted(&self, layer: usize, target: Target, weight: &Arc<PackedLinear>) -> AdaptedLinear {
        AdaptedLinear { weight: Arc::clone(weight), low_rank: self.pair(layer, target).cloned() }
    }

    /// Every pair with the linear that it changes (`model.layers.0.self_attn.q_proj`), by layers and in the order of
    /// [`Target::ALL`].
    pub fn pairs(&self) -> impl Iterator<Item = (String, &Pair)> {
        self.layers.iter().enumerate().flat_map(|(layer, places)| {
            let pairs = Target::ALL.into_iter().zip(places);
            pairs.filter_map(move |(target, pair)| Some((target.module(layer), pair.as_ref()?)))
        })
    }

    /// The factors under PEFT's names (`base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`), for whoever trains
    /// them; the order is that of [`Self::pairs`], A before B.
    pub fn factors_mut(&mut self) -> impl Iterator<Item = (String, &mut Arc<PackedLinear>)> {
        self.layers.iter_mut().enumerate().flat_map(|(layer, places)| {
            let pairs = Target::ALL.into_iter().zip(places);
            pairs.filter_map(|(target, pair)| Some((target, pair.as_mut()?))).flat_map(
                move |(target, Pair { a, b, .. })| {
                    let module = target.module(layer);
                    let name = |factor| format!("base_model.model.{module}.{factor}.weight");
                    [(name("lora_A"), a), (name("lora_B"), b)]
                },
            )
        })
    }

    fn is_f64(&self) -> bool {
        self.layers.iter().flatten().flatten().next().is_some_and(|pair| pair.a.is_f64())
    }

    /// With factors in f64, beside a decoder in f64.
    ///
    /// # Errors
    /// Memory.
    pub fn to_f64(&self, workers: &Arc<Workers>) -> Result<Self, OpsError> {
        self.repacked(&|factor| {
            let (rows, out, input) = (factor.to_rows()?, factor.out_features(), factor.in_features());
            PackedLinear::pack(WeightData::F32(&rows), out, input, None, Storage::F64, workers)
        })
    }

    /// As it is now, with factors of its own that do not learn.
    ///
    /// # Errors
    /// Memory.
    pub fn frozen_copy(&self) -> Result<Self, OpsError> {
        self.repacked(&PackedLinear::frozen_copy)
    }

    fn repacked(
        &self,
        factor: &dyn Fn(&PackedLinear) -> Result<Arc<PackedLinear>, OpsError>,
    ) -> Result<Self, OpsError> {
        let mut all = self.clone();
        for pair in all.layers.iter_mut().flatten().flatten() {
            *pair = Pair { a: factor(&pair.a)?, b: factor(&pair.b)?, scale: pair.scale };
        }
        Ok(all)
    }

    /// The largest rank.
    pub fn rank(&self) -> usize {
        self.pairs().map(|(_, pair)| pair.a.out_features()).max().unwrap_or(0)
    }

    /// Memory of the factors.
    pub fn bytes(&self) -> usize {
        self.pairs().map(|(_, pair)| pair.a.bytes() + pair.b.bytes()).sum()
    }
}

impl std::fmt::Debug for Adapter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        let pairs = self.pairs().count();
        write!(formatter, "Adapter({} layers, {pairs} pairs, rank {})", self.layers.len(), self.rank())
    }
}
