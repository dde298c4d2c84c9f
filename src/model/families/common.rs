//! The part of a config that all families share, and the keys that none of them can honour.

use super::reader::Reader;
use super::rope_keys;
use crate::model::config::limits;
use crate::model::{DecoderConfig, ModelError};

/// What all families share; a translator then sets what makes it different. `default_head_dim` is for configs
/// without the key; where it is `None`, the hidden size is divided among the heads.
pub(super) fn read(config: &Reader, default_head_dim: Option<usize>) -> Result<DecoderConfig, ModelError> {
    refuse_other_mathematics(config)?;
    let layers = config.size("num_hidden_layers", limits::LAYERS)?;
    let hidden_size = config.size("hidden_size", limits::HIDDEN)?;
    let heads = config.size("num_attention_heads", limits::HEADS)?;
    let configured_context = config.size("max_position_embeddings", limits::POSITIONS)?;
    let (rope, max_position_embeddings) = rope_keys::read(config, configured_context)?;
    let head_dim = match config.optional_size("head_dim", limits::HEAD_DIM)?.or(default_head_dim) {
        Some(head_dim) => head_dim,
        None => divided_head_dim(hidden_size, heads)?,
    };
    Ok(DecoderConfig {
        vocab_size: config.size("vocab_size", limits::VOCABULARY)?,
        hidden_size,
        intermediate_size: config.size("intermediate_size", limits::INTERMEDIATE)?,
        layers,
        heads,
        // Configs older than grouped queries lack the key: a key head for every query head.
        kv_heads: config.optional_size("num_key_value_heads", limits::HEADS)?.unwrap_or(heads),
        head_dim,
        rms_norm_eps: config.positive("rms_norm_eps")? as f32,
        rope,
        max_position_embeddings,
        layer_windows: vec![None; layers],
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        qk_norm: false,
        tie_word_embeddings: config.flag("tie_word_embeddings", false)?,
    })
}

fn divided_head_dim(hidden_size: usize, heads: usize) -> Result<usize, ModelError> {
    if !hidden_size.is_multiple_of(heads) {
        return Err(ModelError::contradiction(
            format!("`hidden_size` = {hidden_size} is not divisible by `num_attention_heads` = {heads}"),
            "give `head_dim`, or take both from the original config",
        ));
    }
    Ok(hidden_size / heads)
}

/// Keys that would change what the model computes, and that this decoder does not have.
fn refuse_other_mathematics(config: &Reader) -> Result<(), ModelError> {
    if let Some(found) = config.get("quantization_config") {
        return Err(ModelError::unsupported(
            "quantization_config",
            found,
            "use the unquantised checkpoint, or a GGUF file of the model",
        ));
    }
    if let Some(found) = config.get("hidden_act")
        && !matches!(found.as_str(), Some("silu" | "swish"))
    {
        return Err(ModelError::unsupported(
            "hidden_act",
            found,
            "the decoder has SwiGLU blocks (`silu`) only",
        ));
    }
    if let Some(found) = config.get("partial_rotary_factor")
        && found.as_f64() != Some(1.0)
    {
        return Err(ModelError::unsupported("partial_rotary_factor", found, "RoPE turns whole heads here"));
    }
    if config.flag("rope_interleaved", false)? {
        return Err(ModelError::unsupported(
            "rope_interleaved",
            &true.into(),
            "convert q_proj and k_proj to half rotation",
        ));
    }
    Ok(())
}
