//! What a trainer asks of a model: gradients of a micro-batch, the tensors that learn, the loss without gradients.

use std::sync::Arc;

use candle_core::Tensor;

use super::data::Ragged;
use super::passes::LossOf;
use super::{Parameters, Prefixes, TrainError, Trained};
use crate::model::{Adapter, Batch, Decoder};
use crate::ops::{PackedLinear, Targets};

/// Sequences that go through the model together.
#[derive(Debug, Clone)]
pub struct MicroBatch {
    pub batch: Batch,
    /// A row a token; rows that predict nothing have no weight, the others 1.
    pub targets: Targets,
    /// Of dropout.
    pub key: u64,
    /// What stands before the prompts of a MindMerger model; the ids in its place are not read.
    pub prefixes: Option<Prefixes>,
}

impl MicroBatch {
    /// What a sequence's token predicts is the one after it.
    pub fn of(ragged: Ragged) -> Self {
        let Ragged { ids, positions, cu_seqlens, rows, targets } = ragged;
        let mut all = Targets { ids: vec![0; ids.len()], weights: vec![0.0; ids.len()] };
        for (row, target) in rows.into_iter().zip(targets) {
            all.ids[row as usize] = target;
            all.weights[row as usize] = 1.0;
        }
        let batch = Batch {
            ids,
            positions: Arc::new(positions),
            cu_seqlens: Arc::new(cu_seqlens),
            ..Batch::default()
        };
        Self { batch, targets: all, key: 0, prefixes: None }
    }

    /// Tokens that are predicted.
    pub fn targets(&self) -> usize {
        self.targets.weights.iter().filter(|&&weight| weight != 0.0).count()
    }

    /// With dropout of its own.
    #[must_use]
    pub fn keyed(self, key: u64) -> Self {
        Self { key, ..self }
    }

    /// Each target counting so much.
    #[must_use]
    pub fn weighted(mut self, weight: f32) -> Self {
        self.targets.weights.iter_mut().for_each(|target| *target *= weight);
        self
    }
}

/// What completions are sampled with.
#[derive(Clone)]
pub struct SamplerWeights {
    pub decoder: Arc<Decoder>,
    /// What learns beside it, if the decoder itself does not.
    pub adapter: Option<Arc<Adapter>>,
}

/// A loss of the last hidden states and the head, for a model that samples what it learns from.
pub trait Policy: Objective {
    /// Adds the gradient of the loss that `top` makes to the gradients; returns the loss. The batch's targets are not read.
    ///
    /// # Errors
    /// What an operation reports, and `top`.
    fn accumulate_of(&mut self, micro: &MicroBatch, top: LossOf<'_>) -> Result<f64, TrainError>;

    /// The last hidden states, normed, without gradients and without dropout, and the head.
    ///
    /// # Errors
    /// What an operation reports.
    fn hidden(&self, micro: &MicroBatch) -> Result<(Tensor, Arc<PackedLinear>), TrainError>;

    /// A pass with gradients differs from one without.
    fn has_dropout(&self) -> bool;

    /// What the model samples with. Let go of it before `trained`.
    fn sampler(&self) -> SamplerWeights;

    /// The same as it is now, in nobody's way: it stays while the model learns.
    ///
    /// # Errors
    /// Memory.
    fn snapshot(&self) -> Result<SamplerWeights, TrainError>;
}

/// A model of which something is trained.
pub trait Objective {
    /// Adds the gradient of the micro-batch's loss, the weighted sum over its targets, to the gradients; returns the loss.
    ///
    /// # Errors
    /// What an operation reports.
    fn accumulate(&mut self, micro: &MicroBatch) -> Result<f64, TrainError>;

    /// The loss of each row, without gradients; 0 for rows without weight.
    ///
    /// # Errors
    /// What an operation reports.
    fn losses(&self, micro: &MicroBatch) -> Result<Vec<f32>, TrainError>;

    /// The tensors that learn in f32, always the same in the same order. After a change of their values, `refresh`.
    ///
    /// # Errors
    /// `Shared`.
    fn trained(&mut self) -> Result<Vec<Trained<'_>>, TrainError>;

    /// The same, with what learns in bf16 without masters, if anything does.
    ///
    /// # Errors
    /// `Shared`.
    fn parameters(&mut self) -> Result<Parameters<'_>, TrainError> {
        Ok(Parameters { single: self.trained()?, bf16: Vec::new() })
    }

    /// Makes the model compute with changed values.
    ///
    /// # Errors
    /// `Shared`.
    fn refresh(&mut self) -> Result<(), TrainError>;
}
