//! `DecoderConfig`: one description for every family, checked, with nothing left to guess. Not the Hugging
//! Face config (`families/` translates that) and not what the server may override (context length, types).

use super::ModelError;
use super::rope::{RopeConfig, RopeScaling};
use crate::ops::Activation;

/// The largest sizes accepted. They only keep a corrupt config from asking for absurd memory; every published
/// model of the supported families is far below them.
pub(super) mod limits {
    pub const VOCABULARY: usize = 1 << 22;
    pub const HIDDEN: usize = 1 << 17;
    pub const INTERMEDIATE: usize = 1 << 19;
    pub const LAYERS: usize = 1 << 10;
    pub const HEADS: usize = 1 << 10;
    pub const HEAD_DIM: usize = 1 << 10;
    pub const POSITIONS: usize = 1 << 24;
    pub const EXPERTS: usize = 1 << 12;
    /// Of all layers together.
    pub const ALL_EXPERTS: usize = 1 << 17;
}

#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    /// Width of the gated block of layers without experts.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub layers: usize,
    /// Query heads; `heads * head_dim` need not be `hidden_size`.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    pub head_dim: usize,
    pub rms_norm_eps: f32,
    pub rope: RopeConfig,
    /// That of layers with a sliding window, where it is another one.
    pub sliding_rope: Option<RopeConfig>,
    /// The longest context, in tokens, that the model was made for (after RoPE scaling).
    pub max_position_embeddings: usize,
    /// How many positions, itself included, a token of each layer sees; `None` is all of them. `[layers]`
    pub layer_windows: Vec<Option<usize>>,
    /// Biases on the query, key and value projections.
    pub qkv_bias: bool,
    /// A bias on attention's output projection.
    pub output_bias: bool,
    /// Biases on the three SwiGLU projections.
    pub mlp_bias: bool,
    /// Query, key and value are one projection (`qkv_proj`), and so are gate and up (`gate_up_proj`).
    pub fused_projections: bool,
    /// RMS norms over each query and key head, before RoPE.
    pub qk_norm: bool,
    /// Scores are divided by its root. The head size, but where a family states another.
    pub query_scalar: f64,
    /// `cap * tanh(score / cap)` of attention's scores.
    pub attention_softcap: Option<f32>,
    /// The same of the logits.
    pub logit_softcap: Option<f32>,
    /// What the gates go through.
    pub activation: Activation,
    /// RMS norms multiply by 1 + their weight.
    pub norms_add_one: bool,
    /// What attention and the gated block give goes through norms of its own before it is added to the hidden states.
    pub post_norms: bool,
    /// Embeddings are multiplied by the root of the hidden size.
    pub scaled_embeddings: bool,
    /// The output head is the token embedding.
    pub tie_word_embeddings: bool,
    pub experts: Option<ExpertsConfig>,
}

/// Experts in the place of the gated block.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpertsConfig {
    /// Of each layer that has them.
    pub experts: usize,
    pub experts_per_token: usize,
    /// Width of an expert.
    pub intermediate_size: usize,
    /// The weights of a token's experts are made to sum to 1.
    pub norm_topk_prob: bool,
    /// Width of an expert that every token goes through.
    pub shared_intermediate_size: Option<usize>,
    /// Which layers have experts. `[layers]`
    pub layers: Vec<bool>,
    pub names: ExpertNames,
}

/// What a checkpoint calls experts, within a layer, and their config's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertNames {
    /// Of router (`{block}.gate`) and experts (`{block}.experts.0.{gate}`).
    pub block: &'static str,
    pub gate: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub count_key: &'static str,
    pub width_keys: &'static str,
}

impl DecoderConfig {
    /// The sliding window of a layer, `None` for full attention (and for a layer that does not exist).
    pub fn sliding_window(&self, layer: usize) -> Option<usize> {
        self.layer_windows.get(layer).copied().flatten()
    }

    /// The experts of a layer, `None` where it has a gated block of its own.
    pub fn experts_of(&self, layer: usize) -> Option<&ExpertsConfig> {
        self.experts.as_ref().filter(|experts| experts.layers.get(layer).copied().unwrap_or(false))
    }

