//! From a checkpoint's tensors to what the decoder multiplies with: packed linears and f32 norms. Shapes were
//! checked by `layout`; here only types matter.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::ops::{Int8Scales, PackedLinear, Storage, WeightData, Workers};
use crate::weights::{TensorSource, TensorType, TensorView};

use super::{DecoderConfig, ModelError, layout};

/// How the weights are kept in memory. Hidden states are f32 with all of them but one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComputeDtype {
    F32,
    Bf16,
    /// Weights and hidden states, for checks of training. Nothing serves it.
    F64,
    /// GGUF blocks stay as they are in the file; its F16 and BF16 tensors become bf16, its F32 ones f32.
    Gguf,
    /// Every weight as bytes, whatever it was.
    Int8(Int8Scales),
}

#[derive(Clone)]
pub struct LoadOptions {
    pub dtype: ComputeDtype,
    pub workers: Arc<Workers>,
    /// Positions that RoPE's table covers; `None` for the whole context of the config.
    pub max_positions: Option<usize>,
    /// The longest context, by which LongRoPE's factors are chosen; `None` for that of the table.
    pub context: Option<usize>,
}

impl LoadOptions {
    pub fn new(dtype: ComputeDtype, workers: &Arc<Workers>) -> Self {
        Self { dtype, workers: Arc::clone(workers), max_positions: None, context: None }
    }
}

/// Reads tensors of one checkpoint by name.
pub(super) struct Loader<'a> {
    source: &'a dyn TensorSource,
    options: &'a LoadOptions,
}

impl<'a> Loader<'a> {
    /// Checks the whole checkpoint against the config first.
    pub fn new(
        config: &DecoderConfig,
        source: &'a dyn TensorSource,
        options: &'a LoadOptions,
    ) -> Result<Self, ModelError> {
        layout::check_tensors(config, source)?;
        Ok(Self::checked(source, options))
    }

    /// Of a checkpoint whose tensors were checked.
    pub fn checked(source: &'a dyn TensorSource, options: &'a LoadOptions) -> Self {
        Self { source, options }
    }

    pub fn workers(&self) -> &'a Arc<Workers> {
        &self.options.workers
    }

    /// Packs `{name}.weight`, `[out, in]`, and `{name}.bias`, `[out]`, if the config has one.
    pub fn linear(&self, name: &str, has_bias: bool) -> Result<Arc<PackedLinear>, ModelError> {
        self.linear_in(name, has_bias, self.options.dtype)
    }

    /// The same of a weight without a bias that no quantisation touches: a router, which is small and decides much.
    pub fn kept_linear(&self, name: &str) -> Result<Arc<PackedLinear>, ModelError> {
        let stored = self.source.dtype(&format!("{name}.weight"))?;
        self.linear_in(name, false, unquantised(self.options.dtype, stored))
    }

    fn linear_in(
        &self,
        name: &str,
        has_bias: bool,
        dtype: ComputeDtype,
    ) -> Result<Arc<PackedLinear>, ModelError> {
        let bias = if has_bias { Some(self.source.tensor(&format!("{name}.bias"))?.to_f32()?) } else { None };
        let weight = self.source.tensor(&format!("{name}.weight"))?;
        let storage = storage(dtype, weight.dtype);
        let quoted = || layout::quoted(&weight.name, self.source);
        pack(&weight, bias, storage, &self.options.workers, quoted)
    }

    /// `{name}.weight` as an f32 tensor `[n]`.
    pub fn vector(&self, name: &str) -> Result<Tensor, ModelError> {
        self.tensor(&format!("{name}.weight"))
    }

    /// Any tensor, in f32 and its own shape, by its whole name.
    pub fn tensor(&self, name: &str) -> Result<Tensor, ModelError> {
        let view = self.source.tensor(name)?;
        let tensor = Tensor::from_vec(view.to_f32()?, view.shape, &Device::Cpu)?;
        Ok(if self.options.dtype == ComputeDtype::F64 { tensor.to_dtype(DType::F64)? } else { tensor })
    }
}

/// Packs a weight `[out, in]`; `quoted` names it in an error.
pub(super) fn pack(
    weight: &TensorView<'_>,
    bias: Option<Vec<f32>>,
    storage: Storage,
    workers: &Arc<Workers>,
    quoted: impl FnOnce() -> String,
) -> Result<Arc<PackedLinear>, ModelError> {
    let widened;
    let data = if let Some(data) = borrow(weight) {
        data
    } else {
        widened = weight.to_f32()?;
        WeightData::F32(&widened)
    };
    let (out_features, in_features) = (weight.shape[0], weight.shape[1]);
    PackedLinear::pack(data, out_features, in_features, bias, storage, workers)
        .map_err(|source| ModelError::Pack { tensor: quoted(), source })
}

/// What a weight is kept in that is not quantised with the others. F16 has more digits than bf16.
pub(super) fn unquantised(dtype: ComputeDtype, stored: TensorType) -> ComputeDtype {
    match (dtype, stored) {
        (ComputeDtype::Int8(_), TensorType::Bf16) => ComputeDtype::Bf16,
        (ComputeDtype::Int8(_), _) => ComputeDtype::F32,
        (dtype, _) => dtype,
    }
}

/// How a weight of a stored type is kept.
pub(super) fn storage(dtype: ComputeDtype, stored: TensorType) -> Storage {
    match (dtype, stored) {
        (ComputeDtype::Int8(scales), _) => Storage::Int8(scales),
        (ComputeDtype::F64, _) => Storage::F64,
        (ComputeDtype::F32, _) | (ComputeDtype::Gguf, TensorType::F64 | TensorType::F32) => Storage::F32,
        (ComputeDtype::Gguf, TensorType::Ggml(_)) => Storage::Blocks,
        (ComputeDtype::Bf16, _) | (ComputeDtype::Gguf, TensorType::F16 | TensorType::Bf16) => Storage::Bf16,
    }
}

/// The stored elements without a copy, where their alignment allows.
fn borrow<'v>(view: &'v TensorView<'_>) -> Option<WeightData<'v>> {
    match view.dtype {
        TensorType::F64 => None,
        TensorType::F32 => view.as_f32().map(WeightData::F32),
        TensorType::F16 => view.as_f16().map(WeightData::F16),
        TensorType::Bf16 => view.as_bf16().map(WeightData::Bf16),
        TensorType::Ggml(dtype) => Some(WeightData::Blocks { dtype, bytes: &view.bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_quantised_keeps_its_digits() {
        let int8 = ComputeDtype::Int8(Int8Scales::PerChannel);
        let check = |dtype, stored, expected| assert_eq!(unquantised(dtype, stored), expected);
        check(int8, TensorType::F16, ComputeDtype::F32);
        check(int8, TensorType::F32, ComputeDtype::F32);
        check(int8, TensorType::Bf16, ComputeDtype::Bf16);
        check(ComputeDtype::Bf16, TensorType::F16, ComputeDtype::Bf16);
    }
}
