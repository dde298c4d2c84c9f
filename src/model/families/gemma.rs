//! What Gemma 2 and 3 have in common.

use super::common::{self, Family};
use super::reader::Reader;
use super::rope_keys;
use crate::model::config::limits;
use crate::model::{DecoderConfig, ModelError};
use crate::ops::Activation;

/// What transformers takes where a key is missing.
const HEAD_DIM: usize = 256;
const QUERY_SCALAR: f64 = 256.0;
const WINDOW: usize = 4096;

pub(super) const FAMILY: Family = Family {
    head_dim: Some(HEAD_DIM),
    partial_rotary: false,
    activation: Activation::GeluTanh,
    tied: true,
    rope: rope_keys::read,
};

pub(super) fn read(config: &Reader, family: Family) -> Result<DecoderConfig, ModelError> {
    let decoder = common::read(config, family)?;
    if config.flag("use_bidirectional_attention", false)? {
        return Err(ModelError::unsupported(
            "use_bidirectional_attention",
            &true.into(),
            "this is an encoder of embeddings, which generates nothing",
        ));
    }
    let attention_bias = config.flag("attention_bias", false)?;
    Ok(DecoderConfig {
        qkv_bias: attention_bias,
        output_bias: attention_bias,
        query_scalar: config.optional_positive("query_pre_attn_scalar")?.unwrap_or(QUERY_SCALAR),
        norms_add_one: true,
        post_norms: true,
        scaled_embeddings: true,
        ..decoder
    })
}

/// Of the layers that slide; null is none.
pub(super) fn window(config: &Reader) -> Result<Option<usize>, ModelError> {
    if config.has("sliding_window") {
        config.optional_size("sliding_window", limits::POSITIONS)
    } else {
        Ok(Some(WINDOW))
    }
}

/// Null is none.
pub(super) fn softcap(config: &Reader, key: &str, missing: Option<f64>) -> Result<Option<f32>, ModelError> {
    let cap = if config.has(key) { config.optional_positive(key)? } else { missing };
    Ok(cap.map(|cap| cap as f32))
}
