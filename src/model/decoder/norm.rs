//! RMS norms of a decoder.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::model::loader::Loader;
use crate::model::{DecoderConfig, ModelError};
use crate::ops::{self, Workers};

#[derive(Clone)]
pub struct RmsNorm {
    /// As the checkpoint has it. `[n]`
    pub weight: Tensor,
    pub eps: f32,
    adds_one: bool,
}

impl RmsNorm {
    /// `{name}.weight`
    pub fn load(
        config: &DecoderConfig,
        loader: &Loader,
        name: &str,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self { weight: loader.vector(name)?, eps: config.rms_norm_eps, adds_one: config.norms_add_one })
    }

    /// What is multiplied by.
    pub fn scale(&self) -> Result<Tensor> {
        if self.adds_one { ops::shift(&self.weight, 1.0) } else { Ok(self.weight.clone()) }
    }

    /// Over the last dimension.
    pub fn forward(&self, x: &Tensor, workers: &Arc<Workers>) -> Result<Tensor> {
        ops::rms_norm(x, &self.scale()?, self.eps, workers)
    }

    pub fn bytes(&self) -> usize {
        self.weight.elem_count() * size_of::<f32>()
    }
}
