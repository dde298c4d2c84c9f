//! Text encoders: token ids in, the last hidden state of every token out. T5 and mT5 (the encoder half), M2M100 and NLLB
//! (the encoder half), BERT, RoBERTa, XLM-R and E5 (the whole model). A file a family, because unlike the decoders' families
//! they differ in order of norm and residual, in positions and in names.
//!
//! A text's result does not depend on the batch it is in: linears, norms and activations work row by row, and attention
//! takes each text for itself. Hidden states are f32 whatever the weights are stored in.

mod activation;
mod attention;
mod bert;
mod estimate;
mod layer_norm;
mod m2m100;
mod names;
mod t5;
mod tags;
mod texts;
mod tokenizer;

use candle_core::Tensor;
use serde_json::Value;

pub use estimate::weight_bytes_estimate;
pub use texts::Texts;
pub use tokenizer::EncoderTokenizer;

use super::reader::Reader;
use super::{LoadOptions, ModelError};
use crate::weights::TensorSource;

/// The `model_type`s that `load` knows.
pub const SUPPORTED: &[&str] = &["t5", "mt5", "m2m_100", "bert", "xlm-roberta", "roberta"];

/// The most positions of any encoder's table; the published ones have 1,026 at most.
const POSITIONS_MAX: usize = 1 << 15;

pub trait TextEncoder: Send + Sync {
    /// The last hidden state of every token, f32 `[total_tokens, hidden_size]`.
    ///
    /// # Errors
    /// An id outside of the vocabulary, or a text longer than `max_tokens`.
    fn encode(&self, texts: &Texts) -> candle_core::Result<Tensor>;

    fn hidden_size(&self) -> usize;

    /// The longest text, in tokens, its special tokens included.
    fn max_tokens(&self) -> usize;

    /// Bytes of all weights in memory.
    fn weight_bytes(&self) -> usize;
}

/// Packs the encoder that a Hugging Face config describes. The checkpoint may hold more than it, a decoder or a head.
///
/// # Errors
/// An unknown family, a key that is missing, wrong or asks for what the encoder lacks; every tensor that is missing or
/// contradicts the config.
pub fn load(
    config: &Value,
    source: &dyn TensorSource,
    options: &LoadOptions,
) -> Result<Box<dyn TextEncoder>, ModelError> {
    let config = Reader::new(config)?;
    Ok(match model_type(&config)? {
        "t5" | "mt5" => Box::new(t5::T5::load(&config, source, options)?),
        "m2m_100" => Box::new(m2m100::M2m100::load(&config, source, options)?),
        "bert" | "xlm-roberta" | "roberta" => Box::new(bert::Bert::load(&config, source, options)?),
        other => {
            let found = format!("`model_type` {other:?}");
            return Err(ModelError::UnknownFamily { found, supported: SUPPORTED.join(", ") });
        }
    })
}

fn model_type<'a>(config: &Reader<'a>) -> Result<&'a str, ModelError> {
    config.text("model_type")?.ok_or_else(|| ModelError::MissingKey {
        key: "model_type".to_owned(),
        hint: format!("supported encoders are {}", SUPPORTED.join(", ")),
    })
}

/// The size of a head where the width is divided among the heads.
fn head_dim(width_key: &str, width: usize, heads_key: &str, heads: usize) -> Result<usize, ModelError> {
    if width.is_multiple_of(heads) {
        return Ok(width / heads);
    }
    Err(ModelError::contradiction(
        format!("`{width_key}` = {width} is not divisible by `{heads_key}` = {heads}"),
        "take both from the original config",
    ))
}
