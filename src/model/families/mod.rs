//! Families: translators from a Hugging Face `config.json` to `DecoderConfig`. A family is data over the one
//! decoder, never code of its own in the forward pass. To add one: a file here, an arm in `translate`, a
//! fixture in `scripts/fixtures/make_model_fixtures.py`.

mod llama;
mod mistral;
mod qwen2;
mod qwen3;
mod reader;
mod rope_keys;

use serde_json::Value;

use self::reader::Reader;
use super::ModelError;
use super::config::{DecoderConfig, limits};
#[cfg(test)]
use super::rope::RopeConfig;

/// The `model_type`s that `translate` knows.
pub const SUPPORTED: &[&str] = &["llama", "mistral", "qwen2", "qwen3"];

/// Reads a Hugging Face config.
///
/// # Errors
/// An unknown family, a missing, wrong or contradicting key, or one that asks for what the decoder lacks.
pub fn translate(config: &Value) -> Result<DecoderConfig, ModelError> {
    let reader = Reader::new(config)?;
    let translated = match family(&reader)? {
        "llama" => llama::translate(&reader),
        "mistral" => mistral::translate(&reader),
        "qwen2" => qwen2::translate(&reader),
        "qwen3" => qwen3::translate(&reader),
        other => Err(unknown(format!("`model_type` {other:?}"))),
    }?;
    translated.check()?;
    Ok(translated)
}

/// The `model_type`, or, where a config has none, the one its `architectures` stand for.
fn family<'a>(config: &Reader<'a>) -> Result<&'a str, ModelError> {
    let architecture = config.get("architectures").and_then(|names| names.get(0)).and_then(Value::as_str);
    if let Some(name) = architecture
        && !name.ends_with("ForCausalLM")
    {
        return Err(ModelError::unsupported(
            "architectures",
            &name.into(),
            "only causal language models (`..ForCausalLM`) can generate text",
        ));
    }
    if let Some(model_type) = config.text("model_type")? {
        return Ok(model_type);
    }
    match architecture {
        Some("LlamaForCausalLM") => Ok("llama"),
        Some("MistralForCausalLM") => Ok("mistral"),
        Some("Qwen2ForCausalLM") => Ok("qwen2"),
        Some("Qwen3ForCausalLM") => Ok("qwen3"),
        Some(other) => Err(unknown(format!("`architectures` [{other:?}]"))),
        None => Err(ModelError::MissingKey {
            key: "model_type".to_owned(),
            hint: format!("supported are {}", SUPPORTED.join(", ")),
        }),
    }
}

fn unknown(found: String) -> ModelError {
    ModelError::UnknownFamily { found, supported: SUPPORTED.join(", ") }
}

/// What all families share; a translator then sets what makes it different. `default_head_dim` is for configs
/// without the key; where it is `None`, the hidden size is divided among the heads.
fn common(config: &Reader, default_head_dim: Option<usize>) -> Result<DecoderConfig, ModelError> {
    refuse_other_mathematics(config)?;
    let layers = config.size("num_hidden_layers", limits::LAYERS)?;
    let hidden_size = config.size("hidden_size", limits::HIDDEN)?;
    let heads = config.size("num_attention_heads", limits::HEADS)?;
    let max_position_embeddings = config.size("max_position_embeddings", limits::POSITIONS)?;
    let head_dim = match config.optional_size("head_dim", limits::HEAD_DIM)?.or(default_head_dim) {
        Some(head_dim) => head_dim,
        None => divided_head_dim(hidden_size, heads)?,
    };
    Ok(DecoderConfig {
        vocab_size: config.size("vocab_size", limits::VOCABULARY)?,
        hidden_size,
        intermediate_size: config.size("intermediate_size", limits::INTERMEDIATE)?,
        layers,
        heads,
        // Configs older than grouped queries lack the key: a key head for every query head.
        kv_heads: config.optional_size("num_key_value_heads", limits::HEADS)?.unwrap_or(heads),
        head_dim,
        rms_norm_eps: config.positive("rms_norm_eps")? as f32,
        rope: rope_keys::read(config, max_position_embeddings)?,
        max_position_embeddings,
        layer_windows: vec![None; layers],
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        qk_norm: false,
        tie_word_embeddings: config.flag("tie_word_embeddings", false)?,
    })
}

fn divided_head_dim(hidden_size: usize, heads: usize) -> Result<usize, ModelError> {
    if !hidden_size.is_multiple_of(heads) {
        return Err(ModelError::contradiction(
            format!("`hidden_size` = {hidden_size} is not divisible by `num_attention_heads` = {heads}"),
            "give `head_dim`, or take both from the original config",
        ));
    }
    Ok(hidden_size / heads)
}

/// Keys that would change what the model computes, and that this decoder does not have.
fn refuse_other_mathematics(config: &Reader) -> Result<(), ModelError> {
    if let Some(found) = config.get("quantization_config") {
        return Err(ModelError::unsupported(
            "quantization_config",
            found,
            "use the unquantised checkpoint, or a GGUF file of the model",
        ));
    }
    if let Some(found) = config.get("hidden_act")
        && !matches!(found.as_str(), Some("silu" | "swish"))
    {
        return Err(ModelError::unsupported("hidden_act", found, "the decoder has SwiGLU blocks (`silu`) only"));
    }
    if let Some(found) = config.get("partial_rotary_factor")
        && found.as_f64() != Some(1.0)
    {
        return Err(ModelError::unsupported("partial_rotary_factor", found, "RoPE turns whole heads here"));
    }
    if config.flag("rope_interleaved", false)? {
        return Err(ModelError::unsupported("rope_interleaved", &true.into(), "convert q_proj and k_proj to half rotation"));
    }
    Ok(())
}

/// The window of each layer: from `layer_types` where it is given, else by `slides`.
fn layer_windows(
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

/// Qwen's rule: `sliding_window` counts only with `use_sliding_window`, and only from layer
/// `max_window_layers` on.
fn qwen_windows(config: &Reader, layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
    /// What transformers takes where the key is missing.
    const MAX_WINDOW_LAYERS: usize = 28;
    let window = if config.flag("use_sliding_window", false)? {
        Some(config.size("sliding_window", limits::POSITIONS)?)
    } else {
        None
    };
    // 0 is allowed: all layers slide.
    let first = match config.get("max_window_layers") {
        None => MAX_WINDOW_LAYERS,
        Some(value) if value.as_u64() == Some(0) => 0,
        Some(_) => config.size("max_window_layers", limits::POSITIONS)?,
    };
    layer_windows(config, layers, window, |layer| layer >= first)
}

/// Only the RoPE part of a config, for tests.
#[cfg(test)]
pub(super) fn rope_from_config(config: &Value) -> Result<RopeConfig, ModelError> {
    let reader = Reader::new(config)?;
    rope_keys::read(&reader, reader.size("max_position_embeddings", limits::POSITIONS)?)
}

#[cfg(test)]
mod tests;
