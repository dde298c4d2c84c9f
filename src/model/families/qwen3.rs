//! Qwen3 (dense). Follows transformers' `Qwen3Config`: Qwen2 with RMS norms over every query and key head in
//! place of the biases, and a head size of its own.

use super::common::Family;
use super::reader::Reader;
use super::{common, windows};
use crate::model::{DecoderConfig, ModelError};

/// What transformers takes where the key is missing.
const DEFAULT_HEAD_DIM: usize = 128;

pub(super) fn translate(config: &Reader) -> Result<DecoderConfig, ModelError> {
    let decoder = common::read(config, Family { head_dim: Some(DEFAULT_HEAD_DIM), ..Family::default() })?;
    let attention_bias = config.flag("attention_bias", false)?;
    Ok(DecoderConfig {
        layer_windows: windows::of_qwen(config, decoder.layers, |layer, first| layer >= first)?,
        qkv_bias: attention_bias,
        output_bias: attention_bias,
        qk_norm: true,
        ..decoder
    })
}
