//! Writes a safetensors file tensor by tensor, so that memory stays at about one tensor.
//!
//! The header comes first in the format and holds every offset, so the shapes of all tensors are given up front.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use half::bf16;
use serde_json::{Map, Value, json};

use super::WeightsError;

/// The element type of a written file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenDtype {
    F32,
    Bf16,
}

impl WrittenDtype {
    /// Bytes of an element.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// Its name in a config.json.
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
        }
    }

    fn safetensors_name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::Bf16 => "BF16",
        }
    }
}

/// A file whose header is written and whose tensors are due in the order they were declared.
pub struct SafetensorsWriter {
    path: PathBuf,
    dtype: WrittenDtype,
    file: BufWriter<File>,
}

impl SafetensorsWriter {
    /// Creates the file and writes its header for tensors of these names and shapes.
    pub fn create(
        path: &Path,
        dtype: WrittenDtype,
        tensors: &[(String, Vec<usize>)],
    ) -> Result<Self, WeightsError> {
        let io = |source| WeightsError::Io { path: path.to_owned(), action: "write it", source };
        let header = header(dtype, tensors);
        let mut file = BufWriter::with_capacity(1 << 20, File::create_new(path).map_err(io)?);
        file.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
        file.write_all(header.as_bytes()).map_err(io)?;
        Ok(Self { path: path.to_owned(), dtype, file })
    }

    /// Writes the next tensor's elements; bf16 rounds to nearest even.
    pub fn write(&mut self, values: &[f32]) -> Result<(), WeightsError> {
        for value in values {
            let written = match self.dtype {
                WrittenDtype::F32 => self.file.write_all(&value.to_le_bytes()),
                WrittenDtype::Bf16 => self.file.write_all(&bf16::from_f32(*value).to_le_bytes()),
            };
            written.map_err(|source| self.error(source))?;
        }
        Ok(())
    }

    /// Hands everything to the disk; a full disk is an error here at the latest.
    pub fn finish(mut self) -> Result<(), WeightsError> {
        let flushed = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        flushed.map_err(|source| self.error(source))
    }

    fn error(&self, source: std::io::Error) -> WeightsError {
        WeightsError::Io { path: self.path.clone(), action: "write it", source }
    }
}

/// The JSON header, padded so that the data starts at a multiple of eight bytes.
fn header(dtype: WrittenDtype, tensors: &[(String, Vec<usize>)]) -> String {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut start = 0;
    for (name, shape) in tensors {
        let end = start + shape.iter().product::<usize>() as u64 * dtype.bytes();
        let entry =
            json!({ "dtype": dtype.safetensors_name(), "shape": shape, "data_offsets": [start, end] });
        header.insert(name.clone(), entry);
        start = end;
    }
    let mut text = Value::Object(header).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    text
}
