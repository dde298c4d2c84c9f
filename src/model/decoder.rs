//! The decoder: token ids in, logits out. ONE for every family; what differs between them is in
//! `DecoderConfig`. It knows ragged batches, not sequences; where keys and values live is the `Attention`'s.
//!
//! Pre-norm transformer with RMS norms, grouped-query attention with RoPE, and gated blocks or experts, as in Llama
//! <https://arxiv.org/abs/2302.13971>. Hidden states are f32 whatever the weights are stored in (transformers
//! rounds them to the checkpoint's type). A row's result does not depend on the other rows of its batch: every
//! operation here has one reduction order.

mod attention;
mod experts;
mod fused_experts;
mod layer;
mod mlp;
mod norm;
mod parameters;
mod projection;
mod replaced;

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::ops::{self, AttentionSettings, PackedLinear, RopeTable, Workers};
use crate::weights::{TensorSource, TensorType};

use super::loader::Loader;
use super::{Attention, Batch, ComputeDtype, DecoderConfig, LoadOptions, ModelError, RopeConfig};
use layer::Layer;
use norm::RmsNorm;
pub use parameters::Parameter;

/// A clone shares the weights.
#[derive(Clone)]
pub struct Decoder {
    config: DecoderConfig,
    embed_tokens: Arc<PackedLinear>,
    layers: Vec<Layer>,
    norm: RmsNorm,
    /// `None` where the embeddings are the head.
    lm_head: Option<Arc<PackedLinear>>,
    /// What embeddings are multiplied by; `None` for nothing.
    embedding_scale: Option<f64>,
    rope: Arc<RopeTable>,
    /// That of layers with a sliding window, where it is another one.
    sliding_rope: Option<Arc<RopeTable>>,
    workers: Arc<Workers>,
}

impl Decoder {
    /// Packs the weights of a checkpoint.
    ///
    /// # Errors
    /// All tensors that are missing or contradict the config, or the first that cannot be read or packed.
    pub fn load(
        config: DecoderConfig,
        source: &dyn TensorSource,
        options: &LoadOptions,
    ) -> Result<Self, ModelError> {
        let loader = Loader::new(&config, source, options)?;
        // Before the weights, since it may be refused.
        let positions = options.max_positions.unwrap_or(config.max_position_embeddings);
        check_rope_tables(&config, positions)?;
        let context = options.context.unwrap_or(positions);
        let table = |rope: &RopeConfig| {
            let frequencies = rope.frequencies(config.head_dim, context);
            RopeTable::new(&frequencies.inverse_frequencies, frequencies.attention_scale, positions)
        };
        let (rope, sliding_rope) = (table(&config.rope), config.sliding_rope.as_ref().map(table));
        let embed_tokens = loader.linear("model.embed_tokens", false)?; // [vocab, hidden]
        let stored = source.dtype("model.embed_tokens.weight")?;
        let embedding_scale =
            config.scaled_embeddings.then(|| embedding_scale(config.hidden_size, options.dtype, stored));
        let layers =
            (0..config.layers).map(|index| Layer::load(&config, &loader, index)).collect::<Result<_, _>>()?;
        let norm = RmsNorm::load(&config, &loader, "model.norm")?;
        let lm_head = (!config.tie_word_embeddings).then(|| loader.linear("lm_head", false)); // [vocab, hidden]
        let lm_head = lm_head.transpose()?;
        let workers = Arc::clone(&options.workers);
        Ok(Self { config, embed_tokens, layers, norm, lm_head, embedding_scale, rope, sliding_rope, workers })
    }

    /// Logits `[logit_rows, vocab]`, f32, of the batch's rows that ask for them. All rows pass through
    /// `attention`, which keeps their keys and values.
    ///
    /// # Errors
    /// An id or position out of range, or what `attention` reports.
    pub fn forward(&self, batch: &Batch, attention: &mut dyn Attention) -> candle_core::Result<Tensor> {
        let embedded = batch.vectors.put_over(self.embed(&batch.ids)?)?;
        let hidden = self.layers(&embedded, 0..self.layers.len(), batch, attention)?;
        if batch.logit_rows.is_empty() {
            return Tensor::zeros((0, self.config.vocab_size), DType::F32, &Device::Cpu);
        }
        let hidden = self.normed(&rows(&hidden, &batch.logit_rows)?)?; // [logit_rows, hidden]
        let logits = ops::linear(&hidden, self.lm_head())?; // [logit_rows, vocab]
        match self.config.logit_softcap {
            Some(cap) => ops::softcap(&logits, cap, &self.workers),
            None => Ok(logits),
        }
    }

    /// The embeddings of token ids, `[ids, hidden]`, as they go into the layers.
    ///
    /// # Errors
    /// An id out of range.
    pub fn embed(&self, ids: &[u32]) -> candle_core::Result<Tensor> {
        self.scaled(&ops::embedding(ids, &self.embed_tokens)?)
    }

    /// Adds the gradient of `embed(ids)`, `[ids, hidden]`, to the table's, if the table learns.
    ///
    /// # Errors
    /// A gradient of another shape, or an id out of range.
    pub fn embedding_gradient(&self, ids: &[u32], gradient: &Tensor) -> candle_core::Result<()> {
        ops::embedding_gradient(ids, &self.scaled(gradient)?, &self.embed_tokens)
    }

