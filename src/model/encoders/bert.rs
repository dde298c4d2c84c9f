//! BERT, and RoBERTa and XLM-R, which are BERT with other positions. Devlin et al., <https://arxiv.org/abs/1810.04805>;
//! Conneau et al., <https://arxiv.org/abs/1911.02116>.
//!
//! Post-norm with LayerNorms and biases, absolute positions. BERT counts them from 0, RoBERTa and XLM-R from the padding's
//! id plus one: the `model_type` decides, so that multilingual-e5-small, a BERT with XLM-R's vocabulary, counts from 0.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::activation::Activation;
use super::attention::{Heads, attend};
use super::layer_norm::LayerNorm;
use super::names::prefix;
use super::{POSITIONS_MAX, TextEncoder, Texts, head_dim, model_type};
use crate::model::config::limits;
use crate::model::layout::{TensorSpec, check_specs, spec};
use crate::model::loader::Loader;
use crate::model::reader::Reader;
use crate::model::{LoadOptions, ModelError};
use crate::ops::{self, PackedLinear, Workers};
use crate::weights::TensorSource;

struct Config {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    layers: usize,
    heads: usize,
    head_dim: usize,
    /// Rows of the table of positions.
    positions: usize,
    token_types: usize,
    /// The id that positions are counted from, in RoBERTa's way.
    padding: Option<u32>,
    eps: f64,
    activation: Activation,
}

pub(super) struct Bert {
    config: Config,
    words: Arc<PackedLinear>,
    /// `[positions, hidden]`
    positions: Tensor,
    /// That of a first text, the only one here. `[hidden]`
    token_type: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
    workers: Arc<Workers>,
}

struct Layer {
    q: Arc<PackedLinear>,
    k: Arc<PackedLinear>,
    v: Arc<PackedLinear>,
    attention_output: Arc<PackedLinear>,
    attention_norm: LayerNorm,
    intermediate: Arc<PackedLinear>,
    output: Arc<PackedLinear>,
    output_norm: LayerNorm,
}

impl Bert {
    pub fn load(
        config: &Reader,
        source: &dyn TensorSource,
        options: &LoadOptions,
    ) -> std::result::Result<Self, ModelError> {
        let config = Config::read(config)?;
        let root = prefix(source, "embeddings.word_embeddings.weight", &["", "bert.", "roberta."]);
        check_specs(&config.specs(root), source, &format!("{root}encoder.layer."), |_| {
            Some("num_hidden_layers, model_type")
        })?;
        let loader = Loader::checked(source, options);
        let embeddings = format!("{root}embeddings");
        Ok(Self {
            words: loader.linear(&format!("{embeddings}.word_embeddings"), false)?, // [vocab, hidden]
            positions: loader.vector(&format!("{embeddings}.position_embeddings"))?,
            token_type: loader.vector(&format!("{embeddings}.token_type_embeddings"))?.get(0)?,
            norm: LayerNorm::load(&loader, &format!("{embeddings}.LayerNorm"), config.eps)?,
            layers: (0..config.layers)
                .map(|index| Layer::load(&loader, &format!("{root}encoder.layer.{index}"), config.eps))
                .collect::<std::result::Result<_, _>>()?,
            workers: Arc::clone(&options.workers),
            config,
        })
    }

    /// `[tokens, hidden]`
    fn embed(&self, texts: &Texts) -> Result<Tensor> {
        let positions = match self.config.padding {
            Some(padding) => texts.positions_from_padding(padding),
            None => texts.positions(),
        };
        let words = ops::embedding(texts.ids(), &self.words)?.broadcast_add(&self.token_type)?;
        let positions = self.positions.index_select(&Tensor::new(positions, &Device::Cpu)?, 0)?;
        self.norm.forward(&(words + positions)?)
    }
}

impl TextEncoder for Bert {
    fn encode(&self, texts: &Texts) -> Result<Tensor> {
        texts.check(self.max_tokens())?;
        let mut hidden = self.embed(texts)?; // [tokens, hidden]
        for layer in &self.layers {
            hidden = layer.forward(self, &hidden, texts)?;
        }
        Ok(hidden)
    }

    fn hidden_size(&self) -> usize {
        self.config.hidden_size
    }

    fn max_tokens(&self) -> usize {
        self.config.max_tokens()
    }

    fn weight_bytes(&self) -> usize {
        let layers: usize = self.layers.iter().map(Layer::bytes).sum();
        let plain = self.positions.elem_count() + self.token_type.elem_count();
        self.words.bytes() + plain * size_of::<f32>() + self.norm.bytes() + layers
    }
}

impl Layer {
    fn load(loader: &Loader, name: &str, eps: f64) -> std::result::Result<Self, ModelError> {
        let linear = |part: &str| loader.linear(&format!("{name}.{part}"), true);
        let norm = |part: &str| LayerNorm::load(loader, &format!("{name}.{part}"), eps);
        Ok(Self {
            q: linear("attention.self.query")?,                  // [hidden, hidden]
            k: linear("attention.self.key")?,                    // [hidden, hidden]
            v: linear("attention.self.value")?,                  // [hidden, hidden]
            attention_output: linear("attention.output.dense")?, // [hidden, hidden]
            attention_norm: norm("attention.output.LayerNorm")?,
            intermediate: linear("intermediate.dense")?, // [intermediate, hidden]
            output: linear("output.dense")?,             // [hidden, intermediate]
            output_norm: norm("output.LayerNorm")?,
        })
    }

