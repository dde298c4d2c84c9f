//! `DecoderConfig`: one description for every family, checked, with nothing left to guess. Not the Hugging
//! Face config (`families/` translates that) and not what the server may override (context length, types).

use super::ModelError;
use super::rope::RopeConfig;

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
}

#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    /// Width of the SwiGLU block.
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
    /// RMS norms over each query and key head, before RoPE.
    pub qk_norm: bool,
    /// The output head is the token embedding.
    pub tie_word_embeddings: bool,
}

impl DecoderConfig {
    /// The sliding window of a layer, `None` for full attention (and for a layer that does not exist).
    pub fn sliding_window(&self, layer: usize) -> Option<usize> {
        self.layer_windows.get(layer).copied().flatten()
    }

    /// The memory of RoPE's table for so many positions: a cosine and a sine for each pair of dimensions, in f32.
    pub fn rope_table_bytes(&self, positions: usize) -> usize {
        positions.saturating_mul(self.head_dim * size_of::<f32>())
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
