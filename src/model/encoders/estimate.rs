//! The memory that an encoder will take, before it is loaded, from its checkpoint alone: whatever is not another part's.

use crate::model::layout::{TensorSpec, spec_bytes};
use crate::model::{ComputeDtype, ModelError};
use crate::weights::{TensorSource, WeightsError};

/// What a checkpoint may hold beside the encoder.
const OTHERS: [&str; 6] = ["decoder.", "model.decoder.", "lm_head.", "cls.", "classifier.", "qa_outputs."];
/// An embedding, and the copies of it that some checkpoints carry.
const COPIES: [(&str, &str); 2] = [
    ("shared.weight", "encoder.embed_tokens.weight"),
    ("model.shared.weight", "model.encoder.embed_tokens.weight"),
];

/// The bytes that an encoder's weights will take; heads under other names than the usual ones count too.
///
/// # Errors
/// A tensor that cannot be read.
pub fn weight_bytes_estimate(source: &dyn TensorSource, dtype: ComputeDtype) -> Result<u64, ModelError> {
    let mut bytes = 0;
    for name in source.names() {
        let is_copy = COPIES.iter().any(|(first, copy)| name == *copy && source.contains(first));
        if is_copy || OTHERS.iter().any(|other| name.starts_with(other)) {
            continue;
        }
        let spec = TensorSpec { shape: source.shape(&name)?, name, keys: "", is_kept: false };
        bytes += match spec_bytes(&spec, source, dtype) {
            // A buffer of integers, which no encoder reads.
            Err(ModelError::Weights(WeightsError::UnsupportedType { .. })) => 0,
            bytes => bytes?,
        };
    }
    Ok(bytes)
}
