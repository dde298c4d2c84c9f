//! What a configuration says of a layer by its place (whether its window slides, and with it its RoPE; whether it has experts), where
//! the layers of an output come from other places: written out, so that each layer stays what it was.

use serde_json::{Value, json};

use super::error::MergeError;
use super::inputs::InputModel;
use crate::model::{DecoderConfig, families};

/// Families whose layers are of different kinds by their place.
const BY_PLACE: [&str; 6] = ["gemma2", "gemma3_text", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe"];

/// Those for which transformers reads `layer_types`. The others have one window for all layers there, whatever a list says.
const LISTED: [&str; 5] = ["gemma2", "gemma3_text", "qwen2", "qwen2_moe", "qwen3"];

/// Sets the number of layers and their kinds in the donor's configuration. `layers` says of each its model and its place there.
///
/// # Errors
/// `Model` for layers that no configuration describes together, by key.
pub(super) fn set_layers(
    config: &mut Value,
    layers: &[(usize, usize)],
    models: &[InputModel],
    donor: &InputModel,
) -> Result<(), MergeError> {
    let translated: Vec<_> =
        models.iter().map(|model| families::translate(text_config(&model.config))).collect();
    let unread = families::translate(config).err();
    let count =
        ["num_hidden_layers", "n_layer", "num_layers"].into_iter().find(|key| config.get(*key).is_some());
    config[count.unwrap_or("num_hidden_layers")] = json!(layers.len());
    let sources: Option<Vec<(&DecoderConfig, usize)>> =
        layers.iter().map(|(model, layer)| Some((translated[*model].as_ref().ok()?, *layer))).collect();
    match sources {
        Some(sources) if unread.is_none() => set_kinds(config, &sources, donor),
        _ => {
            let mut of_layers = layers.iter().filter_map(|(model, _)| translated[*model].as_ref().err());
            let why = unread.as_ref().or_else(|| of_layers.next()).map(ToString::to_string);
            set_listed(config, layers, models, donor, &why.unwrap_or_default())
        }
    }
}

/// The part of a configuration that describes the decoder.
fn text_config(config: &Value) -> &Value {
    config.get("text_config").filter(|nested| nested.is_object()).unwrap_or(config)
}

fn set_kinds(
    config: &mut Value,
    sources: &[(&DecoderConfig, usize)],
    donor: &InputModel,
) -> Result<(), MergeError> {
    let windows: Vec<Option<usize>> =
        sources.iter().map(|(source, layer)| source.sliding_window(*layer)).collect();
    let sparse: Vec<bool> =
        sources.iter().map(|(source, layer)| source.experts_of(*layer).is_some()).collect();
    if ["decoder_sparse_step", "mlp_only_layers"].iter().any(|key| config.get(key).is_some()) {
        let dense: Vec<usize> = (0..sparse.len()).filter(|layer| !sparse[*layer]).collect();
        config["decoder_sparse_step"] = json!(1);
        config["mlp_only_layers"] = json!(dense);
    }
    let listed = config.as_object_mut().and_then(|keys| keys.remove("layer_types"));
    let fits = |config: &Value| families::translate(config).is_ok_and(|out| out.layer_windows == windows);
    let is_listed = listed.is_some_and(|listed| !listed.is_null());
    let may_be = config["model_type"].as_str().is_some_and(|family| LISTED.contains(&family));
    if is_listed || (may_be && !fits(config)) {
        let kind = |window: &Option<usize>| {
            if window.is_some() { "sliding_attention" } else { "full_attention" }
        };
        config["layer_types"] = windows.iter().map(kind).collect();
    }
    let refuse = |problem: String| MergeError::Model { model: donor.reference.to_string(), problem };
    let out = families::translate(config).map_err(|error| {
        refuse(format!("its configuration does not describe the output's layers: {error}"))
    })?;
    let differs = |what: &str, key: &str, layer: usize| {
        refuse(format!(
            "layer {layer} of the output has another {what} in the model that it is from, and one `{key}` is for all layers"
        ))
    };
    for (layer, window) in windows.iter().enumerate() {
        if out.sliding_window(layer) != *window {
            return Err(differs("window", "sliding_window", layer));
        }
        if out.experts_of(layer).is_some() != sparse[layer] {
            return Err(differs("kind of gated block", "mlp_only_layers", layer));
        }
    }
    Ok(())
}

/// Of configurations that are not read here, and why: their own lists.
fn set_listed(
    config: &mut Value,
    layers: &[(usize, usize)],
    models: &[InputModel],
    donor: &InputModel,
    why: &str,
) -> Result<(), MergeError> {
    if config.get("layer_types").is_none() {
        let family = config["model_type"].as_str().filter(|family| BY_PLACE.contains(family));
        return family.map_or(Ok(()), |family| {
            let problem = format!(
                "layers of `model_type` {family} are of different kinds by their place, and its configuration cannot be read \
                 ({why}): list them in `layer_types`"
            );
            Err(MergeError::Model { model: donor.reference.to_string(), problem })
        });
    }
    let kind = |(model, layer): &(usize, usize)| {
        text_config(&models[*model].config).get("layer_types")?.get(*layer).cloned()
    };
    if let Some(kinds) = layers.iter().map(kind).collect::<Option<Vec<Value>>>() {
        config["layer_types"] = json!(kinds);
    }
    Ok(())
}
