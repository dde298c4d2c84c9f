//! A read-only memory map of a checkpoint file.

use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::WeightsError;

/// A file mapped into memory, with its path for error messages.
#[derive(Debug)]
pub struct MappedFile {
    pub path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    /// Maps `path`. An empty file is an error, because no checkpoint format allows one.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let io = |action| move |source| WeightsError::Io { path: path.to_owned(), action, source };
        let file = File::open(path).map_err(io("open it"))?;
        let length = file.metadata().map_err(io("read its size"))?.len();
        if length == 0 {
            return Err(WeightsError::Truncated {
                path: path.to_owned(),
                what: "the header".into(),
                needs: 8,
                has: 0,
            });
        }
        // SAFETY: the map is read-only and private to this process. Another process that truncates the file while
        // it is served would end this one with SIGBUS, as with every inference server that maps its weights; a
        // conversion or download never writes into a file in place (temporary name, then rename).
        let map = unsafe { Mmap::map(&file) }.map_err(io("map it into memory"))?;
        Ok(Self { path: path.to_owned(), map })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}
