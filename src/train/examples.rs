//! Where micro-batches come from: stored examples, in the order of a plan.

use super::data::{BatchPlan, Ragged, TokenStore};
use super::{MicroBatch, TrainError};

/// What a training learns from, or is measured on.
pub trait Examples {
    fn plan(&self) -> &BatchPlan;

    /// Some examples together. A row that predicts counts 1.
    ///
    /// # Errors
    /// Data that changed since the plan was made.
    fn micro_batch(&self, examples: &[usize]) -> Result<MicroBatch, TrainError>;

    /// What an example is marked with, such as its language; may be empty.
    fn tag(&self, example: usize) -> &str;
}

/// Tokens with flags.
pub struct TokenExamples {
    store: TokenStore,
    plan: BatchPlan,
}

impl TokenExamples {
    pub fn new(store: TokenStore, plan: BatchPlan) -> Self {
        Self { store, plan }
    }
}

impl Examples for TokenExamples {
    fn plan(&self) -> &BatchPlan {
        &self.plan
    }

    fn micro_batch(&self, examples: &[usize]) -> Result<MicroBatch, TrainError> {
        Ok(MicroBatch::of(Ragged::of(examples.iter().map(|&index| self.store.example(index)))))
    }

    fn tag(&self, example: usize) -> &str {
        self.store.tag(example)
    }
}