    /// The width of the widest gated block that a row goes through.
    pub fn widest_block(&self) -> usize {
        let experts = self
            .experts
            .iter()
            .flat_map(|experts| [experts.intermediate_size, experts.shared_intermediate_size.unwrap_or(0)]);
        let has_dense = (0..self.layers).any(|layer| self.experts_of(layer).is_none());
        let dense = if has_dense { self.intermediate_size } else { 0 };
        experts.chain([dense]).max().unwrap_or(0)
    }

    /// Which of LongRoPE's lists a context of so many tokens is computed with, and the original context, up to which it would be
    /// the short one; `None` without LongRoPE.
    pub fn longrope_list(&self, context: usize) -> Option<(&'static str, usize)> {
        let RopeScaling::LongRope(scaling) = &self.rope.scaling else { return None };
        let original = scaling.original_max_position_embeddings;
        Some((if scaling.is_long(context) { "long_factor" } else { "short_factor" }, original))
    }

    /// The memory of RoPE's tables for so many positions: a cosine and a sine for each pair of dimensions, in f32.
    pub fn rope_table_bytes(&self, positions: usize) -> usize {
        let tables = std::iter::once(&self.rope).chain(&self.sliding_rope);
        let floats: usize = tables.map(|rope| rope.rotary_dim(self.head_dim)).sum();
        positions.saturating_mul(floats * size_of::<f32>())
    }

    /// Refuses models that can be served and not trained.
    ///
    /// # Errors
    /// `Unsupported`, with the config's key.
    pub fn check_trainable(&self) -> Result<(), ModelError> {
        for (key, cap) in [
            ("attn_logit_softcapping", self.attention_softcap),
            ("final_logit_softcapping", self.logit_softcap),
        ] {
            if let Some(cap) = cap {
                let hint = "a soft cap has no gradient here: such a model can be served, merged and quantised, not trained";
                return Err(ModelError::unsupported(key, &cap.into(), hint));
            }
        }
        if let Some(experts) = &self.experts {
            let hint = "experts have no gradient here: such a model can be served, merged and quantised, not trained, nor can \
                        adapters on it";
            return Err(ModelError::unsupported(experts.names.count_key, &experts.experts.into(), hint));
        }
        Ok(())
    }

    /// Refuses relations between fields that no decoder can have. Single fields were checked when read.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(ModelError::contradiction(
                format!(
                    "`num_key_value_heads` = {} does not divide `num_attention_heads` = {}",
                    self.kv_heads, self.heads
                ),
                "every key head serves the same number of query heads; take both from the original config",
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(ModelError::contradiction(
                format!("`head_dim` = {} is odd", self.head_dim),
                "RoPE rotates pairs; take `head_dim`, or `hidden_size` and `num_attention_heads`, from the \
                 original config",
            ));
        }
        for rope in std::iter::once(&self.rope).chain(&self.sliding_rope) {
            rope.check(self.head_dim)?;
        }
        if let Some(ExpertsConfig { experts, experts_per_token, names, .. }) = &self.experts
            && experts_per_token > experts
        {
            return Err(ModelError::contradiction(
                format!(
                    "`num_experts_per_tok` = {experts_per_token} is above `{}` = {experts}",
                    names.count_key
                ),
                "take both from the original config",
            ));
        }
        if let Some(ExpertsConfig { experts, names, layers, .. }) = &self.experts {
            let sparse = layers.iter().filter(|is_sparse| **is_sparse).count();
            if sparse * experts > limits::ALL_EXPERTS {
                return Err(ModelError::contradiction(
                    format!(
                        "`{}` = {experts} in {sparse} layers (`num_hidden_layers`) make {} experts, at most {} are supported",
                        names.count_key,
                        sparse * experts,
                        limits::ALL_EXPERTS
                    ),
                    "take both from the original config",
                ));
            }
        }
        if self.layer_windows.len() != self.layers {
            return Err(ModelError::contradiction(
                format!(
                    "`layer_types` has {} entries, `num_hidden_layers` is {}",
                    self.layer_windows.len(),
                    self.layers
                ),
                "give one entry a layer, or remove `layer_types`",
            ));
        }
        Ok(())
    }
}
