//! The engine's attention: keys and values of all sequences in one paged pool.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::model::{Attention, Batch, Decoder};
use crate::ops::{self, KvPool, PagedBatch, Workers};

/// Attention for one step's batch.
pub struct PagedAttention<'a> {
    pub decoder: &'a Decoder,
    pub pool: &'a Arc<KvPool>,
    /// The rows of `Batch`, with the block table of each sequence.
    pub batch: Arc<PagedBatch>,
    pub workers: &'a Arc<Workers>,
    /// Tells the watchdog that the step moves on, once a layer.
    pub beat: &'a dyn Fn(),
}

impl Attention for PagedAttention<'_> {
    /// Writes k and v into the pool, then attends over each sequence's blocks.
    fn attend(&mut self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor, _: &Batch) -> Result<Tensor> {
        (self.beat)();
        let settings = self.decoder.attention_settings(layer);
        ops::paged_attention(q, k, v, self.pool, layer, &self.batch, settings, self.workers)
    }
}
