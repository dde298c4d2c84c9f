//! Runs of a store, for the commands that look at runs that are there: read, and never changed.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use tokio::runtime::Runtime;

use super::run::classify;
use crate::cli::failure::Failure;
use crate::cli::start;
use crate::eval::{RunFile, StoredRun};
use crate::jobs::{JobError, copy_run, run_file};
use crate::store::{RunRow, Store, StoreError};

#[derive(Debug, Args)]
pub(super) struct StoreOption {
    /// Look in a store, where runs of the API are: sqlite:PATH or postgres://USER@HOST/DATABASE. A password is better set as
    /// PGPASSWORD
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

/// How the ids of runs in a store begin.
const RUN: &str = "evalrun_";

impl StoreOption {
    /// `None` where runs are directories.
    ///
    /// # Errors
    /// Of a store that cannot be opened; none is made.
    pub fn open(&self) -> anyhow::Result<Option<OpenStore>> {
        let Some(url) = &self.store else { return Ok(None) };
        let runtime = start::runtime()?;
        let store = runtime.block_on(Store::open_existing(url)).map_err(|error| match error {
            StoreError::Url { .. } => Failure::usage(error),
            error => Failure::new(error),
        })?;
        Ok(Some(OpenStore { runtime, store }))
    }
}

/// The run in a directory, for a command that was given no store.
///
/// # Errors
/// Where there is none, and what is wrong with it.
pub(super) fn directory(path: &Path) -> anyhow::Result<StoredRun> {
    if path.to_string_lossy().starts_with(RUN) && !path.exists() {
        let message = format!("there is no directory {}", path.display());
        return Err(Failure::new(message).hint("the id of a run in a store needs --store URL").into());
    }
    StoredRun::open(path).map_err(classify)
}

/// A store, and the runtime that asks it.
pub(super) struct OpenStore {
    runtime: Runtime,
    pub store: Store,
}

impl OpenStore {
    pub fn wait<T>(&self, asking: impl Future<Output = Result<T, JobError>>) -> anyhow::Result<T> {
        self.runtime.block_on(asking).map_err(classify_job)
    }

    /// A run by its id.
    ///
    /// # Errors
    /// Where there is none.
    pub fn run(&self, id: &Path) -> anyhow::Result<RunRow> {
        self.wait(async { Ok(self.store.run(&id.to_string_lossy()).await?) })
    }

    /// What a run's first worker wrote down, with the results once it is complete.
    ///
    /// # Errors
    /// For a run that no worker has begun.
    pub fn file(&self, run: &RunRow) -> anyhow::Result<RunFile> {
        self.wait(std::future::ready(run_file(run)))
    }

    /// A run as a directory, for what reads a run's files; it is gone with the value.
    pub fn copy(&self, run: &RunRow) -> anyhow::Result<Copied> {
        let path = std::env::temp_dir().join(format!("xenoglot-{}-{}", std::process::id(), run.id));
        // New, and nobody else's to read: the folder it is in is everybody's.
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("making {}", path.display()))?;
        let folder = Folder(path);
        let run = self.wait(copy_run(&self.store, run, &folder.0))?;
        Ok(Copied { run, _folder: folder })
    }
}

pub(super) struct Copied {
    pub run: StoredRun,
    _folder: Folder,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure; it lies where the system removes files by itself.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// As the same mistakes are told of runs in directories.
fn classify_job(error: JobError) -> anyhow::Error {
    match error {
        JobError::Eval(error) => classify(error),
        JobError::Store(error @ StoreError::NotFound { .. }) => {
            Failure::new(error).hint("`xenoglot eval list --store URL` shows the runs of a store").into()
        }
        error => error.into(),
    }
}
