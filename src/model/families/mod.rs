//! Families: translators from a Hugging Face `config.json` to `DecoderConfig`. A family is data over the one
//! decoder, never code of its own in the forward pass. To add one: a file here, an arm in `translate`, a
//! fixture in `scripts/fixtures/make_model_fixtures.py`.

mod common;
mod experts;
mod gemma;
mod gemma2;
mod gemma3;
mod llama;
mod mistral;
mod mixtral;
mod phi3;
mod qwen2;
mod qwen2_moe;
mod qwen3;
mod qwen3_moe;
mod rope_keys;
mod windows;

use serde_json::Value;

use super::config::DecoderConfig;
#[cfg(test)]
use super::config::limits;
use super::reader::{self, Reader};
#[cfg(test)]
use super::rope::RopeConfig;
use super::{ModelError, encoders};

/// The `model_type`s that `translate` knows.
pub const SUPPORTED: &[&str] = &[
    "gemma2",
    "gemma3_text",
    "llama",
    "mistral",
    "mixtral",
    "phi3",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
];

/// Reads a Hugging Face config.
///
/// # Errors
/// An unknown family, a missing, wrong or contradicting key, or one that asks for what the decoder lacks.
pub fn translate(config: &Value) -> Result<DecoderConfig, ModelError> {
    let reader = Reader::new(config)?;
    refuse_encoder(&reader)?;
    let translated = match family(&reader)? {
        "gemma2" => gemma2::translate(&reader),
        "gemma3_text" => gemma3::translate(&reader),
        "gemma3" => Err(gemma3::refuse_multimodal(&reader)),
        "llama" => llama::translate(&reader),
        "mistral" => mistral::translate(&reader),
        "mixtral" => mixtral::translate(&reader),
        "phi3" => phi3::translate(&reader),
        "qwen2" => qwen2::translate(&reader),
        "qwen2_moe" => qwen2_moe::translate(&reader),
        "qwen3" => qwen3::translate(&reader),
        "qwen3_moe" => qwen3_moe::translate(&reader),
        other => Err(unknown(format!("`model_type` {other:?}"))),
    }?;
    translated.check()?;
    Ok(translated)
}

/// An encoder is told from a model of an unknown family: it is of use, but not alone.
fn refuse_encoder(config: &Reader) -> Result<(), ModelError> {
    match config.text("model_type")? {
        Some(name) if encoders::SUPPORTED.contains(&name) => Err(ModelError::unsupported(
            "model_type",
            &name.into(),
            "this is a text encoder, which generates nothing by itself; it is served as the `encoder` of a MindMerger model, \
             a folder with xenoglot.json",
        )),
        _ => Ok(()),
    }
}

/// The `model_type`, or, where a config has none, the one its `architectures` stand for.
fn family<'a>(config: &Reader<'a>) -> Result<&'a str, ModelError> {
    let architecture = config.get("architectures").and_then(|names| names.get(0)).and_then(Value::as_str);
    if config.text("model_type")? == Some("gemma3") {
        return Ok("gemma3");
    }
    if let Some(name) = architecture
        && !name.ends_with("ForCausalLM")
    {
        return Err(ModelError::unsupported(
            "architectures",
            &name.into(),
            "only causal language models (`..ForCausalLM`) can generate text",
        ));
    }
    let implied = architecture.and_then(family_of);
    match (config.text("model_type")?, implied) {
        (Some(model_type), Some(implied)) if model_type != implied => Err(ModelError::contradiction(
            format!("`model_type` is {model_type:?}, but `architectures` names a {implied} model"),
            "keep the one that the weights were made with",
        )),
        (Some(model_type), _) => Ok(model_type),
        (None, Some(implied)) => Ok(implied),
        (None, None) => Err(match architecture {
            Some(name) => unknown(format!("`architectures` [{name:?}]")),
            None => ModelError::MissingKey {
                key: "model_type".to_owned(),
                hint: format!("supported are {}", SUPPORTED.join(", ")),
            },
        }),
    }
}

fn family_of(architecture: &str) -> Option<&'static str> {
    match architecture {
        "Gemma2ForCausalLM" => Some("gemma2"),
        "Gemma3ForCausalLM" => Some("gemma3_text"),
        "LlamaForCausalLM" => Some("llama"),
        "MistralForCausalLM" => Some("mistral"),
        "MixtralForCausalLM" => Some("mixtral"),
        "Phi3ForCausalLM" => Some("phi3"),
        "Qwen2ForCausalLM" => Some("qwen2"),
        "Qwen2MoeForCausalLM" => Some("qwen2_moe"),
        "Qwen3ForCausalLM" => Some("qwen3"),
        "Qwen3MoeForCausalLM" => Some("qwen3_moe"),
        _ => None,
    }
}

fn unknown(found: String) -> ModelError {
    ModelError::UnknownFamily { found, supported: SUPPORTED.join(", ") }
}

/// Only the RoPE part of a config, for tests.
#[cfg(test)]
pub(super) fn rope_from_config(config: &Value) -> Result<RopeConfig, ModelError> {
    let reader = Reader::new(config)?;
    rope_keys::read(&reader, reader.size("max_position_embeddings", limits::POSITIONS)?).map(|(rope, _)| rope)
}

#[cfg(test)]
mod tests;
