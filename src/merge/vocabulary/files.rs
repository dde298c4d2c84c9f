//! The files of the output's tokenizer.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::error::MergeError;
use super::super::inputs::InputModel;
use super::model_files::{io_error, is_gguf_model, read_object};
use super::plan::VocabularyPlan;
use crate::weights::Checkpoint;

/// Copied as they are where the vocabulary stays. The last ones are not the tokenizer's but of the same kind.
const FILES: [&str; 13] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "added_tokens.json",
    "merges.txt",
    "vocab.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
];
/// Those that say nothing about the tokens of a vocabulary, name them by their text, or by ids that stay.
const FILES_OF_ANY_VOCABULARY: [&str; 7] = [
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
];

/// Write the output's tokenizer into its folder: the donor's (a folder or GGUF file), which is the plan's where there is one, with the tokens of
/// the plan and the chat template. A donor without a tokenizer leaves nothing but the template.
///
/// # Errors
/// `Io`, and `Weights` where a file of the donor cannot be read.
pub fn write_tokenizer(
    plan: Option<&VocabularyPlan>,
    donor: &Path,
    template: Option<&str>,
    out: &Path,
) -> Result<(), MergeError> {
    let of_gguf = if is_gguf_model(donor) { Some(Checkpoint::open(donor)?) } else { None };
    let names = if plan.is_some() { FILES_OF_ANY_VOCABULARY.as_slice() } else { FILES.as_slice() };
    for name in names {
        let from = donor.join(name);
        let is_replaced = template.is_some() && name.starts_with("chat_template");
        if of_gguf.is_none() && from.is_file() && !is_replaced {
            fs::copy(&from, out.join(name)).map_err(io_error(&from, "copy it"))?;
        }
    }
    let template = template.map(str::to_owned);
    let (mut settings, template) = match of_gguf {
        Some(checkpoint) => {
            if plan.is_none() {
                write(&out.join("tokenizer.json"), &checkpoint.tokenizer.to_json()?)?;
            }
            (Some(settings_of(&checkpoint)), template.or(checkpoint.chat_template))
        }
        None => (read_object(&donor.join("tokenizer_config.json"))?, template),
    };
    if let Some(plan) = plan {
        write_json(&out.join("tokenizer.json"), &plan.tokenizer)?;
        if let Some(settings) = &mut settings {
            update_added_tokens(settings, &plan.tokenizer);
        }
    }
    if let Some(template) = &template {
        write(&out.join("chat_template.jinja"), template)?;
        settings.get_or_insert_with(|| json!({}))["chat_template"] = json!(template);
    }
    match settings {
        // Else the copy of it is left as it was written.
        Some(settings) if plan.is_some() || template.is_some() => {
            write_json(&out.join("tokenizer_config.json"), &settings)
        }
        _ => Ok(()),
    }
}

/// The settings of a model's generation beside a tokenizer that brings none, with the ids that their tokens have there.
///
/// # Errors
/// `Io`, and `Weights` where the file cannot be read.
pub fn write_generation_config(
    plan: &VocabularyPlan,
    models: &[InputModel],
    model: usize,
    out: &Path,
) -> Result<(), MergeError> {
    let name = "generation_config.json";
    if plan.donor.is_some() || out.join(name).exists() {
        return Ok(());
    }
    let Some(mut settings) = read_object(&models[model].path.join(name))? else { return Ok(()) };
    plan.update_ids(model, &mut settings);
    write_json(&out.join(name), &settings)
}

/// `added_tokens_decoder`, if there is one: the added tokens by id. Entries keep what is known of the same token.
fn update_added_tokens(settings: &mut Value, tokenizer: &Value) {
    let Some(decoder) = settings.get_mut("added_tokens_decoder").and_then(Value::as_object_mut) else {
        return;
    };
    let known: Vec<Value> = std::mem::take(decoder).into_iter().map(|(_, entry)| entry).collect();
    for added in tokenizer["added_tokens"].as_array().into_iter().flatten() {
        let mut entry = added.clone();
        let Some(id) = entry.as_object_mut().and_then(|entry| entry.remove("id")) else { continue };
        if let Some(known) = known.iter().find(|known| known["content"] == added["content"]) {
            entry = known.clone();
        }
        decoder.insert(id.to_string(), entry);
    }
}

/// A tokenizer_config.json of a GGUF file.
fn settings_of(checkpoint: &Checkpoint) -> Value {
    let special = &checkpoint.special;
    let named = [
        ("bos_token", &special.bos),
        ("eos_token", &special.eos),
        ("pad_token", &special.pad),
        ("unk_token", &special.unk),
    ];
    let mut settings = Map::new();
    settings.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
    for (key, token) in named {
        settings.extend(token.as_ref().map(|token| (key.to_owned(), json!(token))));
    }
    Value::Object(settings)
}

fn write_json(path: &Path, value: &Value) -> Result<(), MergeError> {
    write(path, &format!("{value:#}\n"))
}

fn write(path: &Path, text: &str) -> Result<(), MergeError> {
    fs::write(path, text).map_err(io_error(path, "write it"))
}

#[cfg(test)]
mod tests;
