//! What a store says of itself.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{DataError, HEADER, damaged};

/// Changes with what the same data become.
const FORMAT: &str = "xenoglot-tokens-1";
/// A header is short; a longer one is none.
const BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    format: String,
    /// Of the files' contents, the options, the tokenizer and the template.
    pub digest: String,
    pub counts: Counts,
    /// By number; the first is of what is not marked.
    pub tags: Vec<String>,
}

/// What became of the data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    pub examples: u64,
    pub tokens: u64,
    pub trained_tokens: u64,
    /// Kept, but for their ends.
    pub truncated: u64,
    /// Left out because they were too long.
    pub dropped: u64,
    /// Left out because nothing of them is trained.
    pub untrained: u64,
    /// Pieces that long texts became, beyond the texts.
    pub split: u64,
    /// How often a corpus was begun again.
    pub repeated: u64,
}

impl Header {
    pub fn new(digest: String, counts: Counts, tags: Vec<String>) -> Self {
        Self { format: FORMAT.to_owned(), digest, counts, tags }
    }

    pub fn read(folder: &Path) -> Result<Self, DataError> {
        let path = folder.join(HEADER);
        let size = fs::metadata(&path).map_err(DataError::io(&path, "read it"))?.len();
        if size > BYTES_MAX {
            return Err(damaged(folder, "its header.json is too long to be one"));
        }
        let text = fs::read(&path).map_err(DataError::io(&path, "read it"))?;
        let header: Self = serde_json::from_slice(&text)
            .map_err(|error| damaged(folder, &format!("header.json is not a header: {error}")))?;
        if header.format != FORMAT {
            return Err(damaged(folder, &format!("its format is not {FORMAT}")));
        }
        Ok(header)
    }

    pub fn write(&self, folder: &Path) -> Result<(), DataError> {
        let path = folder.join(HEADER);
        let text = serde_json::to_string_pretty(self).expect("numbers and strings are JSON");
        fs::write(&path, text).map_err(DataError::io(&path, "write it"))
    }
}
