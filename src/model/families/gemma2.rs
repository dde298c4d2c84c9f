//! Gemma 2. Follows transformers' `Gemma2Config`: scaled embeddings, norms of 1 + their weight before and after both blocks,
//! GELU in the gated block, soft caps on scores and logits, a scale of its own for queries, and a sliding window in every other
//! layer, the first among them.

use super::reader::Reader;
use super::{gemma, windows};
use crate::model::{DecoderConfig, ModelError};

/// What transformers takes where the keys are missing (null is something else: no cap).
const ATTENTION_SOFTCAP: f64 = 50.0;
const LOGIT_SOFTCAP: f64 = 30.0;

pub(super) fn translate(config: &Reader) -> Result<DecoderConfig, ModelError> {
    let decoder = gemma::read(config, gemma::FAMILY)?;
    let window = gemma::window(config)?;
    Ok(DecoderConfig {
        layer_windows: windows::of_layers(config, decoder.layers, window, |layer| layer % 2 == 0)?,
        attention_softcap: gemma::softcap(config, "attn_logit_softcapping", Some(ATTENTION_SOFTCAP))?,
        logit_softcap: gemma::softcap(config, "final_logit_softcapping", Some(LOGIT_SOFTCAP))?,
        ..decoder
    })
}
