//! Mistral 7B and its successors (v0.2, v0.3, Nemo). Follows transformers' `MistralConfig`: a Llama without
//! biases, whose layers all slide over `sliding_window` positions, or over everything where it is null.

use super::common::Family;
use super::reader::Reader;
use super::{common, windows};
use crate::model::config::limits;
use crate::model::{DecoderConfig, ModelError};

/// What transformers takes where the key is missing (null is something else: no window).
const DEFAULT_WINDOW: usize = 4096;

pub(super) fn translate(config: &Reader) -> Result<DecoderConfig, ModelError> {
    let decoder = common::read(config, Family::default())?;
    let window = if config.has("sliding_window") {
        config.optional_size("sliding_window", limits::POSITIONS)?
    } else {
        Some(DEFAULT_WINDOW)
    };
    Ok(DecoderConfig {
        layer_windows: windows::of_layers(config, decoder.layers, window, |_| true)?,
        ..decoder
    })
}
