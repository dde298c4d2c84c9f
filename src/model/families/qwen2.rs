//! Qwen2, Qwen2.5 and QwQ. Follows transformers' `Qwen2Config`: biases on the query, key and value projections
//! always, never on the others; an optional sliding window in the upper layers.

use super::common::Family;
use super::reader::Reader;
use super::{common, windows};
use crate::model::{DecoderConfig, ModelError};

pub(super) fn translate(config: &Reader) -> Result<DecoderConfig, ModelError> {
    let decoder = common::read(config, Family::default())?;
    let layer_windows = windows::of_qwen(config, decoder.layers, |layer, first| layer >= first)?;
    Ok(DecoderConfig { layer_windows, qkv_bias: true, ..decoder })
}
