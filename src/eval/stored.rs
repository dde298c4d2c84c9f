//! A run that is on disk, to be read and never changed: what it was, and its samples one after the other.
//!
//! Completions are long and there may be millions: nothing here holds more than one line. A run that is still being
//! written can be read; a last line that is not whole is not there yet.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::error::EvalError;
use super::record::RunFile;

/// A run's directory.
#[derive(Debug, Clone)]
pub struct StoredRun {
    pub directory: PathBuf,
    pub file: RunFile,
}

/// A directory that should hold a run, and the run.
pub type RunPlace = (PathBuf, Result<StoredRun, EvalError>);

impl StoredRun {
    /// # Errors
    /// `NotARun` where there is no run.json; `BadRecord` where it cannot be read.
    pub fn open(directory: &Path) -> Result<Self, EvalError> {
        let path = directory.join("run.json");
        let text = std::fs::read(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                EvalError::NotARun { directory: directory.to_owned() }
            }
            _ => EvalError::Io { path: path.clone(), source },
        })?;
        let file = serde_json::from_slice(&text).map_err(|error| EvalError::BadRecord {
            path,
            line: error.line(),
            message: error.to_string(),
        })?;
        Ok(Self { directory: directory.to_owned(), file })
    }

    /// All runs directly below a folder, by name; a folder that is a run itself is the only one.
    ///
    /// # Errors
    /// `Io`, if the folder cannot be read. What cannot be read of a run is in its place in the list.
    pub fn below(folder: &Path) -> Result<Vec<RunPlace>, EvalError> {
        let is_run = |path: &Path| path.join("run.json").is_file();
        let mut paths: Vec<PathBuf> = if is_run(folder) {
            vec![folder.to_owned()]
        } else {
            let entries = std::fs::read_dir(folder).map_err(EvalError::io(folder))?;
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_run(path)).collect()
        };
        paths.sort();
        Ok(paths.into_iter().map(|path| (path.clone(), Self::open(&path))).collect())
    }

    /// Every whole line of samples.jsonl, as much of it as `T` has fields for.
    ///
    /// # Errors
    /// `Io`, if the file cannot be opened; each item may be `BadRecord`.
    pub fn samples<T: DeserializeOwned>(&self) -> Result<Samples<T>, EvalError> {
        let path = self.directory.join("samples.jsonl");
        let file = File::open(&path).map_err(EvalError::io(&path))?;
        let reader = BufReader::with_capacity(1 << 18, file);
        Ok(Samples { path, reader, line: Vec::new(), number: 0, offset: 0, of: PhantomData })
    }
}

/// Samples in the order of their file.
pub struct Samples<T> {
    path: PathBuf,
    reader: BufReader<File>,
    line: Vec<u8>,
    number: usize,
    offset: u64,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Samples<T> {
    /// Where the next line begins; `read_at` goes back to it.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The sample whose line begins at `offset`.
    pub fn read_at(&mut self, offset: u64) -> Result<Option<T>, EvalError> {
        self.reader.seek(SeekFrom::Start(offset)).map_err(EvalError::io(&self.path))?;
        self.offset = offset;
        self.next().transpose()
    }

    /// The line of the sample that came last, its end included.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// Whether there is another whole line.
    fn advance(&mut self) -> Result<bool, EvalError> {
        self.line.clear();
        let length = self.reader.read_until(b'\n', &mut self.line).map_err(EvalError::io(&self.path))?;
        self.number += 1;
        self.offset += length as u64;
        Ok(self.line.last() == Some(&b'\n'))
    }
}

impl<T: DeserializeOwned> Iterator for Samples<T> {
    type Item = Result<T, EvalError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Err(error) => return Some(Err(error)),
            Ok(false) => return None,
            Ok(true) => {}
        }
        let parsed = serde_json::from_slice(&self.line);
        Some(parsed.map_err(|error| EvalError::BadRecord {
            path: self.path.clone(),
            line: self.number,
            message: error.to_string(),
        }))
    }
}
