//! The activation between the two linears of an encoder's feed-forward block.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::model::ModelError;
use crate::model::reader::Reader;
use crate::ops::{self, Gelu, Workers};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    Relu,
    Gelu(Gelu),
}

impl Activation {
    /// Reads transformers' name of an activation.
    pub fn read(config: &Reader, key: &str) -> std::result::Result<Self, ModelError> {
        match config.text(key)? {
            Some("relu") => Ok(Self::Relu),
            Some("gelu") => Ok(Self::Gelu(Gelu::Exact)),
            Some("gelu_new" | "gelu_pytorch_tanh") => Ok(Self::Gelu(Gelu::Tanh)),
            Some(other) => Err(ModelError::unsupported(
                key,
                &other.into(),
                "supported are relu, gelu, gelu_new and gelu_pytorch_tanh",
            )),
            None => Err(ModelError::MissingKey {
                key: key.to_owned(),
                hint: "take it from the original config.json of the model".to_owned(),
            }),
        }
    }

    pub fn forward(self, x: &Tensor, workers: &Arc<Workers>) -> Result<Tensor> {
        match self {
            Self::Relu => x.relu(),
            Self::Gelu(form) => ops::gelu(x, form, workers),
        }
    }
}