    fn forward(&self, bert: &Bert, hidden: &Tensor, texts: &Texts) -> Result<Tensor> {
        let Config { heads, head_dim, activation, .. } = bert.config;
        let qkv = ops::linears(hidden, &[&self.q, &self.k, &self.v])?; // [tokens, 3 * hidden]
        let scale = (head_dim as f64).sqrt().recip();
        let attended = attend(&Heads::split(&qkv, heads)?, texts, scale, None)?;
        let summed = ops::linear_add(&attended, &self.attention_output, hidden)?;
        let hidden = self.attention_norm.forward(&summed)?; // [tokens, hidden]
        let inner = activation.forward(&ops::linear(&hidden, &self.intermediate)?, &bert.workers)?;
        self.output_norm.forward(&ops::linear_add(&inner, &self.output, &hidden)?)
    }

    fn bytes(&self) -> usize {
        let Self { q, k, v, attention_output, attention_norm, intermediate, output, output_norm } = self;
        let linears: usize =
            [q, k, v, attention_output, intermediate, output].map(|linear| linear.bytes()).iter().sum();
        linears + attention_norm.bytes() + output_norm.bytes()
    }
}

impl Config {
    fn read(config: &Reader) -> std::result::Result<Self, ModelError> {
        refuse_other_mathematics(config)?;
        let hidden_size = config.size("hidden_size", limits::HIDDEN)?;
        let heads = config.size("num_attention_heads", limits::HEADS)?;
        let padding = match model_type(config)? {
            "bert" => None,
            _ => Some(config.optional_size("pad_token_id", limits::VOCABULARY)?.unwrap_or(1) as u32),
        };
        let read = Self {
            vocab_size: config.size("vocab_size", limits::VOCABULARY)?,
            hidden_size,
            intermediate_size: config.size("intermediate_size", limits::INTERMEDIATE)?,
            layers: config.size("num_hidden_layers", limits::LAYERS)?,
            heads,
            head_dim: head_dim("hidden_size", hidden_size, "num_attention_heads", heads)?,
            positions: config.size("max_position_embeddings", POSITIONS_MAX)?,
            token_types: config.optional_size("type_vocab_size", 1 << 10)?.unwrap_or(2),
            padding,
            eps: config.optional_positive("layer_norm_eps")?.unwrap_or(1e-12),
            activation: Activation::read(config, "hidden_act")?,
        };
        if read.max_tokens() == 0 {
            let found = format!("`max_position_embeddings` = {} ends before `pad_token_id`", read.positions);
            return Err(ModelError::contradiction(found, "take both from the original config"));
        }
        Ok(read)
    }

    fn max_tokens(&self) -> usize {
        self.positions.saturating_sub(self.padding.map_or(0, |padding| padding as usize + 1))
    }

    fn specs(&self, root: &str) -> Vec<TensorSpec> {
        let Self { hidden_size: hidden, intermediate_size: inner, .. } = *self;
        let mut specs = Vec::new();
        for (table, rows, keys) in [
            ("word", self.vocab_size, "vocab_size, hidden_size"),
            ("position", self.positions, "max_position_embeddings, hidden_size"),
            ("token_type", self.token_types, "type_vocab_size, hidden_size"),
        ] {
            specs.push(spec(&format!("{root}embeddings.{table}_embeddings.weight"), &[rows, hidden], keys));
        }
        let mut both = |name: &str, shape: &[usize], keys| {
            specs.push(spec(&format!("{root}{name}.weight"), shape, keys));
            specs.push(spec(&format!("{root}{name}.bias"), &shape[..1], keys));
        };
        both("embeddings.LayerNorm", &[hidden], "hidden_size");
        for layer in 0..self.layers {
            let name = |part: &str| format!("encoder.layer.{layer}.{part}");
            for part in ["self.query", "self.key", "self.value", "output.dense"] {
                both(&name(&format!("attention.{part}")), &[hidden, hidden], "hidden_size");
            }
            both(&name("attention.output.LayerNorm"), &[hidden], "hidden_size");
            both(&name("intermediate.dense"), &[inner, hidden], "intermediate_size, hidden_size");
            both(&name("output.dense"), &[hidden, inner], "hidden_size, intermediate_size");
            both(&name("output.LayerNorm"), &[hidden], "hidden_size");
        }
        specs
    }
}

/// Keys that would change what the model computes, and that this encoder does not have.
fn refuse_other_mathematics(config: &Reader) -> std::result::Result<(), ModelError> {
    let hint = match config.text("position_embedding_type")? {
        None | Some("absolute") => None,
        Some(other) => Some(("position_embedding_type", other.into(), "positions are absolute here")),
    };
    let decoder = config.flag("is_decoder", false)?.then(|| {
        (
            "is_decoder",
            true.into(),
            "a decoder sees only what is before a token; an encoder has all of the text",
        )
    });
    match hint.or(decoder) {
        Some((key, found, hint)) => Err(ModelError::unsupported(key, &found, hint)),
        None => Ok(()),
    }
}
