//! The encoder's side of a MindMerger model, opened and checked but not loaded: what a memory plan asks for, and what is
//! then packed.

use std::path::Path;

use serde_json::Value;

use super::{Augmented, AugmentedFolder, Mapping, MappingWeights};
use crate::model::encoders::{self, EncoderTokenizer};
use crate::model::{ComputeDtype, LoadOptions, ModelError};
use crate::weights::{CheckpointDtype, TensorSource, Tokenizer, dominant_dtype, open_weights};

/// All but the language model, which is a checkpoint of its own.
pub struct AugmentedParts {
    pub folder: AugmentedFolder,
    pub tokenizer: EncoderTokenizer,
    /// The type in which most of the encoder is stored.
    pub stored: CheckpointDtype,
    config: Value,
    tensors: Box<dyn TensorSource + Send + Sync>,
    mapping: MappingWeights,
}

impl AugmentedParts {
    /// Opens what a folder's xenoglot.json names.
    ///
    /// # Errors
    /// What is wrong with xenoglot.json, the encoder's config, tensors or tokenizer, or the mapping, by file and key.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let folder = AugmentedFolder::open(path)?;
        let (config, tensors) = open_weights(&folder.encoder)?;
        let tokenizer = Tokenizer::load(&folder.encoder)?;
        let in_encoder = |problem| ModelError::At {
            place: folder.encoder.display().to_string(),
            problem: Box::new(problem),
        };
        check_vocabulary(&tokenizer, &config).map_err(in_encoder)?;
        let tokenizer = EncoderTokenizer::new(tokenizer, &folder.language_tags).map_err(in_encoder)?;
        let stored = dominant_dtype(tensors.as_ref())?;
        let mapping = MappingWeights::load(&folder.mapping)?;
        Ok(Self { folder, tokenizer, stored, config, tensors, mapping })
    }

    /// The bytes that encoder and mapping will take; a part that is not the encoder's may be among them.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn weight_bytes_estimate(&self, dtype: ComputeDtype) -> Result<u64, ModelError> {
        let mapping: usize = self.mapping.named().iter().map(|(_, tensor)| tensor.elem_count() * 4).sum();
        Ok(encoders::weight_bytes_estimate(self.tensors.as_ref(), dtype)? + mapping as u64)
    }

    /// Features of the vectors that the mapping makes, and of the states that it takes.
    pub fn widths(&self) -> (usize, usize) {
        let width = |tensor: &candle_core::Tensor, at: usize| tensor.dims().get(at).copied().unwrap_or(0);
        (width(&self.mapping.linear2_weight, 0), width(&self.mapping.linear1_weight, 1))
    }

    /// Packs the encoder as asked and the mapping in f32: it is small, and its products set every number that follows.
    ///
    /// # Errors
    /// As [`encoders::load`] and [`Augmented::new`].
    pub fn load(&self, options: &LoadOptions) -> Result<Augmented, ModelError> {
        let encoder = encoders::load(&self.config, self.tensors.as_ref(), options).map_err(|problem| {
            ModelError::At { place: self.folder.encoder.display().to_string(), problem: Box::new(problem) }
        })?;
        let exact = LoadOptions { dtype: ComputeDtype::F32, ..options.clone() };
        Augmented::new(encoder, Mapping::pack(&self.mapping, &exact)?).map_err(|problem| ModelError::At {
            place: self.folder.mapping.display().to_string(),
            problem: Box::new(problem),
        })
    }
}

/// Ids that the tokenizer makes must have an embedding.
fn check_vocabulary(tokenizer: &Tokenizer, config: &Value) -> Result<(), ModelError> {
    let tokens = tokenizer.base_vocab_size();
    match config["vocab_size"].as_u64() {
        Some(rows) if tokens as u64 > rows => Err(ModelError::contradiction(
            format!(
                "the encoder's tokenizer has {tokens} tokens, its embedding only {rows} rows (`vocab_size`)"
            ),
            "take both from the same checkpoint",
        )),
        _ => Ok(()),
    }
}
