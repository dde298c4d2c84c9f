//! What a path to a model stands for, opened and checked: a checkpoint alone, or a MindMerger model, whose xenoglot.json
//! names a checkpoint and what stands before it.

use std::path::Path;

use crate::engine::soft_prefix_bytes;
use crate::model::augmented::{AugmentedFolder, AugmentedParts, beginning};
use crate::model::{ComputeDtype, DecoderConfig, ModelError};
use crate::weights::Checkpoint;

use super::{RegistryError, open};

pub struct Opened {
    /// Of the model that generates.
    pub checkpoint: Checkpoint,
    pub config: DecoderConfig,
    /// Of a MindMerger model.
    pub augmented: Option<AugmentedParts>,
}

impl Opened {
    /// # Errors
    /// Whatever would stand in the way of loading it, by file, key or tensor.
    pub fn at(path: &Path) -> Result<Self, RegistryError> {
        if !AugmentedFolder::is_one(path) {
            let (checkpoint, config) = open(path)?;
            return Ok(Self { checkpoint, config, augmented: None });
        }
        let parts = AugmentedParts::open(path)?;
        let (checkpoint, config) = open(&parts.folder.llm)?;
        check_mapping(&parts, &config)?;
        beginning(&checkpoint).map_err(|problem| problem.at(&checkpoint))?;
        Ok(Self { checkpoint, config, augmented: Some(parts) })
    }

    /// What encoder and mapping take of the memory beside the language model: weights, and working space.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn augmented_bytes(&self, dtype: ComputeDtype) -> Result<(u64, u64), RegistryError> {
        let Some(parts) = &self.augmented else { return Ok((0, 0)) };
        let (d_llm, d_encoder) = parts.widths();
        Ok((parts.weight_bytes_estimate(dtype)?, soft_prefix_bytes(d_encoder, d_llm)))
    }
}

fn check_mapping(parts: &AugmentedParts, config: &DecoderConfig) -> Result<(), ModelError> {
    let (made, taken) = (parts.widths().0, config.hidden_size);
    if made == taken {
        return Ok(());
    }
    let problem = ModelError::Contradiction {
        what: format!(
            "the mapping gives vectors of {made} features (`mlp.linear2.weight`), the language model takes {taken} (`hidden_size`)"
        ),
        hint: "take the mapping that was trained with this language model".to_owned(),
    };
    Err(ModelError::At { place: parts.folder.mapping.display().to_string(), problem: Box::new(problem) })
}
