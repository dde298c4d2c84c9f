//! Gemma 3, its text models. Follows transformers' `Gemma3TextConfig`: Gemma 2 with norms over query and key heads in place of
//! the soft caps, a sliding window in all but every sixth layer, and RoPE of another base in the layers that slide.

use super::common::Family;
use super::reader::Reader;
use super::{gemma, rope_keys, windows};
use crate::model::config::limits;
use crate::model::rope::RopeConfig;
use crate::model::{DecoderConfig, ModelError};

/// What transformers takes where a key is missing.
const PATTERN: usize = 6;
const GLOBAL_THETA: f64 = 1_000_000.0;
const LOCAL_THETA: f64 = 10_000.0;

pub(super) fn translate(config: &Reader) -> Result<DecoderConfig, ModelError> {
    let decoder = gemma::read(config, Family { rope: global_rope, ..gemma::FAMILY })?;
    let context = decoder.max_position_embeddings;
    if let Some(found) = config.get("attn_logit_softcapping") {
        let hint = "transformers passes over it in this family; remove it, or correct `model_type`";
        return Err(ModelError::unsupported("attn_logit_softcapping", found, hint));
    }
    // transformers writes `_sliding_window_pattern` too, and does not read it: what it stands for is in `layer_types`.
    let pattern = config.optional_size("sliding_window_pattern", limits::LAYERS)?.unwrap_or(PATTERN);
    let window = gemma::window(config)?;
    let is_sliding = |layer: usize| !(layer + 1).is_multiple_of(pattern);
    Ok(DecoderConfig {
        layer_windows: windows::of_layers(config, decoder.layers, window, is_sliding)?,
        sliding_rope: Some(rope_keys::of_layer_type(
            config,
            context,
            "sliding_attention",
            "rope_local_base_freq",
            LOCAL_THETA,
        )?),
        qk_norm: true,
        logit_softcap: gemma::softcap(config, "final_logit_softcapping", None)?,
        ..decoder
    })
}

/// Of layers of full attention. The context that its scaling makes is the one that is stated.
fn global_rope(config: &Reader, context: usize) -> Result<(RopeConfig, usize), ModelError> {
    let rope = rope_keys::of_layer_type(config, context, "full_attention", "rope_theta", GLOBAL_THETA)?;
    Ok((rope, context))
}

/// Gemma 3 with a picture's encoder: only its text model could be read, and under names that have a prefix.
pub(super) fn refuse_multimodal(config: &Reader) -> ModelError {
    let found = config.get("text_config").unwrap_or_default();
    ModelError::unsupported(
        "text_config",
        found,
        "this is Gemma 3 with an encoder of pictures; a checkpoint of its text model alone (`model_type` gemma3_text, \
         `Gemma3ForCausalLM`) is served",
    )
}
