//! Writes an adapter as PEFT reads it, tensor by tensor, whose shapes need not be known before.
//!
//! A safetensors file begins with all shapes, and ranks are known only when the work is done: tensors go to a scratch file
//! and from there into the adapter. It appears under its name when it is complete.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::super::WeightsError;
use super::super::convert::{PartialDirectory, refuse_existing, write_json};
use super::super::safetensors_writer::{SafetensorsWriter, WrittenDtype};
use super::config::{AdapterConfig, CONFIG_FILE};
use super::names::PREFIX;

/// Elements that are copied at a time.
const PIECE: usize = 64 << 10;

/// An adapter being written.
pub struct AdapterWriter {
    out: PathBuf,
    directory: PartialDirectory,
    dtype: WrittenDtype,
    scratch: BufWriter<File>,
    tensors: Vec<(String, Vec<usize>)>,
}

impl AdapterWriter {
    /// # Errors
    /// `TargetExists` where `out` is there and not empty; `Io`.
    pub fn create(out: &Path, dtype: WrittenDtype) -> Result<Self, WeightsError> {
        refuse_existing(out)?;
        let directory = PartialDirectory::create(out)?;
        let path = scratch_path(&directory.path);
        let opened = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = opened.map_err(|source| WeightsError::Io { path, action: "create it", source })?;
        let scratch = BufWriter::with_capacity(1 << 20, file);
        Ok(Self { out: out.to_owned(), directory, dtype, scratch, tensors: Vec::new() })
    }

    /// Begins a tensor, named as the model names its modules (`model.norm.weight`, `lm_head.lora_A.weight`). Its elements
    /// follow.
    pub fn begin(&mut self, name: &str, shape: &[usize]) {
        self.tensors.push((format!("{PREFIX}{name}"), shape.to_vec()));
    }

    /// The next elements of the tensor that was begun.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&mut self, values: &[f32]) -> Result<(), WeightsError> {
        for value in values {
            let written = self.scratch.write_all(&value.to_le_bytes());
            written.map_err(|source| self.error(source))?;
        }
        Ok(())
    }

    /// A whole tensor.
    ///
    /// # Errors
    /// `Io`.
    pub fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Result<(), WeightsError> {
        self.begin(name, shape);
        self.write(values)
    }

    /// Writes the files and gives the folder its name. Nothing was written where the tensors' elements do not add up.
    ///
    /// # Errors
    /// `Io`, `TargetExists`.
    pub fn finish(mut self, config: &AdapterConfig) -> Result<(), WeightsError> {
        let rewound = self.scratch.flush().and_then(|()| self.scratch.get_mut().seek(SeekFrom::Start(0)));
        rewound.map_err(|source| self.error(source))?;
        let directory = &self.directory.path;
        write_json(&directory.join(CONFIG_FILE), &config.to_json())?;
        let mut writer =
            SafetensorsWriter::create(&directory.join(super::TENSORS_FILE), self.dtype, &self.tensors)?;
        let mut left: usize = self.tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        let mut reader = BufReader::with_capacity(1 << 20, self.scratch.get_ref());
        let (mut bytes, mut values) = (vec![0; PIECE * 4], vec![0.0; PIECE]);
        while left > 0 {
            let count = left.min(PIECE);
            let read = reader.read_exact(&mut bytes[..count * 4]);
            read.map_err(|source| self.error(source))?;
            for (value, bytes) in values.iter_mut().zip(bytes[..count * 4].as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
            writer.write(&values[..count])?;
            left -= count;
        }
        writer.finish()?;
        let path = scratch_path(directory);
        let removed = std::fs::remove_file(&path);
        removed.map_err(|source| WeightsError::Io { path, action: "remove it", source })?;
        self.directory.rename_to(&self.out)
    }

    fn error(&self, source: std::io::Error) -> WeightsError {
        WeightsError::Io { path: scratch_path(&self.directory.path), action: "write it", source }
    }
}

fn scratch_path(directory: &Path) -> PathBuf {
    directory.join("tensors.scratch")
}
