//! The mapping as it is served: two linears with a ReLU between them, and the end boundary.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::MappingWeights;
use crate::model::{ComputeDtype, LoadOptions, ModelError, loader};
use crate::ops::{self, PackedLinear, WeightData, Workers};
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

    /// Weights that can be trained: f32, whatever else is.
    ///
    /// # Errors
    /// As [`Self::pack`].
    pub fn trainable(
        weights: &MappingWeights,
        workers: &Arc<Workers>,
    ) -> std::result::Result<Self, ModelError> {
        Self::pack(weights, &LoadOptions::new(ComputeDtype::F32, workers))
    }

    /// # Errors
    /// `Contradiction` where the mapping is of another encoder's or another language model's width.
    pub fn check(&self, d_encoder: usize, d_llm: usize) -> std::result::Result<(), ModelError> {
        let widths = [
            (self.d_encoder(), "mlp.linear1.weight", "encoder", d_encoder),
            (self.d_llm(), "mlp.linear2.weight", "language model", d_llm),
        ];
        for (own, weight, whose, found) in widths {
            if own != found {
                return Err(ModelError::contradiction(
                    format!(
                        "the mapping is of another {whose}, with {own} features (`{weight}`); this one has {found}"
                    ),
                    "take the mapping that was trained with it",
                ));
            }
        }
        Ok(())
    }

    /// The linears under the original's names.
    pub fn linears_mut(&mut self) -> [(&'static str, &mut Arc<PackedLinear>); 2] {
        [("mlp.linear1", &mut self.linear1), ("mlp.linear2", &mut self.linear2)]
    }

    /// The weights with another end boundary, `[d_llm]`.
    ///
    /// # Errors
    /// Memory.
    pub fn weights(&self, end_boundary: &[f32]) -> std::result::Result<MappingWeights, ModelError> {
        let of = |linear: &PackedLinear| -> std::result::Result<(Tensor, Tensor), ModelError> {
            let rows = linear.to_rows().map_err(candle_core::Error::wrap)?;
            let weight = Tensor::from_vec(rows, (linear.out_features(), linear.in_features()), &Device::Cpu)?;
            let bias = linear.bias().unwrap_or_default().to_vec();
            Ok((weight, Tensor::from_vec(bias, linear.out_features(), &Device::Cpu)?))
        };
        let ((linear1_weight, linear1_bias), (linear2_weight, linear2_bias)) =
            (of(&self.linear1)?, of(&self.linear2)?);
        let end_boundary = Tensor::from_slice(end_boundary, (1, 1, self.d_llm()), &Device::Cpu)?;
        Ok(MappingWeights { linear1_weight, linear1_bias, linear2_weight, linear2_bias, end_boundary })
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
