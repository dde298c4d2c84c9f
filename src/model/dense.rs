//! Attention over whole sequences without a cache, with a gradient: how a decoder runs where nothing is generated.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::ops::{self, AttentionSettings, Workers};

use super::{Attention, Batch, Decoder};

/// Causal attention of a decoder's layers. Each sequence of a batch is whole: its positions begin at 0.
pub struct DenseAttention {
    /// Of each layer.
    settings: Vec<AttentionSettings>,
    workers: Arc<Workers>,
}

impl DenseAttention {
    pub fn new(decoder: &Decoder, workers: &Arc<Workers>) -> Self {
        let settings = (0..decoder.config().layers).map(|layer| decoder.attention_settings(layer)).collect();
        Self { settings, workers: Arc::clone(workers) }
    }
}

impl Attention for DenseAttention {
    fn attend(&mut self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor, batch: &Batch) -> Result<Tensor> {
        let Batch { cu_seqlens, branches, .. } = batch;
        ops::branched_attention([q, k, v], cu_seqlens, branches, true, self.settings[layer], &self.workers)
    }
}
