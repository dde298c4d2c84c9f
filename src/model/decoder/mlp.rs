//! The gated block: `down(activation(gate(x)) * up(x))`.

use candle_core::{Result, Tensor};

use super::Decoder;
use super::norm::RmsNorm;
use super::projection::{self, Projection};
use crate::model::adapter::{Target, any_adapts};
use crate::model::loader::Loader;
use crate::model::{Batch, DecoderConfig, ModelError};
use crate::ops;

#[derive(Clone)]
pub struct GatedMlp {
    /// Gate and up, or the one that makes both.
    pub gate_up: Vec<Projection>,
    pub down: Projection,
}

impl GatedMlp {
    /// Of the layer whose name is given.
    pub fn load(
        config: &DecoderConfig,
        loader: &Loader,
        layer: &str,
    ) -> std::result::Result<Self, ModelError> {
        let projection = |target: Target| Projection::load(config, loader, layer, target);
        let gate_up = Target::gate_up(config).iter().map(|target| projection(*target));
        // [intermediate, hidden] each, or [2 intermediate, hidden]
        Ok(Self {
            gate_up: gate_up.collect::<std::result::Result<_, _>>()?,
            down: projection(Target::Down)?, // [hidden, intermediate]
        })
    }

    /// What goes into `down`, `[tokens, intermediate]`.
    pub fn gated(
        &self,
        decoder: &Decoder,
        layer: usize,
        hidden: &Tensor,
        norm: &RmsNorm,
        batch: &Batch,
    ) -> Result<Tensor> {
        let activation = decoder.config.activation;
        if !any_adapts(&batch.adapters, layer, projection::targets(&self.gate_up)) {
            let (scale, eps) = (norm.scale()?, norm.eps);
            return match self.gate_up.as_slice() {
                [gate, up] => {
                    ops::normed_gated_linear(hidden, &scale, eps, &gate.weight, &up.weight, activation)
                }
                both => ops::normed_fused_gated_linear(hidden, &scale, eps, &both[0].weight, activation),
            };
        }
        let normed = norm.forward(hidden, &decoder.workers)?;
        let project = |projection: &Projection| projection.forward(&normed, layer, batch);
        match self.gate_up.as_slice() {
            [gate, up] => ops::glu(&project(gate)?, &project(up)?, activation, &decoder.workers),
            both => ops::glu_of_halves(&project(&both[0])?, activation, &decoder.workers),
        }
    }

    pub fn bytes(&self) -> usize {
        projection::bytes(&self.gate_up) + self.down.weight.bytes()
    }
}
