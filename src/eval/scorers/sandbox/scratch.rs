//! A folder of one run: the program, its input and what it printed. Removed when the run is over.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::SandboxError;

pub(super) struct Scratch {
    folder: PathBuf,
}

static COUNT: AtomicU64 = AtomicU64::new(0);

impl Scratch {
    pub fn create(name: &str) -> Result<Self, SandboxError> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("xenoglot-{}-{number}-{name}", std::process::id()));
        // Fails on what is there already, so nobody can have prepared it. Others may enter: programs run as nobody.
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&folder)
            .map_err(|error| SandboxError::io(&format!("create {}", folder.display()), &error))?;
        Ok(Self { folder })
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Write a file that others can read, and give it opened anew.
    pub fn file(&self, name: &str, content: &[u8]) -> Result<File, SandboxError> {
        let path = self.folder.join(name);
        let written = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path);
        written
            .and_then(|mut file| std::io::Write::write_all(&mut file, content))
            .and_then(|()| OpenOptions::new().read(true).write(true).open(&path))
            .map_err(|error| SandboxError::io(&format!("write {}", path.display()), &error))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing is lost with a folder that stays, and nobody could do anything about it here.
        drop(fs::remove_dir_all(&self.folder));
    }
}
