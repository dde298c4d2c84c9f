//! The files of a model's tokenizer, or what stands for them in a GGUF file.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::super::error::MergeError;
use crate::weights::{Checkpoint, WeightsError};

/// No file of a tokenizer is larger; those of 250,000 tokens have 30 MB.
const BYTES_MAX: u64 = 512 << 20;

/// A model's tokenizer.json, or what a GGUF file's tokenizer is as one. `None` for a folder without.
pub(super) fn tokenizer_json(model: &Path) -> Result<Option<Vec<u8>>, MergeError> {
    let file = model.join("tokenizer.json");
    if file.is_file() {
        return read(&file).map(Some);
    }
    if is_gguf_model(model) {
        return Ok(Some(Checkpoint::open(model)?.tokenizer.to_json()?.into_bytes()));
    }
    Ok(None)
}

/// A GGUF file, or a folder that has nothing else.
pub(super) fn is_gguf_model(model: &Path) -> bool {
    let is_gguf = |path: &Path| path.extension().is_some_and(|extension| extension == "gguf");
    if model.is_file() {
        return is_gguf(model);
    }
    let has_gguf = || {
        fs::read_dir(model)
            .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|entry| is_gguf(&entry.path()))))
    };
    !model.join("config.json").exists() && has_gguf()
}

/// A JSON file that may be absent and is an object.
pub(super) fn read_object(path: &Path) -> Result<Option<Value>, MergeError> {
    if !path.is_file() {
        return Ok(None);
    }
    let wrong = |problem: String| WeightsError::Json { path: path.to_owned(), problem };
    let value: Value =
        serde_json::from_slice(&read(path)?).map_err(|error| wrong(format!("is not valid: {error}")))?;
    if value.is_object() { Ok(Some(value)) } else { Err(wrong("is not a JSON object".to_owned()).into()) }
}

pub(super) fn read_text(path: &Path) -> Result<String, MergeError> {
    let wrong = |_| WeightsError::Json { path: path.to_owned(), problem: "is not UTF-8 text".to_owned() };
    Ok(String::from_utf8(read(path)?).map_err(wrong)?)
}

fn read(path: &Path) -> Result<Vec<u8>, MergeError> {
    let length = fs::metadata(path).map_err(io_error(path, "open it"))?.len();
    if length > BYTES_MAX {
        let problem = format!("has {length} bytes, at most {BYTES_MAX} are read");
        return Err(WeightsError::Json { path: path.to_owned(), problem }.into());
    }
    fs::read(path).map_err(io_error(path, "read it"))
}

pub(super) fn io_error(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> MergeError {
    move |source| MergeError::Io { path: path.to_owned(), action, source }
}
