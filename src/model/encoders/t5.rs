//! T5's encoder: T5 1.0 (relu), T5 v1.1 and mT5 (gated GELU). Raffel et al., <https://arxiv.org/abs/1910.10683>.
//!
//! Pre-norm with RMS norms, no biases, attention without a scale. Positions are one bias a head and bucket of distances,
//! learned in the first layer and used in all.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::activation::Activation;
use super::attention::{Heads, attend};
use super::names::prefix;
use super::{TextEncoder, Texts};
use crate::model::config::limits;
use crate::model::layout::{TensorSpec, check_specs, spec};
use crate::model::loader::Loader;
use crate::model::reader::Reader;
use crate::model::{LoadOptions, ModelError};
use crate::ops::{self, Gelu, PackedLinear, Workers};
use crate::weights::TensorSource;

/// T5 has no table of positions; scores and biases of a text this long take 64 MiB a head.
const TOKENS_MAX: usize = 4096;

struct Config {
    vocab_size: usize,
    d_model: usize,
    d_kv: usize,
    d_ff: usize,
    layers: usize,
    heads: usize,
    eps: f32,
    buckets: Buckets,
    activation: Activation,
    is_gated: bool,
}

/// How distances share biases.
#[derive(Debug, Clone, Copy)]
struct Buckets {
    count: usize,
    /// From this distance on all share the last bucket.
    distance_max: usize,
}

pub(super) struct T5 {
    config: Config,
    embed_tokens: Arc<PackedLinear>,
    /// `[buckets][heads]`
    relative_bias: Vec<f32>,
    layers: Vec<Layer>,
    /// `[d_model]`
    final_norm: Tensor,
    workers: Arc<Workers>,
}

struct Layer {
    /// `[d_model]`
    attention_norm: Tensor,
    q: Arc<PackedLinear>,
    k: Arc<PackedLinear>,
    v: Arc<PackedLinear>,
    o: Arc<PackedLinear>,
    /// `[d_model]`
    feed_forward_norm: Tensor,
    /// `wi`, or `wi_0` (which the activation is applied to) and `wi_1`.
    wi: Vec<Arc<PackedLinear>>,
    wo: Arc<PackedLinear>,
}

impl T5 {
    pub fn load(
        config: &Reader,
        source: &dyn TensorSource,
        options: &LoadOptions,
    ) -> std::result::Result<Self, ModelError> {
        let config = Config::read(config)?;
        let names = Names::find(source);
        check_specs(&config.specs(&names), source, &format!("{}block.", names.stack), |_| {
            Some("num_layers, feed_forward_proj, model_type")
        })?;
        let loader = Loader::checked(source, options);
        let layers = (0..config.layers)
            .map(|index| Layer::load(&config, &loader, &names.layer(index)))
            .collect::<std::result::Result<_, _>>()?;
        Ok(Self {
            embed_tokens: loader.linear(&names.embedding, false)?, // [vocab, d_model]
            relative_bias: loader.vector(&names.relative_bias())?.flatten_all()?.to_vec1()?,
            layers,
            final_norm: loader.vector(&format!("{}final_layer_norm", names.stack))?,
            workers: Arc::clone(&options.workers),
            config,
        })
    }

    /// The bias of a text of `length` tokens, `[heads, length, length]`.
    fn position_bias(&self, length: usize) -> Result<Tensor> {
        let Config { heads, buckets, .. } = self.config;
        // A distance from -(length - 1) to length - 1 has its bucket here.
        let distances: Vec<usize> =
            (0..2 * length).map(|d| buckets.of(d as i64 - (length as i64 - 1))).collect();
        let mut bias = Vec::with_capacity(heads * length * length);
        for head in 0..heads {
            let of_bucket = |bucket: &usize| self.relative_bias[bucket * heads + head];
            let row: Vec<f32> = distances.iter().map(of_bucket).collect();
            for query in 0..length {
                bias.extend_from_slice(&row[length - 1 - query..][..length]);
            }
        }
        Tensor::from_vec(bias, (heads, length, length), &Device::Cpu)
    }
}

impl TextEncoder for T5 {
    fn encode(&self, texts: &Texts) -> Result<Tensor> {
        texts.check(self.max_tokens())?;
        let bias = self.position_bias(texts.longest())?;
        let mut hidden = ops::embedding(texts.ids(), &self.embed_tokens)?; // [tokens, d_model]
        for layer in &self.layers {
            hidden = layer.forward(self, &hidden, texts, &bias)?;
        }
        ops::rms_norm(&hidden, &self.final_norm, self.config.eps, &self.workers)
    }

