//! Sliding windows: which layers see how many positions.

use super::reader::Reader;
use crate::model::ModelError;
use crate::model::config::limits;

/// The window of each layer: from `layer_types` where it is given, else by `slides`.
pub(super) fn of_layers(
    config: &Reader,
    layers: usize,
    window: Option<usize>,
    slides: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>, ModelError> {
    let Some(types) = config.get("layer_types") else {
        return Ok((0..layers).map(|layer| window.filter(|_| slides(layer))).collect());
    };
    let Some(types) = types.as_array() else {
        return Err(ModelError::invalid("layer_types", types, "a list with an entry a layer"));
    };
    types
        .iter()
        .map(|kind| match (kind.as_str(), window) {
            (Some("full_attention"), _) => Ok(None),
            (Some("sliding_attention"), Some(window)) => Ok(Some(window)),
            (Some("sliding_attention"), None) => Err(ModelError::contradiction(
                "`layer_types` has `sliding_attention`, but no sliding window is set",
                "set `sliding_window` (and `use_sliding_window` for Qwen), or remove `layer_types`",
            )),
            _ => Err(ModelError::unsupported(
                "layer_types",
                kind,
                "supported are full_attention and sliding_attention",
            )),
        })
        .collect()
}

/// Qwen's rule: `sliding_window` counts only with `use_sliding_window`, and where `slides` says so of a layer and
/// `max_window_layers`.
pub(super) fn of_qwen(
    config: &Reader,
    layers: usize,
    slides: impl Fn(usize, usize) -> bool,
) -> Result<Vec<Option<usize>>, ModelError> {
    /// What transformers takes where the key is missing.
    const MAX_WINDOW_LAYERS: usize = 28;
    if !config.flag("use_sliding_window", false)? {
        return of_layers(config, layers, None, |_| false);
    }
    let window = config.size("sliding_window", limits::POSITIONS)?;
    let bound = match config.get("max_window_layers") {
        None => MAX_WINDOW_LAYERS,
        Some(value) if value.as_u64() == Some(0) => 0,
        Some(_) => config.size("max_window_layers", limits::POSITIONS)?,
    };
    of_layers(config, layers, Some(window), |layer| slides(layer, bound))
}
