//! The decoder: token ids in, logits out. ONE for every family; what differs between them is in
//! `DecoderConfig`. It knows ragged batches, not sequences; where keys and values live is the `Attention`'s.
//!
//! Pre-norm transformer with RMS norms, grouped-query attention with RoPE, and SwiGLU blocks, as in Llama
//! <https://arxiv.org/abs/2302.13971>. Hidden states are f32 whatever the weights are stored in (transformers
//! rounds them to the checkpoint's type). A row's result does not depend on the other rows of its batch: every
//! operation here has one reduction order.

mod parameters;
mod replaced;

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::ops::{self, AttentionSettings, PackedLinear, RopeTable, Workers};
use crate::weights::TensorSource;

use super::adapter::{Target, adapt, any_adapts, sole};
use super::loader::Loader;
use super::{Attention, Batch, DecoderConfig, LoadOptions, ModelError};
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
    rope: Arc<RopeTable>,
    workers: Arc<Workers>,
}

#[derive(Clone)]
struct Layer {
    input_norm: RmsNorm,
    attention: SelfAttention,
    post_attention_norm: RmsNorm,
    mlp: SwiGlu,
}

#[derive(Clone)]
struct SelfAttention {
    q_proj: Arc<PackedLinear>,
    k_proj: Arc<PackedLinear>,
    v_proj: Arc<PackedLinear>,
    o_proj: Arc<PackedLinear>,
    /// Qwen3: norms over each head.
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
}

#[derive(Clone)]
struct SwiGlu {
    gate: Arc<PackedLinear>,
    up: Arc<PackedLinear>,
    down: Arc<PackedLinear>,
}

#[derive(Clone)]
struct RmsNorm {
    weight: Tensor,
    eps: f32,
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
        let rope = rope_table(&config, options.max_positions.unwrap_or(config.max_position_embeddings))?;
        let embed_tokens = loader.linear("model.embed_tokens", false)?; // [vocab, hidden]
        let layers =
            (0..config.layers).map(|index| Layer::load(&config, &loader, index)).collect::<Result<_, _>>()?;
        let norm = RmsNorm::load(&config, &loader, "model.norm")?;
        let lm_head = (!config.tie_word_embeddings).then(|| loader.linear("lm_head", false)); // [vocab, hidden]
        let lm_head = lm_head.transpose()?;
        let workers = Arc::clone(&options.workers);
        Ok(Self { config, embed_tokens, layers, norm, lm_head, rope, workers })
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
        ops::linear(&hidden, self.lm_head()) // [logit_rows, vocab]
    }

    /// The embeddings of token ids, `[ids, hidden]`.
    ///
    /// # Errors
    /// An id out of range.
    pub fn embed(&self, ids: &[u32]) -> candle_core::Result<Tensor> {
        ops::embedding(ids, &self.embed_tokens)
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

    /// The table of the embeddings, `[vocab, hidden]`.
    pub fn embed_tokens(&self) -> &Arc<PackedLinear> {
        &self.embed_tokens
    }

    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// How a layer's attention is to be computed.
    pub fn attention_settings(&self, layer: usize) -> AttentionSettings {
        AttentionSettings {
            scale: (self.config.head_dim as f64).sqrt().recip(),
            sliding_window: self.config.sliding_window(layer),
            logit_softcap: None,
        }
    }

    /// Bytes of all weights in memory, each counted once.
    pub fn weight_bytes(&self) -> usize {
        let head = self.lm_head.as_ref().map_or(0, |head| head.bytes());
        let layers: usize = self.layers.iter().map(Layer::bytes).sum();
        self.embed_tokens.bytes() + head + layers + self.norm.bytes()
    }
}

impl Layer {
    fn load(config: &DecoderConfig, loader: &Loader, index: usize) -> Result<Self, ModelError> {
        let name = |part: &str| format!("model.layers.{index}.{part}");
        Ok(Self {
            input_norm: RmsNorm::load(config, loader, &name("input_layernorm"))?,
            attention: SelfAttention::load(config, loader, &name("self_attn"))?,
            post_attention_norm: RmsNorm::load(config, loader, &name("post_attention_layernorm"))?,
            mlp: SwiGlu::load(config, loader, &name("mlp"))?,
        })
    }

