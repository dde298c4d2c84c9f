//! A GGUF file to a Hugging Face directory: safetensors, configuration, tokenizer and chat template.
//!
//! The directory is what every comparison with another framework reads on both sides. It is written under a temporary
//! name beside its target and renamed when it is complete, so that a target is whole or absent.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::WeightsError;
use super::gguf::GgufFile;
use super::safetensors_writer::{SafetensorsWriter, WrittenDtype};
use super::source::TensorSource;

/// transformers' own default for the size of a shard.
pub(super) const SHARD_BYTES_MAX: u64 = 5_000_000_000;

/// How far a conversion has come.
#[derive(Debug, Clone, Copy)]
pub struct ConversionProgress<'a> {
    /// The tensor about to be written.
    pub tensor: &'a str,
    pub tensors_done: usize,
    pub tensors_total: usize,
}

/// Converts `gguf` to a new directory `out`; an existing one must be empty.
pub fn convert_gguf(
    gguf: &Path,
    out: &Path,
    dtype: WrittenDtype,
    progress: &mut dyn FnMut(ConversionProgress),
) -> Result<(), WeightsError> {
    convert_gguf_in_shards(SHARD_BYTES_MAX, gguf, out, dtype, progress)
}

/// As [`convert_gguf`], with shards of at most this many bytes of tensors (a larger tensor has one to itself).
pub fn convert_gguf_in_shards(
    shard_bytes_max: u64,
    gguf: &Path,
    out: &Path,
    dtype: WrittenDtype,
    progress: &mut dyn FnMut(ConversionProgress),
) -> Result<(), WeightsError> {
    refuse_existing(out)?;
    let source = GgufFile::open(gguf)?;
    let files = source.tokenizer_files()?;
    // The tokenizer must load before minutes are spent on tensors.
    super::Tokenizer::from_json(files.tokenizer_json.as_bytes(), gguf)?;
    let mut config = source.config().clone();
    config["torch_dtype"] = json!(dtype.torch_name());

    let partial = PartialDirectory::create(out)?;
    let directory = &partial.path;
    write_json(&directory.join("config.json"), &config)?;
    write_json(&directory.join("generation_config.json"), &files.generation_config())?;
    write_json(
        &directory.join("tokenizer_config.json"),
        &files.tokenizer_config(&config["max_position_embeddings"]),
    )?;
    write_file(&directory.join("tokenizer.json"), files.tokenizer_json.as_bytes())?;
    write_tensors(&source, directory, dtype, shard_bytes_max, progress)?;
    partial.rename_to(out)
}

pub(super) fn refuse_existing(out: &Path) -> Result<(), WeightsError> {
    let is_free = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if is_free { Ok(()) } else { Err(WeightsError::TargetExists { path: out.to_owned() }) }
}

type Shard = Vec<(String, Vec<usize>)>;

/// Writes all tensors of a source as model.safetensors, or as shards and their index.
pub(super) fn write_tensors(
    source: &dyn TensorSource,
    directory: &Path,
    dtype: WrittenDtype,
    shard_bytes_max: u64,
    progress: &mut dyn FnMut(ConversionProgress),
) -> Result<(), WeightsError> {
    let (shards, total_bytes) = plan_shards(source, dtype, shard_bytes_max)?;
    let tensors_total = shards.iter().map(Vec::len).sum();
    let mut tensors_done = 0;
    let mut weight_map = Map::new();
    for (at, shard) in shards.iter().enumerate() {
        let file_name = match shards.len() {
            1 => "model.safetensors".to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", at + 1),
        };
        let mut writer = SafetensorsWriter::create(&directory.join(&file_name), dtype, shard)?;
        for (name, _) in shard {
            progress(ConversionProgress { tensor: name, tensors_done, tensors_total });
            writer.write(&source.tensor(name)?.to_f32()?)?;
            weight_map.insert(name.clone(), json!(file_name));
            tensors_done += 1;
        }
        writer.finish()?;
    }
    if shards.len() > 1 {
        let index = json!({ "metadata": { "total_size": total_bytes }, "weight_map": weight_map });
        write_json(&directory.join("model.safetensors.index.json"), &index)?;
    }
    Ok(())
}

/// Tensors in order of name, cut where a shard would grow over its limit.
fn plan_shards(
    source: &dyn TensorSource,
    dtype: WrittenDtype,
    shard_bytes_max: u64,
) -> Result<(Vec<Shard>, u64), WeightsError> {
    let mut shards: Vec<Shard> = vec![Vec::new()];
    let (mut shard_bytes, mut total_bytes) = (0, 0);
    for name in source.names() {
        let shape = source.shape(&name)?;
        let bytes = shape.iter().product::<usize>() as u64 * dtype.bytes();
        if shard_bytes > 0 && shard_bytes + bytes > shard_bytes_max {
            shards.push(Vec::new());
            shard_bytes = 0;
        }
        shard_bytes += bytes;
        total_bytes += bytes;
        if let Some(shard) = shards.last_mut() {
            shard.push((name, shape));
        }
    }
    Ok((shards, total_bytes))
}

pub(super) fn write_json(path: &Path, value: &Value) -> Result<(), WeightsError> {
    write_file(path, format!("{value:#}\n").as_bytes())
}

pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), WeightsError> {
    let write = || {
        fs::write(path, bytes)?;
        fs::File::open(path)?.sync_all()
    };
    write().map_err(|source| WeightsError::Io { path: path.to_owned(), action: "write it", source })
}

/// A directory that is removed again unless it is renamed to its final name.
pub(super) struct PartialDirectory {
    pub(super) path: PathBuf,
    is_finished: bool,
}

impl PartialDirectory {
    pub(super) fn create(out: &Path) -> Result<Self, WeightsError> {
        let name = out.file_name().ok_or_else(|| WeightsError::TargetExists { path: out.to_owned() })?;
        let path = out.with_file_name(format!(".{}.partial-{}", name.to_string_lossy(), std::process::id()));
        // A process of the same id may have been killed here before.
        let create = || {
            fs::remove_dir_all(&path).or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            fs::create_dir_all(&path)
        };
        create().map_err(|source| WeightsError::Io { path: path.clone(), action: "create it", source })?;
        Ok(Self { path, is_finished: false })
    }

    pub(super) fn rename_to(mut self, out: &Path) -> Result<(), WeightsError> {
        let rename = || {
            if out.is_dir() {
                // Fails, as it should, if someone has put a file into it by now.
                fs::remove_dir(out)?;
            }
            fs::rename(&self.path, out)
        };
        rename().map_err(|source| WeightsError::Io {
            path: out.to_owned(),
            action: "move the finished directory to it",
            source,
        })?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for PartialDirectory {
    fn drop(&mut self) {
        if !self.is_finished {
            // Nothing can be done if it fails; the name says what the directory is.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
