//! The logits of a whole text, without the engine's thread: what measures of a model read.

use std::sync::Arc;

use crate::model::Decoder;
use crate::ops::{KvDtype, OpsError, Workers};

use super::block_pool::{BLOCK_SIZE, BlockId};
use super::config::EngineConfig;
use super::runner::{Adapters, Runner};
use super::scheduler::{Scheduled, Step};
use super::sequence::SequenceKey;
use super::worker::StepModel;

/// One text at a time, fed in chunks over the kernels that serve requests.
pub struct TextLogits {
    runner: Runner,
    vocab_size: usize,
    blocks: Vec<BlockId>,
    /// Tokens of the text so far.
    length: usize,
}

impl TextLogits {
    /// Room for a text of `tokens_max` tokens.
    ///
    /// # Errors
    /// No memory for the KV cache.
    pub fn new(
        decoder: Decoder,
        kv_dtype: KvDtype,
        tokens_max: usize,
        workers: &Arc<Workers>,
    ) -> Result<Self, OpsError> {
        let num_blocks = tokens_max.div_ceil(BLOCK_SIZE).max(1);
        let config = EngineConfig { num_blocks, kv_dtype, ..EngineConfig::default() };
        let vocab_size = decoder.config().vocab_size;
        let runner = Runner::new(Arc::new(decoder), &config, workers)?;
        Ok(Self { runner, vocab_size, blocks: (0..num_blocks as BlockId).collect(), length: 0 })
    }

    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Another text follows.
    pub fn restart(&mut self) {
        self.length = 0;
    }

    /// Appends `ids` to the text and hands `read` the logits after each of them, `[ids.len(), vocab]`.
    ///
    /// # Errors
    /// A text beyond the room made for it, an id outside the vocabulary.
    pub fn append<T>(&mut self, ids: &[u32], read: impl FnOnce(&[f32]) -> T) -> candle_core::Result<T> {
        let start = self.length;
        if start + ids.len() > self.blocks.len() * BLOCK_SIZE {
            candle_core::bail!("a text of {} tokens is longer than its room", start + ids.len());
        }
        let mut step = Step::default();
        step.scheduled.push(Scheduled {
            key: SequenceKey { priority: 0, ticket: 0, choice: 0 },
            ids: ids.to_vec(),
            start,
            block_table: self.blocks.clone(),
            choices: Vec::new(),
            prompt_logprobs: true,
            drafts: 0,
            soft: None,
        });
        let logits = self.runner.forward(&step, &Adapters::new(), &|| ())?;
        self.length += ids.len();
        logits.with_rows(|rows| read(rows.all()))
    }
}