    fn hidden_size(&self) -> usize {
        self.config.d_model
    }

    fn max_tokens(&self) -> usize {
        TOKENS_MAX
    }

    fn weight_bytes(&self) -> usize {
        let layers: usize = self.layers.iter().map(Layer::bytes).sum();
        let plain = self.relative_bias.len() + self.final_norm.elem_count();
        self.embed_tokens.bytes() + layers + plain * size_of::<f32>()
    }
}

impl Layer {
    fn load(config: &Config, loader: &Loader, name: &str) -> std::result::Result<Self, ModelError> {
        let attention = |part: &str| loader.linear(&format!("{name}.layer.0.SelfAttention.{part}"), false);
        let feed_forward =
            |part: &str| loader.linear(&format!("{name}.layer.1.DenseReluDense.{part}"), false);
        Ok(Self {
            attention_norm: loader.vector(&format!("{name}.layer.0.layer_norm"))?,
            q: attention("q")?, // [heads * d_kv, d_model]
            k: attention("k")?, // [heads * d_kv, d_model]
            v: attention("v")?, // [heads * d_kv, d_model]
            o: attention("o")?, // [d_model, heads * d_kv]
            feed_forward_norm: loader.vector(&format!("{name}.layer.1.layer_norm"))?,
            wi: config
                .inner_names()
                .iter()
                .map(|part| feed_forward(part)) // [d_ff, d_model]
                .collect::<std::result::Result<_, _>>()?,
            wo: feed_forward("wo")?, // [d_model, d_ff]
        })
    }

    fn forward(&self, t5: &T5, hidden: &Tensor, texts: &Texts, bias: &Tensor) -> Result<Tensor> {
        let Config { eps, heads, activation, d_ff, .. } = t5.config;
        let qkv = ops::normed_linears(hidden, &self.attention_norm, eps, &[&self.q, &self.k, &self.v])?;
        let attended = attend(&Heads::split(&qkv, heads)?, texts, 1.0, Some(bias))?;
        let hidden = ops::linear_add(&attended, &self.o, hidden)?; // [tokens, d_model]
        let wi: Vec<_> = self.wi.iter().collect();
        let inner = ops::normed_linears(&hidden, &self.feed_forward_norm, eps, &wi)?; // [tokens, d_ff or twice it]
        let active = activation.forward(&inner.narrow(1, 0, d_ff)?, &t5.workers)?;
        let inner = if wi.len() == 2 { (active * inner.narrow(1, d_ff, d_ff)?)? } else { active };
        ops::linear_add(&inner, &self.wo, &hidden) // [tokens, d_model]
    }

    fn bytes(&self) -> usize {
        let Self { attention_norm, q, k, v, o, feed_forward_norm, wi, wo } = self;
        let linears: usize = [q, k, v, o, wo].into_iter().chain(wi).map(|linear| linear.bytes()).sum();
        linears + (attention_norm.elem_count() + feed_forward_norm.elem_count()) * size_of::<f32>()
    }
}

impl Config {
    fn read(config: &Reader) -> std::result::Result<Self, ModelError> {
        let (activation, is_gated) = match config.text("feed_forward_proj")?.unwrap_or("relu") {
            "relu" => (Activation::Relu, false),
            // transformers reads it as `gelu_new`.
            "gated-gelu" => (Activation::Gelu(Gelu::Tanh), true),
            other => {
                let hint = "supported are relu (T5 1.0) and gated-gelu (T5 v1.1, mT5)";
                return Err(ModelError::unsupported("feed_forward_proj", &other.into(), hint));
            }
        };
        let buckets = Buckets {
            count: config.size("relative_attention_num_buckets", 1 << 12)?,
            distance_max: config.optional_size("relative_attention_max_distance", 1 << 24)?.unwrap_or(128),
        };
        buckets.check()?;
        Ok(Self {
            vocab_size: config.size("vocab_size", limits::VOCABULARY)?,
            d_model: config.size("d_model", limits::HIDDEN)?,
            d_kv: config.size("d_kv", limits::HEAD_DIM)?,
            d_ff: config.size("d_ff", limits::INTERMEDIATE)?,
            layers: config.size("num_layers", limits::LAYERS)?,
            heads: config.size("num_heads", limits::HEADS)?,
            eps: config.optional_positive("layer_norm_epsilon")?.unwrap_or(1e-6) as f32,
            buckets,
            activation,
            is_gated,
        })
    }

