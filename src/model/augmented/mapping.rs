//! The mapping as it is served: two linears with a ReLU between them, and the end boundary.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::MappingWeights;
use crate::model::{LoadOptions, ModelError, loader};
use crate::ops::{self, PackedLinear, WeightData};
use crate::weights::TensorType;

/// Packed weights; [`MappingWeights`] are what is trained and stored.
pub struct Mapping {
    /// `[2 * d_encoder, d_encoder]`
    linear1: Arc<PackedLinear>,
    /// `[d_llm, 2 * d_encoder]`
    linear2: Arc<PackedLinear>,
    /// `[1, 1, d_llm]`
    end_boundary: Tensor,
}

impl Mapping {
    pub fn pack(weights: &MappingWeights, options: &LoadOptions) -> std::result::Result<Self, ModelError> {
        let storage = loader::storage(options.dtype, TensorType::F32);
        let pack = |name: &str, weight: &Tensor, bias: &Tensor| {
            let (out_features, in_features) = weight.dims2()?;
            let values = weight.flatten_all()?.to_vec1::<f32>()?;
            let bias = Some(bias.to_vec1()?);
            let data = WeightData::F32(&values);
            PackedLinear::pack(data, out_features, in_features, bias, storage, &options.workers)
                .map_err(|source| ModelError::Pack { tensor: name.to_owned(), source })
        };
        Ok(Self {
            linear1: pack("mlp.linear1.weight", &weights.linear1_weight, &weights.linear1_bias)?,
            linear2: pack("mlp.linear2.weight", &weights.linear2_weight, &weights.linear2_bias)?,
            end_boundary: weights.end_boundary.clone(),
        })
    }

    /// An encoder's states f32 `[tokens, d_encoder]` to `[tokens, d_llm]`.
    pub fn forward(&self, states: &Tensor) -> Result<Tensor> {
        let inner = ops::linear(states, &self.linear1)?.relu()?; // [tokens, 2 * d_encoder]
        ops::linear(&inner, &self.linear2)
    }

    /// What follows the mapped states. `[1, 1, d_llm]`
    pub fn end_boundary(&self) -> &Tensor {
        &self.end_boundary
    }

    pub fn d_encoder(&self) -> usize {
        self.linear1.in_features()
    }

    pub fn d_llm(&self) -> usize {
        self.linear2.out_features()
    }

    pub fn bytes(&self) -> usize {
        let boundary = self.end_boundary.elem_count() * size_of::<f32>();
        self.linear1.bytes() + self.linear2.bytes() + boundary
    }
}
