//! A run's directory: run.json, samples.jsonl, and the lock that keeps a second run out.
//!
//! samples.jsonl only grows, a whole line a write. A process killed in the middle of one leaves a last line
//! without its end; it is cut off when the directory is opened again, and that sample is generated once more.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::error::EvalError;
use super::record::{RunFile, SampleRecord};

const RUN: &str = "run.json";
const SAMPLES: &str = "samples.jsonl";
const LOCK: &str = "lock";

/// An open run directory; dropping it releases the lock (and so does any death of the process).
pub(super) struct RunDirectory {
    path: PathBuf,
    samples: File,
    _lock: File,
}

impl RunDirectory {
    /// Open or create the directory for this run; `run` takes over what is recorded of it.
    ///
    /// # Errors
    /// `Locked`; `DifferentRun`, if a run with another configuration lives there.
    pub fn open(path: &Path, run: &mut RunFile) -> Result<Self, EvalError> {
        std::fs::create_dir_all(path).map_err(EvalError::io(path))?;
        let lock = lock(path)?;
        if let Some(recorded) = read_run(path)? {
            if let Some((field, recorded, asked)) = recorded.difference(run) {
                return Err(EvalError::DifferentRun { directory: path.to_owned(), field, recorded, asked });
            }
            run.started = recorded.started;
            run.finished = recorded.finished;
            run.complete = recorded.complete;
            run.results = recorded.results;
        } else if path.join(SAMPLES).exists() {
            return Err(EvalError::Io {
                path: path.join(RUN),
                source: std::io::Error::other(
                    "is missing, though there are samples: restore it, or use another directory",
                ),
            });
        }
        // Before there are samples: a kill in between must not leave samples that no run.json explains.
        write_run(path, run)?;
        let samples_path = path.join(SAMPLES);
        let samples = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(&samples_path)
            .map_err(EvalError::io(&samples_path))?;
        Ok(Self { path: path.to_owned(), samples, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every finished sample, in file order, through `take`; a torn last line is cut off.
    ///
    /// # Errors
    /// `BadRecord` with the line, for what cannot come from a kill: a broken line in the middle, a sample twice.
    pub fn recover(&mut self, mut take: impl FnMut(SampleRecord)) -> Result<(), EvalError> {
        let path = self.path.join(SAMPLES);
        let mut reader = BufReader::new(File::open(&path).map_err(EvalError::io(&path))?);
        let mut seen = HashMap::new();
        let (mut line, mut whole_bytes, mut number) = (Vec::new(), 0_u64, 0_usize);
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line).map_err(EvalError::io(&path))?;
            if length == 0 {
                return Ok(());
            }
            number += 1;
            let bad = |message: String| EvalError::BadRecord { path: path.clone(), line: number, message };
            if line.last() != Some(&b'\n') {
                self.samples.set_len(whole_bytes).map_err(EvalError::io(&path))?;
                tracing::warn!(path = %path.display(), line = number, "cut off a line that was not written whole");
                return Ok(());
            }
            whole_bytes += length as u64;
            let record: SampleRecord =
                serde_json::from_slice(&line).map_err(|error| bad(error.to_string()))?;
            let key = (record.problem.clone(), record.language, record.sample);
            if let Some(first) = seen.insert(key, number) {
                return Err(bad(format!("is the same sample as line {first}")));
            }
            take(record);
        }
    }

    /// Append one sample: one write of one whole line.
    pub fn append(&mut self, record: &SampleRecord) -> Result<(), EvalError> {
        let path = self.path.join(SAMPLES);
        let failed = |error: serde_json::Error| EvalError::Io { path: path.clone(), source: error.into() };
        let mut line = serde_json::to_vec(record).map_err(failed)?;
        line.push(b'\n');
        self.samples.write_all(&line).map_err(EvalError::io(&path))
    }

    pub fn write_run(&self, run: &RunFile) -> Result<(), EvalError> {
        write_run(&self.path, run)
    }
}

/// Replace run.json as a whole: at any moment there is an old one or a new one.
fn write_run(directory: &Path, run: &RunFile) -> Result<(), EvalError> {
    let path = directory.join(RUN);
    let temporary = directory.join("run.json.new");
    let failed = |error: serde_json::Error| EvalError::Io { path: path.clone(), source: error.into() };
    let mut text = serde_json::to_vec_pretty(run).map_err(failed)?;
    text.push(b'\n');
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)
    };
    write().map_err(EvalError::io(&path))
}

fn lock(directory: &Path) -> Result<File, EvalError> {
    let path = directory.join(LOCK);
    let file = File::create(&path).map_err(EvalError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EvalError::Locked { directory: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(EvalError::Io { path, source }),
    }
}

fn read_run(directory: &Path) -> Result<Option<RunFile>, EvalError> {
    let path = directory.join(RUN);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(EvalError::Io { path, source }),
    };
    let parsed = serde_json::from_slice(&text);
    parsed.map(Some).map_err(|error| EvalError::BadRecord {
        path,
        line: error.line(),
        message: error.to_string(),
    })
}
