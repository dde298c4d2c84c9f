//! Phi-3 (mini, medium), Phi-3.5-mini, Phi-4 and Phi-4-mini. Follows transformers' `Phi3Config`: a Llama whose query, key
//! and value are one projection and gate and up another, RoPE on a part of each head, LongRoPE for long contexts, and a
//! sliding window in all layers where one is given.

use super::common::Family;
use super::reader::Reader;
use super::{common, windows};
use crate::model::config::limits;
use crate::model::rope::RopeScaling;
use crate::model::{DecoderConfig, ModelError};

pub(super) fn translate(config: &Reader) -> Result<DecoderConfig, ModelError> {
    let decoder = common::read(config, Family { partial_rotary: true, ..Family::default() })?;
    if !matches!(decoder.rope.scaling, RopeScaling::Default | RopeScaling::LongRope(_)) {
        let key = if config.get("rope_parameters").is_some() { "rope_parameters" } else { "rope_scaling" };
        let found = config.get(key).unwrap_or_default();
        return Err(ModelError::unsupported(
            key,
            found,
            "this family has the RoPE types default and longrope",
        ));
    }
    for key in ["attention_bias", "mlp_bias", "lm_head_bias"] {
        if config.flag(key, false)? {
            return Err(ModelError::unsupported(key, &true.into(), "this family has no biases"));
        }
    }
    let window = config.optional_size("sliding_window", limits::POSITIONS)?;
    Ok(DecoderConfig {
        layer_windows: windows::of_layers(config, decoder.layers, window, |_| true)?,
        fused_projections: true,
        ..decoder
    })
}
