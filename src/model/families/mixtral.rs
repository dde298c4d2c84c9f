//! Mixtral. Follows transformers' `MixtralConfig`: a Mistral with experts in every layer and no window unless one is given.

use super::common::{self, Family};
use super::reader::Reader;
use super::{experts, rope_keys, windows};
use crate::model::config::limits;
use crate::model::{DecoderConfig, ExpertsConfig, ModelError};

/// What transformers takes where the keys are missing.
const THETA: f64 = 1_000_000.0;
const EXPERTS: usize = 8;
const EXPERTS_PER_TOKEN: usize = 2;

pub(super) fn translate(config: &Reader) -> Result<DecoderConfig, ModelError> {
    let rope = |config: &Reader, context: usize| rope_keys::read_from(config, context, THETA);
    let decoder = common::read(config, Family { rope, ..Family::default() })?;
    let window = config.optional_size("sliding_window", limits::POSITIONS)?;
    let count = experts::count(config)?;
    let per_token = config.optional_size("num_experts_per_tok", limits::EXPERTS)?;
    Ok(DecoderConfig {
        layer_windows: windows::of_layers(config, decoder.layers, window, |_| true)?,
        experts: Some(ExpertsConfig {
            experts: count.unwrap_or(EXPERTS),
            experts_per_token: per_token.unwrap_or(EXPERTS_PER_TOKEN),
            intermediate_size: decoder.intermediate_size,
            norm_topk_prob: true,
            shared_intermediate_size: None,
            layers: vec![true; decoder.layers],
            names: experts::MIXTRAL_NAMES,
        }),
        ..decoder
    })
}
