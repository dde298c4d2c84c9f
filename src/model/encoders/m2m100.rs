//! M2M100's encoder, which is NLLB's too. Fan et al., <https://arxiv.org/abs/2010.11125>.
//!
//! Pre-norm with LayerNorms and biases, and a last norm. Positions are sinusoids, computed and not stored: the sines of
//! all frequencies, then the cosines, counted as fairseq does.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::activation::Activation;
use super::attention::{Heads, attend};
use super::layer_norm::LayerNorm;
use super::names::prefix;
use super::{POSITIONS_MAX, TextEncoder, Texts, head_dim};
use crate::model::config::limits;
use crate::model::layout::{TensorSpec, check_specs, spec};
use crate::model::loader::Loader;
use crate::model::reader::Reader;
use crate::model::{LoadOptions, ModelError};
use crate::ops::{self, PackedLinear, Workers};
use crate::weights::TensorSource;

/// torch.nn.LayerNorm's own; the config has no key for it.
const LAYER_NORM_EPS: f64 = 1e-5;

struct Config {
    vocab_size: usize,
    d_model: usize,
    d_ff: usize,
    layers: usize,
    heads: usize,
    head_dim: usize,
    positions: usize,
    padding: u32,
    /// What embeddings are multiplied by.
    scale: f64,
    activation: Activation,
}

pub(super) struct M2m100 {
    config: Config,
    embed_tokens: Arc<PackedLinear>,
    /// `[padding + 1 + positions, d_model]`
    sinusoids: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    workers: Arc<Workers>,
}

struct Layer {
    attention_norm: LayerNorm,
    q: Arc<PackedLinear>,
    k: Arc<PackedLinear>,
    v: Arc<PackedLinear>,
    o: Arc<PackedLinear>,
    feed_forward_norm: LayerNorm,
    fc1: Arc<PackedLinear>,
    fc2: Arc<PackedLinear>,
}

impl M2m100 {
    pub fn load(
        config: &Reader,
        source: &dyn TensorSource,
        options: &LoadOptions,
    ) -> std::result::Result<Self, ModelError> {
        let config = Config::read(config)?;
        let embeddings =
            ["model.shared", "model.encoder.embed_tokens", "shared", "encoder.embed_tokens", "embed_tokens"];
        let embedding = prefix(source, ".weight", &embeddings);
        let stack = prefix(source, "layer_norm.weight", &["model.encoder.", "encoder.", ""]);
        check_specs(&config.specs(embedding, stack), source, &format!("{stack}layers."), |_| {
            Some("encoder_layers, model_type")
        })?;
        let loader = Loader::checked(source, options);
        Ok(Self {
            embed_tokens: loader.linear(embedding, false)?, // [vocab, d_model]
            sinusoids: config.sinusoids()?,
            layers: (0..config.layers)
                .map(|index| Layer::load(&loader, &format!("{stack}layers.{index}")))
                .collect::<std::result::Result<_, _>>()?,
            norm: LayerNorm::load(&loader, &format!("{stack}layer_norm"), LAYER_NORM_EPS)?,
            workers: Arc::clone(&options.workers),
            config,
        })
    }

    /// `[tokens, d_model]`
    fn embed(&self, texts: &Texts) -> Result<Tensor> {
        let embedded = (ops::embedding(texts.ids(), &self.embed_tokens)? * self.config.scale)?;
        let positions = texts.positions_from_padding(self.config.padding);
        embedded + self.sinusoids.index_select(&Tensor::new(positions, &Device::Cpu)?, 0)?
    }
}

impl TextEncoder for M2m100 {
    fn encode(&self, texts: &Texts) -> Result<Tensor> {
        texts.check(self.max_tokens())?;
        let mut hidden = self.embed(texts)?; // [tokens, d_model]
        for layer in &self.layers {
            hidden = layer.forward(self, &hidden, texts)?;
        }
        self.norm.forward(&hidden)
    }

    fn hidden_size(&self) -> usize {
        self.config.d_model
    }

    fn max_tokens(&self) -> usize {
        self.config.positions
    }

    fn weight_bytes(&self) -> usize {
        let layers: usize = self.layers.iter().map(Layer::bytes).sum();
        let sinusoids = self.sinusoids.elem_count() * size_of::<f32>();
        self.embed_tokens.bytes() + sinusoids + layers + self.norm.bytes()
    }
}

impl Layer {
    fn load(loader: &Loader, name: &str) -> std::result::Result<Self, ModelError> {
        let linear = |part: &str| loader.linear(&format!("{name}.{part}"), true);
        let norm = |part: &str| LayerNorm::load(loader, &format!("{name}.{part}"), LAYER_NORM_EPS);
        Ok(Self {
            attention_norm: norm("self_attn_layer_norm")?,
            q: linear("self_attn.q_proj")?,   // [d_model, d_model]
            k: linear("self_attn.k_proj")?,   // [d_model, d_model]
            v: linear("self_attn.v_proj")?,   // [d_model, d_model]
            o: linear("self_attn.out_proj")?, // [d_model, d_model]
            feed_forward_norm: norm("final_layer_norm")?,
            fc1: linear("fc1")?, // [d_ff, d_model]
            fc2: linear("fc2")?, // [d_model, d_ff]
        })
    }

