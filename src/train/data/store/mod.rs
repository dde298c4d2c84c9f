//! Token stores: a training's data as a folder of flat files, written once and mapped for reading.
//!
//! | file | content, little-endian |
//! |---|---|
//! | `tokens.u32` | the ids of all examples, end to end |
//! | `trained.bits` | a bit a token, the first in the lowest bit of the first byte |
//! | `offsets.u64` | where each example begins, and the end |
//! | `tags.u8` | a number an example, into the header's `tags` (languages) |
//! | `header.json` | the counts, and a digest of all that the tokens were made of |
//!
//! A store is made beside its name and renamed when it is whole. It is read again without being made again while its digest is
//! the same, so a resumed training sees the same tokens, whatever day its template wrote into them.

mod header;
mod view;
mod writer;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use memmap2::Mmap;

pub use header::{Counts, Header};
pub use view::ExampleView;
pub(super) use writer::StoreWriter;
pub use writer::TooLong;

use super::DataError;

const HEADER: &str = "header.json";
const TOKENS: &str = "tokens.u32";
const TRAINED: &str = "trained.bits";
const OFFSETS: &str = "offsets.u64";
const TAGS: &str = "tags.u8";

/// A mapped store of at least one example.
#[derive(Debug)]
pub struct TokenStore {
    folder: PathBuf,
    header: Header,
    tokens: Mmap,
    trained: Mmap,
    offsets: Mmap,
    tags: Mmap,
}

impl TokenStore {
    /// # Errors
    /// `Io`, `Store` for files that do not belong together.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        let header = Header::read(folder)?;
        let Counts { examples, tokens, .. } = header.counts;
        let size = |count: u64, bytes: u64| count.saturating_mul(bytes);
        let store = Self {
            tokens: map(folder, TOKENS, size(tokens, 4))?,
            trained: map(folder, TRAINED, tokens.div_ceil(8))?,
            offsets: map(folder, OFFSETS, size(examples.saturating_add(1), 8))?,
            tags: map(folder, TAGS, examples)?,
            folder: folder.to_owned(),
            header,
        };
        store.check()?;
        Ok(store)
    }

    /// The store in a folder if it is one of this digest. Another one's is no error, a damaged one is.
    pub(super) fn reuse(folder: &Path, digest: &str) -> Result<Option<Self>, DataError> {
        if !folder.join(HEADER).is_file() {
            return Ok(None);
        }
        if Header::read(folder)?.digest != digest {
            return Ok(None);
        }
        Self::open(folder).map(Some)
    }

    pub fn len(&self) -> usize {
        self.header.counts.examples as usize
    }

    /// Never: what would be empty is an error when it is made.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// One example.
    ///
    /// # Panics
    /// Beyond the last one.
    pub fn example(&self, index: usize) -> ExampleView<'_> {
        let (start, end) = (self.offsets()[index] as usize, self.offsets()[index + 1] as usize);
        ExampleView { ids: &self.ids()[start..end], bits: &self.trained, start, tag: self.tag(index) }
    }

    /// Tokens of each example.
    pub fn lengths(&self) -> Vec<u32> {
        self.offsets().windows(2).map(|pair| (pair[1] - pair[0]) as u32).collect()
    }

    /// What an example is marked with, such as its language; empty if nothing is known.
    pub fn tag(&self, index: usize) -> &str {
        self.header.tags.get(usize::from(self.tags[index])).map_or("", String::as_str)
    }

    fn ids(&self) -> &[u32] {
        words(&self.tokens)
    }

    fn offsets(&self) -> &[u64] {
        words(&self.offsets)
    }

    fn check(&self) -> Result<(), DataError> {
        let offsets = self.offsets();
        let ascend =
            offsets.windows(2).all(|pair| pair[0] <= pair[1] && u32::try_from(pair[1] - pair[0]).is_ok());
        let tags = self.tags.iter().all(|tag| usize::from(*tag) < self.header.tags.len());
        if ascend && tags && offsets.first() == Some(&0) && offsets.last() == Some(&self.header.counts.tokens)
        {
            return Ok(());
        }
        Err(damaged(&self.folder, "its offsets or tags contradict its header"))
    }
}

fn damaged(folder: &Path, problem: &str) -> DataError {
    DataError::store(folder, format!("{problem}; remove the folder, it is made again from the data"))
}

fn map(folder: &Path, name: &str, bytes: u64) -> Result<Mmap, DataError> {
    let path = folder.join(name);
    let file = File::open(&path).map_err(DataError::io(&path, "open it"))?;
    let has = file.metadata().map_err(DataError::io(&path, "read its size"))?.len();
    if has != bytes || bytes == 0 {
        return Err(damaged(folder, &format!("{name} has {has} bytes, the header says {bytes}")));
    }
    // SAFETY: the map is read-only; a store is written under another name and never changed after it has its own.
    unsafe { Mmap::map(&file) }.map_err(DataError::io(&path, "map it into memory"))
}

#[cfg(target_endian = "big")]
compile_error!("token stores are read in place and little-endian");

/// A mapped file as numbers. Its size is a multiple of theirs, as `map` has checked.
fn words<T: Word>(bytes: &[u8]) -> &[T] {
    // SAFETY: every bit pattern is a `Word`; a map begins at a page, so nothing is cut off for alignment.
    unsafe { bytes.align_to::<T>() }.1
}

/// # Safety
/// Every bit pattern is a value.
unsafe trait Word {}
// SAFETY: integers have no other bit patterns.
unsafe impl Word for u32 {}
// SAFETY: as above.
unsafe impl Word for u64 {}

/// Puts a whole folder into the place of another store, or of nothing.
pub(super) fn replace(partial: &Path, folder: &Path) -> Result<(), DataError> {
    check_place(folder)?;
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(DataError::io(folder, "remove the store of other data"))?;
    }
    fs::rename(partial, folder).map_err(DataError::io(folder, "put the finished store there"))
}

/// Only a store, or an empty folder, is ever written over.
pub(super) fn check_place(folder: &Path) -> Result<(), DataError> {
    if !folder.exists() || folder.join(HEADER).is_file() {
        return Ok(());
    }
    let mut entries = fs::read_dir(folder).map_err(DataError::io(folder, "list it"))?;
    if entries.next().is_none() {
        return Ok(());
    }
    Err(DataError::store(folder, "exists and is no token store: name another folder"))
}

#[cfg(test)]
mod tests;
