//! A LayerNorm of a checkpoint: `{name}.weight` and `{name}.bias`.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::model::ModelError;
use crate::model::loader::Loader;
use crate::ops::{self, Workers};

pub(super) struct LayerNorm {
    /// `[hidden]`
    weight: Tensor,
    /// `[hidden]`
    bias: Tensor,
    eps: f64,
    workers: Arc<Workers>,
}

impl LayerNorm {
    pub fn load(loader: &Loader, name: &str, eps: f64) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            weight: loader.vector(name)?,
            bias: loader.tensor(&format!("{name}.bias"))?,
            eps,
            workers: Arc::clone(loader.workers()),
        })
    }

    /// Over the last dimension.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, self.eps, &self.workers)
    }

    pub fn bytes(&self) -> usize {
        (self.weight.elem_count() + self.bias.elem_count()) * size_of::<f32>()
    }
}
