//! A linear of a layer, with what adapters add to it.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::model::adapter::{Target, adapt, sole};
use crate::model::loader::Loader;
use crate::model::{Batch, DecoderConfig, ModelError};
use crate::ops::{self, PackedLinear};

#[derive(Clone)]
pub struct Projection {
    pub target: Target,
    /// `[out, in]`
    pub weight: Arc<PackedLinear>,
}

impl Projection {
    /// Of the layer whose name is given.
    pub fn load(
        config: &DecoderConfig,
        loader: &Loader,
        layer: &str,
        target: Target,
    ) -> std::result::Result<Self, ModelError> {
        let weight = loader.linear(&format!("{layer}.{}", target.part()), target.has_bias(config))?;
        Ok(Self { target, weight })
    }

    /// x `[tokens, in]` to `[tokens, out]`.
    pub fn forward(&self, x: &Tensor, layer: usize, batch: &Batch) -> Result<Tensor> {
        let Self { target, weight } = self;
        if let Some(adapter) = sole(&batch.adapters, x.dim(0)?) {
            return ops::adapted_linears(x, &[adapter.adapted(layer, *target, weight)], None);
        }
        adapt(ops::linear(x, weight)?, x, &batch.adapters, layer, *target, weight.workers())
    }

    /// The same added to `residual`, `[tokens, out]`.
    pub fn add_to(&self, residual: &Tensor, x: &Tensor, layer: usize, batch: &Batch) -> Result<Tensor> {
        let Self { target, weight } = self;
        if let Some(adapter) = sole(&batch.adapters, residual.dim(0)?) {
            return ops::adapted_linears(x, &[adapter.adapted(layer, *target, weight)], Some(residual));
        }
        let sum = ops::linear_add(x, weight, residual)?;
        adapt(sum, x, &batch.adapters, layer, *target, weight.workers())
    }
}

pub fn targets(projections: &[Projection]) -> impl Iterator<Item = Target> + Clone {
    projections.iter().map(|projection| projection.target)
}

pub fn weights(projections: &[Projection]) -> Vec<&Arc<PackedLinear>> {
    projections.iter().map(|projection| &projection.weight).collect()
}

pub fn bytes(projections: &[Projection]) -> usize {
    projections.iter().map(|projection| projection.weight.bytes()).sum()
}
