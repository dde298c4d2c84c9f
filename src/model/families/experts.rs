//! What families with experts have in common.

use super::reader::Reader;
use crate::model::config::limits;
use crate::model::{ExpertNames, ModelError};

pub(super) const MIXTRAL_NAMES: ExpertNames = ExpertNames {
    block: "block_sparse_moe",
    gate: "w1",
    up: "w3",
    down: "w2",
    count_key: "num_local_experts",
    width_keys: "intermediate_size, hidden_size",
};

pub(super) const QWEN_NAMES: ExpertNames = ExpertNames {
    block: "mlp",
    gate: "gate_proj",
    up: "up_proj",
    down: "down_proj",
    count_key: "num_experts",
    width_keys: "moe_intermediate_size, hidden_size",
};

/// Qwen's rule: every so many layers has experts (`decoder_sparse_step`), but for those that `mlp_only_layers` names.
pub(super) fn sparse_layers(config: &Reader, layers: usize) -> Result<Vec<bool>, ModelError> {
    let step = config.optional_size("decoder_sparse_step", limits::LAYERS)?.unwrap_or(1);
    let dense = match config.get("mlp_only_layers") {
        None => Vec::new(),
        Some(found) => {
            let layer = |value: &serde_json::Value| value.as_u64().filter(|layer| *layer < layers as u64);
            let all = found.as_array().and_then(|list| list.iter().map(layer).collect::<Option<Vec<u64>>>());
            all.ok_or_else(|| {
                let expected =
                    format!("a list of layers, whole numbers below `num_hidden_layers` = {layers}");
                ModelError::invalid("mlp_only_layers", found, expected)
            })?
        }
    };
    Ok((0..layers)
        .map(|layer| (layer + 1).is_multiple_of(step) && !dense.contains(&(layer as u64)))
        .collect())
}

/// Of a layer's experts: `num_experts` or `num_local_experts`, as versions of transformers write one or the other.
pub(super) fn count(config: &Reader) -> Result<Option<usize>, ModelError> {
    let [plain, local] =
        ["num_experts", "num_local_experts"].map(|key| config.optional_size(key, limits::EXPERTS));
    match (plain?, local?) {
        (Some(plain), Some(local)) if plain != local => Err(ModelError::contradiction(
            format!("`num_experts` is {plain}, `num_local_experts` is {local}"),
            "keep the one of the original config",
        )),
        (plain, local) => Ok(plain.or(local)),
    }
}
