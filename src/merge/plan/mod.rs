//! What a merge will do, before any element is read: each output tensor with its sources and the numbers of its recipe.
//!
//! A plan follows from the configuration and the models' headers alone; the same ones give the same plan.

mod build;
mod layers;
mod names;
mod outline;
mod print;
mod recipe;
mod shards;

pub use names::LayerName;
pub use shards::{Shard, index};

use std::path::Path;

use super::config::{Dtype, MergeConfig};
use super::error::MergeError;
use super::inputs::InputModel;
use super::stages::{COUNTER_BYTES, Recipe, piece_length};
use super::vocabulary::VocabularyPlan;

/// How a configuration is carried out.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// Of the random methods.
    pub seed: u64,
    /// Bytes of tensors in one output file; a larger tensor has a file to itself.
    pub shard_bytes: u64,
    /// Merge what does not go together.
    pub crimes: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { seed: 0, shard_bytes: 5_000_000_000, crimes: false }
    }
}

/// One output tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedTensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub dtype: Dtype,
    /// What is merged, without the base where the method takes differences from it.
    pub sources: Vec<SourceTensor>,
    pub base: Option<SourceTensor>,
    pub recipe: Recipe,
}

/// A tensor of an input model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTensor {
    /// Index among the models.
    pub model: usize,
    pub name: String,
}

impl PlannedTensor {
    fn bytes_per_thread(&self) -> u64 {
        // Beside the vectors: base, result, its bytes, and two for ranks.
        let vectors = self.sources.len() + 5;
        let piece = piece_length(&self.shape, self.recipe.needs_rows(&self.shape)).min(self.elements());
        let counters = if self.recipe.counts() { 3 * self.sources.len() * COUNTER_BYTES } else { 0 };
        (vectors * piece * 4 + counters) as u64
    }

    /// The models that it is merged of, by number, sorted.
    pub fn models(&self) -> Vec<usize> {
        let mut models: Vec<usize> =
            self.sources.iter().chain(&self.base).map(|source| source.model).collect();
        models.sort_unstable();
        models.dedup();
        models
    }

    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn bytes(&self) -> u64 {
        (self.elements() * self.dtype.bytes()) as u64
    }
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// By name.
    pub tensors: Vec<PlannedTensor>,
    pub shards: Vec<Shard>,
    /// The output's layers, where slices decide them: of which model, and which of its layers, each is first of all.
    pub layers: Option<Vec<(usize, usize)>>,
    /// Whether an output matrix is written that some model ties to its embeddings.
    pub unties: bool,
    /// The model whose configuration and tokenizer the output takes.
    pub donor: usize,
    /// The vocabulary, where the configuration has a `tokenizer`.
    pub vocabulary: Option<VocabularyPlan>,
    pub seed: u64,
    pub warnings: Vec<String>,
}

impl Plan {
    /// `tokenizer` is where the tokenizer's source is, if it is not named as one of the models is.
    ///
    /// # Errors
    /// Tensors that are missing or do not go together, and parameters that are.
    pub fn new(
        config: &MergeConfig,
        models: &[InputModel],
        tokenizer: Option<&Path>,
        options: &PlanOptions,
    ) -> Result<Self, MergeError> {
        build::plan(config, models, tokenizer, options)
    }

    /// Threads, at most `threads`, whose pieces and counters fit into so many bytes.
    ///
    /// # Errors
    /// `Tensor` where those of one do not.
    pub fn threads_within(&self, threads: usize, bytes: u64) -> Result<usize, MergeError> {
        let mut fitting = threads.max(1);
        for tensor in &self.tensors {
            let (each, beside) = (tensor.bytes_per_thread(), tensor.recipe.bytes_beside(&tensor.shape));
            let fits = bytes.saturating_sub(beside) / each.max(1);
            if fits == 0 {
                let whole = if tensor.shape.len() < 2 { "elements" } else { "rows" };
                let needed = each + beside;
                let problem = format!(
                    "takes {needed} bytes with one thread, more than the {bytes} that may be used, for its {whole} are ranked \
                     or turned: raise the limit (--max-memory) or take a method that does neither"
                );
                return Err(MergeError::Tensor { tensor: tensor.name.clone(), problem });
            }
            fitting = fitting.min(fits as usize);
        }
        Ok(fitting)
    }

    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(PlannedTensor::bytes).sum()
    }
}
