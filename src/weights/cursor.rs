//! Reads little-endian values off the front of a file's header, never past its end.

use std::path::Path;

use crate::weights::WeightsError;

/// A position in the bytes of a file.
pub struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(path: &'a Path, bytes: &'a [u8]) -> Self {
        Self { path, bytes, position: 0 }
    }

    pub fn path(&self) -> &'a Path {
        self.path
    }

    pub fn position(&self) -> usize {
        self.position
    }

    pub fn remaining(&self) -> u64 {
        (self.bytes.len() - self.position) as u64
    }

    /// The next `length` bytes; `what` is named when the file ends first.
    pub fn take(&mut self, length: u64, what: &str) -> Result<&'a [u8], WeightsError> {
        if length > self.remaining() {
            let needs = (self.position as u64).saturating_add(length);
            let has = self.bytes.len() as u64;
            return Err(WeightsError::Truncated {
                path: self.path.to_owned(),
                what: what.to_owned(),
                needs,
                has,
            });
        }
        let start = self.position;
        self.position += length as usize;
        Ok(&self.bytes[start..self.position])
    }

    pub fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], WeightsError> {
        let bytes = self.take(N as u64, what)?;
        Ok(bytes.try_into().expect("`take` returned N bytes"))
    }

    pub fn u32(&mut self, what: &str) -> Result<u32, WeightsError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &str) -> Result<u64, WeightsError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A length of eight bytes and as many bytes of UTF-8.
    pub fn string(&mut self, what: &str) -> Result<&'a str, WeightsError> {
        let length = self.u64(what)?;
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map_err(|_| self.corrupt(format!("{what} is not UTF-8 text")))
    }

    pub fn corrupt(&self, problem: String) -> WeightsError {
        WeightsError::Corrupt { path: self.path.to_owned(), problem }
    }
}