    fn inner_names(&self) -> &'static [&'static str] {
        if self.is_gated { &["wi_0", "wi_1"] } else { &["wi"] }
    }

    fn specs(&self, names: &Names) -> Vec<TensorSpec> {
        let Self { vocab_size, d_model, d_kv, d_ff, layers, heads, buckets, .. } = *self;
        let weight = |name: &str, shape: &[usize], keys| spec(&format!("{name}.weight"), shape, keys);
        let mut specs = vec![
            weight(&names.embedding, &[vocab_size, d_model], "vocab_size, d_model"),
            weight(
                &names.relative_bias(),
                &[buckets.count, heads],
                "relative_attention_num_buckets, num_heads",
            ),
            weight(&format!("{}final_layer_norm", names.stack), &[d_model], "d_model"),
        ];
        for layer in (0..layers).map(|index| names.layer(index)) {
            for norm in ["layer.0.layer_norm", "layer.1.layer_norm"] {
                specs.push(weight(&format!("{layer}.{norm}"), &[d_model], "d_model"));
            }
            for part in ["q", "k", "v"] {
                let name = format!("{layer}.layer.0.SelfAttention.{part}");
                specs.push(weight(&name, &[heads * d_kv, d_model], "num_heads, d_kv, d_model"));
            }
            let name = format!("{layer}.layer.0.SelfAttention.o");
            specs.push(weight(&name, &[d_model, heads * d_kv], "d_model, num_heads, d_kv"));
            for part in self.inner_names() {
                let name = format!("{layer}.layer.1.DenseReluDense.{part}");
                specs.push(weight(&name, &[d_ff, d_model], "d_ff, d_model, feed_forward_proj"));
            }
            let name = format!("{layer}.layer.1.DenseReluDense.wo");
            specs.push(weight(&name, &[d_model, d_ff], "d_model, d_ff"));
        }
        specs
    }
}

/// Where the parts of the encoder lie in a checkpoint.
struct Names {
    /// Of the embedding, without `.weight`.
    embedding: String,
    /// Ends with a dot where it is not empty.
    stack: &'static str,
}

impl Names {
    fn find(source: &dyn TensorSource) -> Self {
        let embeddings = ["shared", "encoder.embed_tokens", "embed_tokens"];
        Self {
            embedding: prefix(source, ".weight", &embeddings).to_owned(),
            stack: prefix(source, "final_layer_norm.weight", &["encoder.", ""]),
        }
    }

    fn layer(&self, index: usize) -> String {
        format!("{}block.{index}", self.stack)
    }

    fn relative_bias(&self) -> String {
        format!("{}.layer.0.SelfAttention.relative_attention_bias", self.layer(0))
    }
}

impl Buckets {
    fn check(self) -> std::result::Result<(), ModelError> {
        // A half for each direction, and half of that for exact distances.
        if self.count.is_multiple_of(4) && self.distance_max > self.count / 4 {
            return Ok(());
        }
        Err(ModelError::contradiction(
            format!(
                "`relative_attention_num_buckets` = {} and `relative_attention_max_distance` = {} make no buckets",
                self.count, self.distance_max
            ),
            "the first is a multiple of 4, the second above a quarter of it; take both from the original config",
        ))
    }

    /// The bucket of key minus query position: the lower half for keys before the query, the upper for keys after; in
    /// each, half of the buckets are single distances, and the rest grow logarithmically.
    fn of(self, distance: i64) -> usize {
        let half = self.count / 2;
        let first = if distance > 0 { half } else { 0 };
        let distance = distance.unsigned_abs() as usize;
        let exact = half / 2;
        if distance < exact {
            return first + distance;
        }
        // In f32, as transformers computes it: a boundary that rounds otherwise would move a distance.
        let scale = (self.distance_max as f64 / exact as f64).ln() as f32;
        let grown = (distance as f32 / exact as f32).ln() / scale * (half - exact) as f32;
        first + (exact + grown as usize).min(half - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `T5Attention._relative_position_bucket` of transformers, at the edges of its buckets.
    #[test]
    fn distances_fall_into_the_buckets_of_transformers() {
        let check = |distance, expected| {
            let buckets = Buckets { count: 32, distance_max: 128 };
            assert_eq!(buckets.of(distance), expected, "{distance}");
        };
        for (distance, expected) in [(0, 0), (-1, 1), (1, 17), (-7, 7), (-8, 8), (-11, 8), (-12, 9), (-15, 9)]
        {
            check(distance, expected);
        }
        for (distance, expected) in
            [(-16, 10), (16, 26), (-32, 12), (-64, 14), (-91, 15), (-128, 15), (4000, 31)]
        {
            check(distance, expected);
        }
    }
}
