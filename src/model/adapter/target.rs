//! The linears of a decoder layer that LoRA can change.

use crate::model::DecoderConfig;

const ATTENTION: &str = "self_attn";

/// In the order in which a layer computes them. A layer has those of a decoder's [`Target::of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Query,
    Key,
    Value,
    /// The three in one weight.
    QueryKeyValue,
    Output,
    Gate,
    Up,
    /// Both in one weight.
    GateUp,
    Down,
}

impl Target {
    pub const COUNT: usize = 9;
    pub const ALL: [Self; Self::COUNT] = [
        Self::Query,
        Self::Key,
        Self::Value,
        Self::QueryKeyValue,
        Self::Output,
        Self::Gate,
        Self::Up,
        Self::GateUp,
        Self::Down,
    ];
    /// Of layers with a weight for each.
    pub const SEPARATE: [Self; 7] =
        [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];
    /// Of layers whose weights on one input are one.
    pub const FUSED: [Self; 4] = [Self::QueryKeyValue, Self::Output, Self::GateUp, Self::Down];

    /// Those of a decoder's layers.
    pub fn of(config: &DecoderConfig) -> &'static [Self] {
        if config.fused_projections { &Self::FUSED } else { &Self::SEPARATE }
    }

    /// Those of one layer: experts are none.
    pub fn of_layer(config: &DecoderConfig, layer: usize) -> impl Iterator<Item = Self> {
        let is_sparse = config.experts_of(layer).is_some();
        Self::of(config).iter().copied().filter(move |target| !is_sparse || target.block() == ATTENTION)
    }

    /// What makes queries, keys and values.
    pub(in crate::model) fn qkv(config: &DecoderConfig) -> &'static [Self] {
        if config.fused_projections { &Self::FUSED[..1] } else { &Self::SEPARATE[..3] }
    }

    /// What makes gate and up.
    pub(in crate::model) fn gate_up(config: &DecoderConfig) -> &'static [Self] {
        if config.fused_projections { &Self::FUSED[2..3] } else { &Self::SEPARATE[4..6] }
    }

    /// As `target_modules` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "q_proj",
            Self::Key => "k_proj",
            Self::Value => "v_proj",
            Self::QueryKeyValue => "qkv_proj",
            Self::Output => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::GateUp => "gate_up_proj",
            Self::Down => "down_proj",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// The linear's name within its layer.
    pub(in crate::model) fn part(self) -> String {
        format!("{}.{}", self.block(), self.name())
    }

    fn block(self) -> &'static str {
        match self {
            Self::Query | Self::Key | Self::Value | Self::QueryKeyValue | Self::Output => ATTENTION,
            Self::Gate | Self::Up | Self::GateUp | Self::Down => "mlp",
        }
    }

    /// The linear's whole name.
    pub fn module(self, layer: usize) -> String {
        format!("model.layers.{layer}.{}", self.part())
    }

    /// `[out, in]`
    pub(in crate::model) fn shape(self, config: &DecoderConfig) -> [usize; 2] {
        let (hidden, width) = (config.hidden_size, config.intermediate_size);
        let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        match self {
            Self::Query => [queries, hidden],
            Self::Key | Self::Value => [keys, hidden],
            Self::QueryKeyValue => [queries + 2 * keys, hidden],
            Self::Output => [hidden, queries],
            Self::Gate | Self::Up => [width, hidden],
            Self::GateUp => [2 * width, hidden],
            Self::Down => [hidden, width],
        }
    }

    /// The config keys that make the shape.
    pub(in crate::model) fn shape_keys(self) -> &'static str {
        match self {
            Self::Query | Self::Output => "num_attention_heads, head_dim, hidden_size",
            Self::Key | Self::Value => "num_key_value_heads, head_dim, hidden_size",
            Self::QueryKeyValue => "num_attention_heads, num_key_value_heads, head_dim, hidden_size",
            Self::Gate | Self::Up | Self::GateUp | Self::Down => "intermediate_size, hidden_size",
        }
    }

    pub(in crate::model) fn has_bias(self, config: &DecoderConfig) -> bool {
        match self {
            Self::Query | Self::Key | Self::Value | Self::QueryKeyValue => config.qkv_bias,
            Self::Output => config.output_bias,
            Self::Gate | Self::Up | Self::GateUp | Self::Down => config.mlp_bias,
        }
    }

    /// Of the random numbers that belong to a layer's linear: no two of one layer share one.
    pub(super) fn stream(self, layer: usize) -> u64 {
        let place = match self {
            Self::Query | Self::QueryKeyValue => 0,
            Self::Key => 1,
            Self::Value => 2,
            Self::Output => 3,
            Self::Gate | Self::GateUp => 4,
            Self::Up => 5,
            Self::Down => 6,
        };
        (layer * Self::SEPARATE.len() + place) as u64
    }
}
