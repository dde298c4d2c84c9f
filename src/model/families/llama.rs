//! Llama 2 and 3, and what was made with their code (SmolLM2, TinyLlama, Yi, ..). Follows transformers'
//! `LlamaConfig`: RoPE scaling, optional biases on all attention projections and on the SwiGLU block.

use super::common::Family;
use super::reader::Reader;
use super::{common, windows};
use crate::model::{DecoderConfig, ModelError};

pub(super) fn translate(config: &Reader) -> Result<DecoderConfig, ModelError> {
    let decoder = common::read(config, Family::default())?;
    let attention_bias = config.flag("attention_bias", false)?;
    Ok(DecoderConfig {
        layer_windows: windows::of_layers(config, decoder.layers, None, |_| false)?,
        qkv_bias: attention_bias,
        output_bias: attention_bias,
        mlp_bias: config.flag("mlp_bias", false)?,
        ..decoder
    })
}
