//! A Hugging Face directory with the files of another and tensors of its own.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::WeightsError;
use super::convert::{PartialDirectory, SHARD_BYTES_MAX, refuse_existing, write_json, write_tensors};
use super::directory::read_json;
use super::safetensors_writer::WrittenDtype;
use super::source::TensorSource;

/// Of what stands beside the tensors, these are copied: configuration, tokenizer, templates.
const ENDINGS: [&str; 4] = ["json", "txt", "jinja", "model"];

/// Writes `out` with the tensors of a source and all else from the directory `base`. It appears when it is complete.
///
/// # Errors
/// `TargetExists`, `Io`.
pub fn write_model(
    base: &Path,
    tensors: &dyn TensorSource,
    out: &Path,
    dtype: WrittenDtype,
) -> Result<(), WeightsError> {
    refuse_existing(out)?;
    let partial = PartialDirectory::create(out)?;
    let io = |action| move |source| WeightsError::Io { path: base.to_owned(), action, source };
    for entry in fs::read_dir(base).map_err(io("list it"))? {
        let path = entry.map_err(io("list it"))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let is_wanted =
            path.extension().and_then(|ending| ending.to_str()).is_some_and(|it| ENDINGS.contains(&it));
        if path.is_file() && is_wanted && !name.ends_with(".index.json") && name != "config.json" {
            let copied = fs::copy(&path, partial.path.join(name));
            copied.map_err(|source| WeightsError::Io { path: path.clone(), action: "copy it", source })?;
        }
    }
    let mut config: Value = read_json(&base.join("config.json"))?;
    // transformers 5 writes `dtype`, older ones `torch_dtype`.
    let key = if config.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
    config[key] = json!(dtype.torch_name());
    write_json(&partial.path.join("config.json"), &config)?;
    write_tensors(tensors, &partial.path, dtype, SHARD_BYTES_MAX, &mut |_| {})?;
    partial.rename_to(out)
}
