//! Qwen3-MoE. Follows transformers' `Qwen3MoeConfig`: a Qwen3 with experts in some layers, whose window, where it is used, is of
//! all layers.

use super::common::{self, Family};
use super::reader::Reader;
use super::{experts, windows};
use crate::model::config::limits;
use crate::model::{DecoderConfig, ExpertsConfig, ModelError};

pub(super) fn translate(config: &Reader) -> Result<DecoderConfig, ModelError> {
    let decoder = common::read(config, Family::default())?;
    let attention_bias = config.flag("attention_bias", false)?;
    let window = if config.flag("use_sliding_window", false)? {
        Some(config.size("sliding_window", limits::POSITIONS)?)
    } else {
        None
    };
    Ok(DecoderConfig {
        layer_windows: windows::of_layers(config, decoder.layers, window, |_| true)?,
        qkv_bias: attention_bias,
        output_bias: attention_bias,
        qk_norm: true,
        experts: Some(ExpertsConfig {
            experts: experts::count(config)?.ok_or_else(|| config.missing("num_experts"))?,
            experts_per_token: config.size("num_experts_per_tok", limits::EXPERTS)?,
            intermediate_size: config.size("moe_intermediate_size", limits::INTERMEDIATE)?,
            norm_topk_prob: config.flag("norm_topk_prob", false)?,
            shared_intermediate_size: None,
            layers: experts::sparse_layers(config, decoder.layers)?,
            names: experts::QWEN_NAMES,
        }),
        ..decoder
    })
}
