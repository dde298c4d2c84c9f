//! One decoder for every family, plus the configs that describe it; text encoders, and what joins the two (MindMerger).
//! Knows tensors and ragged batches; knows nothing of sequences, requests, HTTP or training, but that gradients may
//! flow back through it.

mod adapter;
pub mod augmented;
mod config;
mod decoder;
mod dense;
pub mod encoders;
mod error;
pub mod families;
mod layout;
mod loader;
mod reader;
mod rope;
mod row_vectors;

use std::sync::Arc;

pub use adapter::{Adapter, AdapterOptions, AdapterRows, LoraSettings, Pair, Target};
pub use config::{DecoderConfig, ExpertNames, ExpertsConfig};
pub use decoder::{Decoder, Parameter};
pub use dense::DenseAttention;
pub use error::ModelError;
pub use layout::{check_tensors, weight_bytes_estimate};
pub use loader::{ComputeDtype, LoadOptions};
pub use rope::{LongRopeScaling, RopeConfig, RopeFrequencies, RopeScaling, YarnScaling};
pub use row_vectors::RowVectors;

/// A ragged batch: the rows of all sequences laid end to end, no padding.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Token id a row. `[total_tokens]`
    pub ids: Vec<u32>,
    /// Absolute position a row within its sequence. `[total_tokens]`
    pub positions: Arc<Vec<u32>>,
    /// Row offsets of the sequences, first 0, last `total_tokens`. `[sequences + 1]`
    pub cu_seqlens: Arc<Vec<u32>>,
    /// Of each sequence the rows where its branches begin, which go on from what lies before the first of them; empty where no
    /// sequence branches. Only dense attention reads it.
    pub branches: Arc<Vec<Vec<u32>>>,
    /// The rows whose logits are wanted, ascending. `[logit_rows]`
    pub logit_rows: Vec<u32>,
    /// The rows that go through adapters, ascending and disjoint; the others are the decoder's alone.
    pub adapters: Vec<AdapterRows>,
    /// Rows that hold vectors in place of their ids' embeddings.
    pub vectors: RowVectors,
}

/// How a decoder layer attends. The engine's is paged; training's is dense and differentiable.
pub trait Attention {
    /// q `[total_tokens, heads, head_dim]`, k and v `[total_tokens, kv_heads, head_dim]`, RoPE applied;
    /// returns `[total_tokens, heads * head_dim]`.
    ///
    /// # Errors
    /// Whatever the kernel reports (shape, memory, device).
    fn attend(
        &mut self,
        layer: usize,
        q: &candle_core::Tensor,
        k: &candle_core::Tensor,
        v: &candle_core::Tensor,
        batch: &Batch,
    ) -> candle_core::Result<candle_core::Tensor>;
}
