//! Qwen1.5-MoE and Qwen2-MoE. Follows transformers' `Qwen2MoeConfig`: a Qwen2 with experts in some layers, beside them one that
//! every token goes through, gated by a logit of its own.

use super::common::{self, Family};
use super::reader::Reader;
use super::{experts, windows};
use crate::model::config::limits;
use crate::model::{DecoderConfig, ExpertsConfig, ModelError};

pub(super) fn translate(config: &Reader) -> Result<DecoderConfig, ModelError> {
    let decoder = common::read(config, Family::default())?;
    // Unlike Qwen2's: every other one of the lower layers.
    let slides = |layer: usize, below: usize| layer.is_multiple_of(2) && layer < below;
    Ok(DecoderConfig {
        layer_windows: windows::of_qwen(config, decoder.layers, slides)?,
        qkv_bias: config.flag("qkv_bias", true)?,
        experts: Some(ExpertsConfig {
            experts: config.size("num_experts", limits::EXPERTS)?,
            experts_per_token: config.size("num_experts_per_tok", limits::EXPERTS)?,
            intermediate_size: config.size("moe_intermediate_size", limits::INTERMEDIATE)?,
            norm_topk_prob: config.flag("norm_topk_prob", false)?,
            shared_intermediate_size: Some(
                config.size("shared_expert_intermediate_size", limits::INTERMEDIATE)?,
            ),
            layers: experts::sparse_layers(config, decoder.layers)?,
            names: experts::QWEN_NAMES,
        }),
        ..decoder
    })
}