    fn forward(
        &self,
        decoder: &Decoder,
        index: usize,
        hidden: &Tensor,
        batch: &Batch,
        attention: &mut dyn Attention,
    ) -> candle_core::Result<Tensor> {
        let attended = self.attention.attend(decoder, index, hidden, &self.input_norm, batch, attention)?;
        let back = |x: &Tensor, weight: &Arc<PackedLinear>, target: Target, residual: &Tensor| {
            let adapters = &batch.adapters;
            if let Some(adapter) = sole(adapters, residual.dim(0)?) {
                return ops::adapted_linears(x, &[adapter.adapted(index, target, weight)], Some(residual));
            }
            let sum = ops::linear_add(x, weight, residual)?;
            adapt(sum, x, adapters, index, target, &decoder.workers)
        }; // [tokens, hidden]
        let hidden = back(&attended, &self.attention.o_proj, Target::Output, hidden)?;
        let gated = self.mlp.gated(decoder, index, &hidden, &self.post_attention_norm, batch)?;
        back(&gated, &self.mlp.down, Target::Down, &hidden)
    }

    fn bytes(&self) -> usize {
        let SelfAttention { q_proj, k_proj, v_proj, o_proj, q_norm, k_norm } = &self.attention;
        let SwiGlu { gate, up, down } = &self.mlp;
        let linears: usize =
            [q_proj, k_proj, v_proj, o_proj, gate, up, down].map(|linear| linear.bytes()).iter().sum();
        let head_norms: usize = q_norm.iter().chain(k_norm).map(RmsNorm::bytes).sum();
        linears + head_norms + self.input_norm.bytes() + self.post_attention_norm.bytes()
    }
}

impl SelfAttention {
    fn load(config: &DecoderConfig, loader: &Loader, name: &str) -> Result<Self, ModelError> {
        let head_norm = |part: &str| {
            config.qk_norm.then(|| RmsNorm::load(config, loader, &format!("{name}.{part}"))).transpose()
        };
        Ok(Self {
            q_proj: loader.linear(&format!("{name}.q_proj"), config.qkv_bias)?, // [heads * head_dim, hidden]
            k_proj: loader.linear(&format!("{name}.k_proj"), config.qkv_bias)?, // [kv_heads * head_dim, hidden]
            v_proj: loader.linear(&format!("{name}.v_proj"), config.qkv_bias)?, // [kv_heads * head_dim, hidden]
            o_proj: loader.linear(&format!("{name}.o_proj"), config.output_bias)?, // [hidden, heads * head_dim]
            q_norm: head_norm("q_norm")?,
            k_norm: head_norm("k_norm")?,
        })
    }

    /// The heads' results, `[tokens, heads * head_dim]`, before they are projected back.
    fn attend(
        &self,
        decoder: &Decoder,
        layer: usize,
        hidden: &Tensor,
        norm: &RmsNorm,
        batch: &Batch,
        attention: &mut dyn Attention,
    ) -> candle_core::Result<Tensor> {
        let adapts = any_adapts(&batch.adapters, layer, &[Target::Query, Target::Key, Target::Value]);
        let qkv = match sole(&batch.adapters, hidden.dim(0)?) {
            Some(adapter) if adapts => {
                let linears = [
                    adapter.adapted(layer, Target::Query, &self.q_proj),
                    adapter.adapted(layer, Target::Key, &self.k_proj),
                    adapter.adapted(layer, Target::Value, &self.v_proj),
                ];
                ops::adapted_linears(&norm.forward(hidden, &decoder.workers)?, &linears, None)?
            }
            None if adapts => return self.attend_adapted(decoder, layer, hidden, norm, batch, attention),
            _ => {
                let weights = [&self.q_proj, &self.k_proj, &self.v_proj];
                ops::normed_linears(hidden, &norm.weight, norm.eps, &weights)?
            }
        };
        let DecoderConfig { heads, kv_heads, head_dim, .. } = decoder.config;
        let qkv = ops::reshape(&qkv, (hidden.dim(0)?, heads + 2 * kv_heads, head_dim))?;
        let (q, k) = if self.q_norm.is_none() && self.k_norm.is_none() {
            let both = rotate(decoder, &ops::narrow(&qkv, 1, 0, heads + kv_heads)?, None, batch)?;
            (ops::narrow(&both, 1, 0, heads)?, ops::narrow(&both, 1, heads, kv_heads)?)
        } else {
            let q = rotate(decoder, &ops::narrow(&qkv, 1, 0, heads)?, self.q_norm.as_ref(), batch)?;
            (q, rotate(decoder, &ops::narrow(&qkv, 1, heads, kv_heads)?, self.k_norm.as_ref(), batch)?)
        };
        let v = ops::narrow(&qkv, 1, heads + kv_heads, kv_heads)?;
        attention.attend(layer, &q, &k, &v, batch)
    }