    fn forward(&self, model: &M2m100, hidden: &Tensor, texts: &Texts) -> Result<Tensor> {
        let Config { heads, head_dim, activation, .. } = model.config;
        let qkv = ops::linears(&self.attention_norm.forward(hidden)?, &[&self.q, &self.k, &self.v])?;
        let scale = (head_dim as f64).sqrt().recip();
        let attended = attend(&Heads::split(&qkv, heads)?, texts, scale, None)?;
        let hidden = ops::linear_add(&attended, &self.o, hidden)?; // [tokens, d_model]
        let inner = ops::linear(&self.feed_forward_norm.forward(&hidden)?, &self.fc1)?; // [tokens, d_ff]
        ops::linear_add(&activation.forward(&inner, &model.workers)?, &self.fc2, &hidden)
    }

    fn bytes(&self) -> usize {
        let Self { attention_norm, q, k, v, o, feed_forward_norm, fc1, fc2 } = self;
        let linears: usize = [q, k, v, o, fc1, fc2].map(|linear| linear.bytes()).iter().sum();
        linears + attention_norm.bytes() + feed_forward_norm.bytes()
    }
}

impl Config {
    fn read(config: &Reader) -> std::result::Result<Self, ModelError> {
        let d_model = config.size("d_model", limits::HIDDEN)?;
        if !d_model.is_multiple_of(2) || d_model < 4 {
            let found = format!("`d_model` = {d_model} leaves no pairs of a sine and a cosine");
            return Err(ModelError::contradiction(found, "take it from the original config"));
        }
        let heads = config.size("encoder_attention_heads", limits::HEADS)?;
        let scale = if config.flag("scale_embedding", true)? { (d_model as f64).sqrt() } else { 1.0 };
        Ok(Self {
            vocab_size: config.size("vocab_size", limits::VOCABULARY)?,
            d_model,
            d_ff: config.size("encoder_ffn_dim", limits::INTERMEDIATE)?,
            layers: config.size("encoder_layers", limits::LAYERS)?,
            heads,
            head_dim: head_dim("d_model", d_model, "encoder_attention_heads", heads)?,
            positions: config.size("max_position_embeddings", POSITIONS_MAX)?,
            padding: config.optional_size("pad_token_id", limits::VOCABULARY)?.unwrap_or(1) as u32,
            scale,
            activation: Activation::read(config, "activation_function")?,
        })
    }

    fn specs(&self, embedding: &str, stack: &str) -> Vec<TensorSpec> {
        let Self { vocab_size, d_model, d_ff, layers, .. } = *self;
        let mut specs =
            vec![spec(&format!("{embedding}.weight"), &[vocab_size, d_model], "vocab_size, d_model")];
        let mut both = |name: &str, shape: &[usize], keys| {
            specs.push(spec(&format!("{stack}{name}.weight"), shape, keys));
            specs.push(spec(&format!("{stack}{name}.bias"), &shape[..1], keys));
        };
        both("layer_norm", &[d_model], "d_model");
        for layer in 0..layers {
            for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                both(&format!("layers.{layer}.self_attn.{part}"), &[d_model, d_model], "d_model");
            }
            for norm in ["self_attn_layer_norm", "final_layer_norm"] {
                both(&format!("layers.{layer}.{norm}"), &[d_model], "d_model");
            }
            both(&format!("layers.{layer}.fc1"), &[d_ff, d_model], "encoder_ffn_dim, d_model");
            both(&format!("layers.{layer}.fc2"), &[d_model, d_ff], "d_model, encoder_ffn_dim");
        }
        specs
    }

    /// `M2M100SinusoidalPositionalEmbedding`, in f32 as transformers computes it. `[padding + 1 + positions, d_model]`
    fn sinusoids(&self) -> Result<Tensor> {
        let (half, rows) = (self.d_model / 2, self.padding as usize + 1 + self.positions);
        let step = (10_000_f64.ln() / (half - 1) as f64) as f32;
        let frequencies: Vec<f32> = (0..half).map(|i| (i as f32 * -step).exp()).collect();
        let mut table = Vec::with_capacity(rows * self.d_model);
        for position in 0..rows {
            if position == self.padding as usize {
                table.resize(table.len() + self.d_model, 0.0);
                continue;
            }
            let angles = frequencies.iter().map(|frequency| position as f32 * frequency);
            table.extend(angles.clone().map(f32::sin));
            table.extend(angles.map(f32::cos));
        }
        Tensor::from_vec(table, (rows, self.d_model), &Device::Cpu)
    }
}
