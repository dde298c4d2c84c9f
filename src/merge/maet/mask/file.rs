//! A mask file: safetensors whose tensors have the weights' own names and are U8, one bit an element of the flattened
//! weight, the first in the lowest bit of the first byte. Its metadata says what it was made of:
//!
//! | key | value |
//! |---|---|
//! | `format` | `xenoglot-mask-1` |
//! | `neurons` | `element`, `row` or `column` |
//! | `density`, `cap` | as asked |
//! | `base_header_sha256` | of the base's names, types and shapes |
//! | `base_sha256` | of the base's weight files, by name |

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::super::super::error::MergeError;
use super::super::super::execute::reserve;
use super::MaskOptions;
use crate::weights::NEURON_MASK_FORMAT;

/// What is known beforehand.
pub struct MaskHeader<'a> {
    pub options: MaskOptions,
    pub base_header_sha256: String,
    pub base_sha256: String,
    /// Names and elements.
    pub tensors: Vec<(&'a str, usize)>,
}

/// A file at its full size from the beginning, that takes its name when it is whole.
pub struct MaskFile {
    partial: PathBuf,
    out: PathBuf,
    file: File,
    /// Where each tensor's bytes begin.
    starts: Vec<u64>,
}

impl MaskFile {
    /// # Errors
    /// `Io`.
    pub fn create(out: &Path, header: &MaskHeader<'_>) -> Result<Self, MergeError> {
        let Some(name) = out.file_name() else {
            let problem = "is no name for a file".to_owned();
            return Err(MergeError::Output { path: out.to_owned(), problem });
        };
        let partial = out.with_file_name(format!("{}.partial", name.to_string_lossy()));
        let (text, mut starts, bytes) = layout(header);
        for start in &mut starts {
            *start += text.len() as u64;
        }
        if let Some(parent) = out.parent() {
            fs::create_dir_all(parent).map_err(failed(parent, "create it"))?;
        }
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(&partial);
        let file = file.map_err(failed(&partial, "write it"))?;
        reserve(&file, text.len() as u64 + bytes).map_err(failed(&partial, "make room for it"))?;
        file.write_all_at(&text, 0).map_err(failed(&partial, "write it"))?;
        Ok(Self { partial, out: out.to_owned(), file, starts })
    }

    /// Write bytes of a tensor, from one of its bytes on.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, tensor: usize, start: u64, bits: &[u8]) -> Result<(), MergeError> {
        let at = self.starts[tensor] + start;
        self.file.write_all_at(bits, at).map_err(failed(&self.partial, "write it"))
    }

    /// # Errors
    /// `Io`.
    pub fn finish(self) -> Result<(), MergeError> {
        self.file.sync_all().map_err(failed(&self.partial, "write it"))?;
        fs::rename(&self.partial, &self.out).map_err(failed(&self.out, "put the finished file there"))
    }
}

/// The file's beginning, where each tensor's bytes start after it, and their sum.
fn layout(header: &MaskHeader<'_>) -> (Vec<u8>, Vec<u64>, u64) {
    let mut entries = Map::new();
    let MaskOptions { neurons, density, cap } = header.options;
    entries.insert(
        "__metadata__".into(),
        json!({
            "format": NEURON_MASK_FORMAT,
            "neurons": neurons.name(),
            "density": density.to_string(),
            "cap": cap.to_string(),
            "base_header_sha256": header.base_header_sha256,
            "base_sha256": header.base_sha256,
        }),
    );
    let (mut starts, mut end) = (Vec::new(), 0);
    for (name, elements) in &header.tensors {
        let bytes = elements.div_ceil(8) as u64;
        starts.push(end);
        let entry = json!({ "dtype": "U8", "shape": [bytes], "data_offsets": [end, end + bytes] });
        entries.insert((*name).to_owned(), entry);
        end += bytes;
    }
    let mut text = Value::Object(entries).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.into_bytes());
    (bytes, starts, end)
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> MergeError {
    let path = path.to_owned();
    move |source| MergeError::Io { path, action, source }
}
