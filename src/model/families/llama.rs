//! Llama 2 and 3, and what was made with their code (SmolLM2, TinyLlama, Yi, ..). Follows transformers'
//! `LlamaConfig`: RoPE scaling, optional biases on all attention projections and on the SwiGLU block.

use super::reader::Reader;
use crate::model::{DecoderConfig, ModelError};

pub(super) fn translate(config: &Reader) -> Result<DecoderConfig, ModelError> {
    let decoder = super::common(config, None)?;
    let attention_bias = config.flag("attention_bias", false)?;
    Ok(DecoderConfig {
        layer_windows: super::layer_windows(config, decoder.layers, None, |_| false)?,
        qkv_bias: attention_bias,
        output_bias: attention_bias,
        mlp_bias: config.flag("mlp_bias", false)?,
        ..decoder
    })
}
