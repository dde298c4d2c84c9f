//! A decoder with some of its weights replaced: by what a trainer sends, or by a checkpoint of a later step.
//!
//! The old decoder stays as it is and shares with the new one what is not replaced, so that an update that fails costs
//! nothing. Names are those of the Hugging Face checkpoint, and of experts those of transformers' memory too. Weights are kept in the types in which the old ones were, whatever
//! type they come in.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::fused_experts::{self, Unfused};
use super::{Decoder, Parameter};
use crate::model::{ModelError, layout, loader};
use crate::ops::{PackedLinear, Storage};
use crate::weights::{TensorSource, TensorView};

/// Problems listed in one error.
const PROBLEMS_MAX: usize = 8;
const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

impl Decoder {
    /// Compares the names and shapes of an update with the model's, before a byte of it is read.
    ///
    /// # Errors
    /// `Update` with every name that the model does not have, every wrong shape and every repeat (the first few of them), and
    /// with weights that are GGUF blocks, which nothing is rounded to here.
    pub fn check_update<'a>(
        &self,
        tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<(), ModelError> {
        let mut shapes: HashMap<String, Vec<usize>> =
            layout::tensor_specs(&self.config).into_iter().map(|spec| (spec.name, spec.shape)).collect();
        if let Some(embedding) = shapes.get(EMBEDDING).filter(|_| self.config.tie_word_embeddings) {
            shapes.insert(HEAD.to_owned(), embedding.clone());
        }
        let fused = fused_experts::of(&self.config);
        shapes.extend(fused.iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone())));
        let parts = fused_experts::parts(&fused);
        let blocks = self.weights_in_blocks();
        let mut seen = HashSet::new();
        // Of a fused tensor, whether one of its parts has come.
        let mut comes_twice = |name: &str| match parts.get(name) {
            Some(parts) => parts.iter().fold(false, |twice, part| !seen.insert(part.clone()) || twice),
            None => !seen.insert(name.to_owned()),
        };
        let in_blocks = |name: &str| match parts.get(name) {
            Some(parts) => parts.iter().any(|part| blocks.contains(part)),
            None => blocks.contains(name),
        };
        let problem = |(name, shape): (&'a str, &'a [usize])| match shapes.get(name) {
            None => {
                Some(format!("  the model has no `{name}`; names are those of its Hugging Face checkpoint"))
            }
            Some(own) if own != shape => Some(format!("  `{name}` is {shape:?}, the model's is {own:?}")),
            _ if comes_twice(name) => Some(format!("  `{name}` comes twice")),
            _ if in_blocks(name) => Some(format!(
                "  the model's `{name}` is kept in GGUF blocks: serve the model with --dtype f32 or bf16, or from safetensors"
            )),
            _ => None,
        };
        let mut problems: Vec<String> = tensors.into_iter().filter_map(problem).collect();
        if problems.is_empty() {
            return Ok(());
        }
        let more = problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        if more > 0 {
            problems.push(format!("  .. and {more} more"));
        }
        Err(ModelError::Update { problems })
    }

    /// This decoder with the tensors of `source` in the place of its own. Where the head is the embedding, either name replaces
    /// both, and with both the embedding's counts. RoPE's tables, which old checkpoints carry, are passed over.
    ///
    /// # Errors
    /// As [`Self::check_update`]; a tensor that cannot be read or packed.
    pub fn with_tensors(&self, source: &dyn TensorSource) -> Result<Self, ModelError> {
        let is_buffer = |name: &String| name.ends_with(".rotary_emb.inv_freq");
        let names: Vec<String> = source.names().into_iter().filter(|name| !is_buffer(name)).collect();
        let shapes = names.iter().map(|name| source.shape(name)).collect::<Result<Vec<_>, _>>()?;
        self.check_update(names.iter().map(String::as_str).zip(shapes.iter().map(Vec::as_slice)))?;
        let source = &Unfused::new(source, fused_experts::of(&self.config));
        let head_alone = self.config.tie_word_embeddings && !source.contains(EMBEDDING);
        let mut changed = self.clone();
        for (name, parameter) in changed.parameters_mut() {
            let (mut weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
            if head_alone && weight == EMBEDDING {
                HEAD.clone_into(&mut weight);
            }
            let tensor = |name: &str| source.contains(name).then(|| source.tensor(name)).transpose();
            let (weight, bias) = (tensor(&weight)?, tensor(&bias)?);
            match parameter {
                Parameter::Linear(linear) => {
                    if let Some(packed) = repacked(linear, weight.as_ref(), bias.as_ref())? {
                        *linear = packed;
                    }
                }
                Parameter::Vector(vector) => {
                    if let Some(view) = weight {
                        let new = Tensor::from_vec(view.to_f32()?, view.shape, &Device::Cpu)?;
                        *vector = new.to_dtype(vector.dtype())?;
                    }
                }
            }
        }
        Ok(changed)
    }

    /// The names of the weights that are GGUF blocks.
    fn weights_in_blocks(&self) -> HashSet<String> {
        let mut shared = self.clone();
        let in_blocks = |(name, parameter): (String, Parameter<'_>)| match parameter {
            Parameter::Linear(linear) if linear.storage() == Storage::Blocks => {
                Some(format!("{name}.weight"))
            }
            _ => None,
        };
        shared.parameters_mut().into_iter().filter_map(in_blocks).collect()
    }
}

/// A linear with another weight, another bias, or both; `None` with neither.
fn repacked(
    old: &Arc<PackedLinear>,
    weight: Option<&TensorView<'_>>,
    bias: Option<&TensorView<'_>>,
) -> Result<Option<Arc<PackedLinear>>, ModelError> {
    if weight.is_none() && bias.is_none() {
        return Ok(None);
    }
    let quoted = || weight.or(bias).map(|view| format!("`{}`", view.name)).unwrap_or_default();
    let new_bias = match bias {
        Some(view) => Some(view.to_f32()?),
        None => old.bias().map(<[f32]>::to_vec),
    };
    let (storage, workers) = (old.storage(), old.workers());
    if let Some(weight) = weight {
        return loader::pack(weight, new_bias, storage, workers, quoted).map(Some);
    }
    let pack = |source| ModelError::Pack { tensor: quoted(), source };
    let rows = old.to_rows().map_err(pack)?;
    let (out, input) = (old.out_features(), old.in_features());
    let packed =
        PackedLinear::pack(crate::ops::WeightData::F32(&rows), out, input, new_bias, storage, workers);
    packed.map(Some).map_err(pack)
}