    fn scaled(&self, embeddings: &Tensor) -> candle_core::Result<Tensor> {
        match self.embedding_scale {
            Some(scale) => ops::scale(embeddings, scale),
            None => Ok(embeddings.clone()),
        }
    }

    /// Passes hidden states `[total_tokens, hidden]` through some of the layers. Differentiable in the states as far as
    /// `attention` is.
    ///
    /// # Errors
    /// A position out of range, or what `attention` reports.
    pub fn layers(
        &self,
        hidden: &Tensor,
        range: Range<usize>,
        batch: &Batch,
        attention: &mut dyn Attention,
    ) -> candle_core::Result<Tensor> {
        let mut hidden = hidden.clone();
        for index in range {
            hidden = self.layers[index].forward(self, index, &hidden, batch, attention)?;
        }
        Ok(hidden)
    }

    /// The norm before the head, of `[rows, hidden]`.
    ///
    /// # Errors
    /// A width other than the model's.
    pub fn normed(&self, hidden: &Tensor) -> candle_core::Result<Tensor> {
        self.norm.forward(hidden, &self.workers)
    }

    /// The head, `[vocab, hidden]`, as a loss over the vocabulary takes it.
    pub fn lm_head(&self) -> &Arc<PackedLinear> {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens)
    }

    fn rope_of(&self, layer: usize) -> &Arc<RopeTable> {
        let sliding = self.sliding_rope.as_ref().filter(|_| self.config.sliding_window(layer).is_some());
        sliding.unwrap_or(&self.rope)
    }

    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// How a layer's attention is to be computed.
    pub fn attention_settings(&self, layer: usize) -> AttentionSettings {
        AttentionSettings {
            scale: self.config.query_scalar.sqrt().recip(),
            sliding_window: self.config.sliding_window(layer),
            logit_softcap: self.config.attention_softcap,
        }
    }

    /// Bytes of all weights in memory, each counted once.
    pub fn weight_bytes(&self) -> usize {
        let head = self.lm_head.as_ref().map_or(0, |head| head.bytes());
        let layers: usize = self.layers.iter().map(Layer::bytes).sum();
        self.embed_tokens.bytes() + head + layers + self.norm.bytes()
    }
}

/// Refuses tables that would take the machine's memory.
fn check_rope_tables(config: &DecoderConfig, positions: usize) -> Result<(), ModelError> {
    /// Far above what a model needs (a context of a million at a head size of 128 takes half of it): it keeps
    /// a corrupt config from taking the machine's memory.
    const BYTES_MAX: usize = 1 << 30;
    let bytes = config.rope_table_bytes(positions);
    if bytes > BYTES_MAX {
        return Err(ModelError::RopeTable {
            positions,
            mebibytes: bytes >> 20,
            mebibytes_max: BYTES_MAX >> 20,
        });
    }
    Ok(())
}

/// The root of the hidden size, rounded to the type of the weights as transformers does: 55.5 in bf16 for a size of 3072.
/// Weights that are quantised here count as the type that they were stored in, blocks of a GGUF file as f32.
fn embedding_scale(hidden_size: usize, dtype: ComputeDtype, stored: TensorType) -> f64 {
    let root = (hidden_size as f64).sqrt();
    let kept = match dtype {
        ComputeDtype::F64 => return root,
        ComputeDtype::F32 => TensorType::F32,
        ComputeDtype::Bf16 => TensorType::Bf16,
        ComputeDtype::Int8(_) | ComputeDtype::Gguf => stored,
    };
    let rounded = match kept {
        TensorType::Bf16 => half::bf16::from_f64(root).to_f32(),
        TensorType::F16 => half::f16::from_f64(root).to_f32(),
        TensorType::F64 | TensorType::F32 | TensorType::Ggml(_) => root as f32,
    };
    f64::from(rounded)
}

/// The chosen rows of `[total_tokens, hidden]`; the tensor itself where all are chosen.
fn rows(hidden: &Tensor, chosen: &[u32]) -> candle_core::Result<Tensor> {
    if chosen.len() == hidden.dim(0)?
        && chosen.iter().enumerate().all(|(row, chosen)| row == *chosen as usize)
    {
        return Ok(hidden.clone());
    }
    hidden.index_select(&Tensor::new(chosen, &Device::Cpu)?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedding_scale_is_rounded_as_the_weights_are() {
        let exact = f64::from(3072f32.sqrt());
        let check = |dtype, stored, expected| assert_eq!(embedding_scale(3072, dtype, stored), expected);
        check(ComputeDtype::Bf16, TensorType::F32, 55.5);
        check(ComputeDtype::F32, TensorType::Bf16, exact);
        let int8 = ComputeDtype::Int8(ops::Int8Scales::PerChannel);
        check(int8, TensorType::Bf16, 55.5);
        check(int8, TensorType::F16, 55.4375);
        check(int8, TensorType::F32, exact);
        check(ComputeDtype::Gguf, TensorType::Bf16, 55.5);
        check(ComputeDtype::F64, TensorType::Bf16, 3072f64.sqrt());
    }
}
