//! The files of a Hugging Face directory: which tensors file it has, and its JSON files.

use std::fs;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::WeightsError;
use super::pickle::PickleFile;
use super::safetensors::SafetensorsFile;
use super::sharded::Sharded;
use super::source::TensorSource;

/// No JSON file of a checkpoint is larger; tokenizer.json files of 250,000 tokens have 30 MB.
const JSON_BYTES_MAX: u64 = 512 << 20;

/// Opens `model.safetensors`, or the shards of `model.safetensors.index.json`, or else the same in PyTorch's format.
pub fn open_tensors(directory: &Path) -> Result<Box<dyn TensorSource + Send + Sync>, WeightsError> {
    let single = directory.join("model.safetensors");
    if single.is_file() {
        return Ok(Box::new(SafetensorsFile::open(&single)?));
    }
    let index = directory.join("model.safetensors.index.json");
    if index.is_file() {
        return Ok(Box::new(Sharded::open(&index, SafetensorsFile::open)?));
    }
    let pickled = directory.join("pytorch_model.bin");
    if pickled.is_file() {
        return Ok(Box::new(PickleFile::open(&pickled)?));
    }
    let pickled_index = directory.join("pytorch_model.bin.index.json");
    if pickled_index.is_file() {
        return Ok(Box::new(Sharded::open(&pickled_index, PickleFile::open)?));
    }
    let problem = if directory.join("consolidated.00.pth").exists() {
        "has consolidated.00.pth, whose tensors have Meta's names, but no model.safetensors; get the model in Hugging \
         Face's layout"
    } else {
        "has neither model.safetensors nor pytorch_model.bin, nor an index of shards of either"
    };
    Err(WeightsError::NotACheckpoint { path: directory.to_owned(), problem: problem.to_owned() })
}

/// Opens `model.safetensors`, or the shards of `model.safetensors.index.json`, and nothing else.
///
/// # Errors
/// `NotACheckpoint` where there is neither; what is wrong with the files.
pub fn open_safetensors(directory: &Path) -> Result<Box<dyn TensorSource + Send + Sync>, WeightsError> {
    let is_there = |name: &str| directory.join(name).is_file();
    if is_there("model.safetensors") || is_there("model.safetensors.index.json") {
        return open_tensors(directory);
    }
    let problem = "has neither model.safetensors nor model.safetensors.index.json".to_owned();
    Err(WeightsError::NotACheckpoint { path: directory.to_owned(), problem })
}

/// Opens one file of tensors, safetensors or PyTorch's, as its first bytes say: a safetensors header is JSON behind a length
/// of eight bytes, and neither PyTorch format has an opening brace there.
pub fn open_tensors_file(path: &Path) -> Result<Box<dyn TensorSource + Send + Sync>, WeightsError> {
    let mut start = [0; 9];
    let io = |source| WeightsError::Io { path: path.to_owned(), action: "read it", source };
    let mut file = fs::File::open(path).map_err(io)?;
    let is_safetensors = match file.read_exact(&mut start) {
        Ok(()) => start[8] == b'{',
        // Too short for either; the reader of a format says so.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => true,
        Err(error) => return Err(io(error)),
    };
    Ok(if is_safetensors {
        Box::new(SafetensorsFile::open(path)?)
    } else {
        Box::new(PickleFile::open(path)?)
    })
}

/// Reads a file of at most the size any checkpoint needs.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, WeightsError> {
    let io = |action| move |source| WeightsError::Io { path: path.to_owned(), action, source };
    let length = fs::metadata(path).map_err(io("open it"))?.len();
    if length > JSON_BYTES_MAX {
        let problem = format!("has {length} bytes, at most {JSON_BYTES_MAX} are read");
        return Err(WeightsError::Json { path: path.to_owned(), problem });
    }
    fs::read(path).map_err(io("read it"))
}

/// Reads and parses a JSON file; errors carry line and column.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, WeightsError> {
    let bytes = read_bytes(path)?;
    serde_json::from_slice(&bytes).map_err(|error| WeightsError::Json {
        path: path.to_owned(),
        problem: format!("is not valid: {error}"),
    })
}

/// As [`read_json`] for a file that may be absent (`Null` then) and must otherwise be an object.
pub fn read_object_if_present(path: &Path) -> Result<Value, WeightsError> {
    if !path.exists() {
        return Ok(Value::Null);
    }
    let value: Value = read_json(path)?;
    if value.is_object() {
        return Ok(value);
    }
    Err(WeightsError::Json { path: path.to_owned(), problem: "is not a JSON object".into() })
}
