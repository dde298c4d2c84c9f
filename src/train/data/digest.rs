//! The digest of all that tokens are made of: files by content, options by what they say.

use std::fmt::Debug;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256};

use super::DataError;

pub(super) struct Digest(Sha256);

impl Digest {
    pub fn new(purpose: &str) -> Self {
        let mut digest = Self(Sha256::new());
        digest.part(purpose.as_bytes());
        digest
    }

    /// Lengths keep ("a", "bc") and ("ab", "c") apart.
    fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    pub fn option(&mut self, name: &str, value: &impl Debug) {
        self.part(format!("{name}={value:?}").as_bytes());
    }

    /// The file's content and its kind, not its name.
    ///
    /// # Errors
    /// `Io`; `File` for one that is empty; `Interrupted`.
    pub fn file(&mut self, path: &Path, stop: &AtomicBool) -> Result<(), DataError> {
        let mut file = File::open(path).map_err(DataError::io(path, "open it"))?;
        let (mut hash, mut buffer, mut bytes) = (Sha256::new(), vec![0; 1 << 20], 0_u64);
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(DataError::Interrupted);
            }
            match file.read(&mut buffer).map_err(DataError::io(path, "read it"))? {
                0 => break,
                read => {
                    hash.update(&buffer[..read]);
                    bytes += read as u64;
                }
            }
        }
        if bytes == 0 {
            return Err(DataError::file(path, "is empty"));
        }
        self.option("extension", &path.extension());
        self.part(&hash.finalize());
        Ok(())
    }

    pub fn finish(self) -> String {
        format!("{:x}", self.0.finalize())
    }
}