    /// The same, with each projection on its own and the norm before them, so that adapters find what they need.
    fn attend_adapted(
        &self,
        decoder: &Decoder,
        layer: usize,
        hidden: &Tensor,
        norm: &RmsNorm,
        batch: &Batch,
        attention: &mut dyn Attention,
    ) -> candle_core::Result<Tensor> {
        let DecoderConfig { heads, kv_heads, head_dim, .. } = decoder.config;
        let normed = norm.forward(hidden, &decoder.workers)?;
        let project = |weight, target, heads| {
            let plain = ops::linear(&normed, weight)?;
            let adapted = adapt(plain, &normed, &batch.adapters, layer, target, &decoder.workers)?;
            ops::reshape(&adapted, (hidden.dim(0)?, heads, head_dim))
        };
        let q = project(&self.q_proj, Target::Query, heads)?;
        let k = project(&self.k_proj, Target::Key, kv_heads)?;
        let v = project(&self.v_proj, Target::Value, kv_heads)?;
        let q = rotate(decoder, &q, self.q_norm.as_ref(), batch)?;
        let k = rotate(decoder, &k, self.k_norm.as_ref(), batch)?;
        attention.attend(layer, &q, &k, &v, batch)
    }
}

/// Norm (if the family has one) and RoPE over each head. `[tokens, heads, head_dim]`
fn rotate(
    decoder: &Decoder,
    x: &Tensor,
    norm: Option<&RmsNorm>,
    batch: &Batch,
) -> candle_core::Result<Tensor> {
    let normed = norm.map(|norm| norm.forward(x, &decoder.workers)).transpose()?;
    ops::rope(normed.as_ref().unwrap_or(x), &decoder.rope, &batch.positions, &decoder.workers)
}

impl SwiGlu {
    fn load(config: &DecoderConfig, loader: &Loader, name: &str) -> Result<Self, ModelError> {
        Ok(Self {
            gate: loader.linear(&format!("{name}.gate_proj"), config.mlp_bias)?, // [intermediate, hidden]
            up: loader.linear(&format!("{name}.up_proj"), config.mlp_bias)?,     // [intermediate, hidden]
            down: loader.linear(&format!("{name}.down_proj"), config.mlp_bias)?, // [hidden, intermediate]
        })
    }

    /// What goes into `down`, `[tokens, intermediate]`.
    fn gated(
        &self,
        decoder: &Decoder,
        layer: usize,
        hidden: &Tensor,
        norm: &RmsNorm,
        batch: &Batch,
    ) -> candle_core::Result<Tensor> {
        if !any_adapts(&batch.adapters, layer, &[Target::Gate, Target::Up]) {
            return ops::normed_gated_linear(hidden, &norm.weight, norm.eps, &self.gate, &self.up);
        }
        let normed = norm.forward(hidden, &decoder.workers)?;
        let project = |weight, target| {
            if let Some(adapter) = sole(&batch.adapters, hidden.dim(0)?) {
                return ops::adapted_linears(&normed, &[adapter.adapted(layer, target, weight)], None);
            }
            let plain = ops::linear(&normed, weight)?;
            adapt(plain, &normed, &batch.adapters, layer, target, &decoder.workers)
        };
        let (gate, up) = (project(&self.gate, Target::Gate)?, project(&self.up, Target::Up)?);
        ops::swiglu(&gate, &up, &decoder.workers)
    }
}

impl RmsNorm {
    fn load(config: &DecoderConfig, loader: &Loader, name: &str) -> Result<Self, ModelError> {
        Ok(Self { weight: loader.vector(name)?, eps: config.rms_norm_eps })
    }

    /// Over the last dimension.
    fn forward(&self, x: &Tensor, workers: &Arc<Workers>) -> candle_core::Result<Tensor> {
        ops::rms_norm(x, &self.weight, self.eps, workers)
    }

    fn bytes(&self) -> usize {
        self.weight.elem_count() * size_of::<f32>()
    }
}

fn rope_table(config: &DecoderConfig, positions: usize) -> Result<Arc<RopeTable>, ModelError> {
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
    let frequencies = config.rope.frequencies(config.head_dim);
    Ok(RopeTable::new(&frequencies.inverse_frequencies, frequencies.attention_scale, positions))
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
