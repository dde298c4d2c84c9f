//! The part of a config that all families share, and the keys that none of them can honour.

use super::reader::Reader;
use super::rope_keys::{self, PARTIAL};
use crate::model::config::limits;
use crate::model::rope::RopeConfig;
use crate::model::{DecoderConfig, ModelError};
use crate::ops::Activation;

/// From `max_position_embeddings` to RoPE and the context that it makes of it.
pub(super) type ReadRope = fn(&Reader, usize) -> Result<(RopeConfig, usize), ModelError>;

/// What a family takes a key for, or takes where it is missing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    /// Where `head_dim` is missing; `None` divides the hidden size among the heads.
    pub head_dim: Option<usize>,
    /// Whether `partial_rotary_factor` may leave dimensions of a head as they are.
    pub partial_rotary: bool,
    /// What `hidden_act` (`hidden_activation` in some) must name.
    pub activation: Activation,
    /// Where `tie_word_embeddings` is missing.
    pub tied: bool,
    /// RoPE, and the context that it makes of `max_position_embeddings`.
    pub rope: ReadRope,
}

impl Default for Family {
    fn default() -> Self {
        Self {
            head_dim: None,
            partial_rotary: false,
            activation: Activation::Silu,
            tied: false,
            rope: rope_keys::read,
        }
    }
}

/// What all families share; a translator then sets what makes it different.
pub(super) fn read(config: &Reader, family: Family) -> Result<DecoderConfig, ModelError> {
    refuse_other_mathematics(config, family)?;
    let layers = config.size("num_hidden_layers", limits::LAYERS)?;
    let hidden_size = config.size("hidden_size", limits::HIDDEN)?;
    let heads = config.size("num_attention_heads", limits::HEADS)?;
    let configured_context = config.size("max_position_embeddings", limits::POSITIONS)?;
    let (rope, max_position_embeddings) = (family.rope)(config, configured_context)?;
    let head_dim = match config.optional_size("head_dim", limits::HEAD_DIM)?.or(family.head_dim) {
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
        sliding_rope: None,
        max_position_embeddings,
        layer_windows: vec![None; layers],
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        fused_projections: false,
        qk_norm: false,
        query_scalar: head_dim as f64,
        attention_softcap: None,
        logit_softcap: None,
        activation: family.activation,
        norms_add_one: false,
        post_norms: false,
        scaled_embeddings: false,
        tie_word_embeddings: config.flag("tie_word_embeddings", family.tied)?,
        experts: None,
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
fn refuse_other_mathematics(config: &Reader, family: Family) -> Result<(), ModelError> {
    if let Some(found) = config.get("quantization_config") {
        return Err(ModelError::unsupported(
            "quantization_config",
            found,
            "use the unquantised checkpoint, or a GGUF file of the model",
        ));
    }
    let (names, words): (&[&str], _) = match family.activation {
        Activation::Silu => (&["silu", "swish"], "this family's gates go through `silu`"),
        Activation::GeluTanh => {
            (&["gelu_pytorch_tanh"], "this family's gates go through `gelu_pytorch_tanh`")
        }
    };
    for key in ["hidden_act", "hidden_activation"] {
        if let Some(found) = config.get(key)
            && !found.as_str().is_some_and(|name| names.contains(&name))
        {
            return Err(ModelError::unsupported(key, found, words));
        }
    }
    let nested = [config.nested("rope_parameters.")?, config.nested("rope_scaling.")?];
    for place in nested.iter().flatten().chain([config]).filter(|_| !family.partial_rotary) {
        if let Some(found) = place.get(PARTIAL)
            && found.as_f64() != Some(1.0)
        {
            return Err(ModelError::unsupported(
                &place.name(PARTIAL),
                found,
                "RoPE turns whole heads in this family",
            ));
        }
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
