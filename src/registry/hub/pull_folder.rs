//! Where a repository's files lie while they are pulled: `.hub/models--org--name` in the models directory, as
//! hf-hub lays it out. One process at a time holds it; other repositories are not its business.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hf_hub::Repo;

use super::{HubError, HubName};

/// A repository's folder, held until it is dropped or the process ends.
pub(super) struct PullFolder {
    /// The cache directory of hf-hub, which repositories share.
    pub hub: PathBuf,
    pub folder: PathBuf,
    _lock: File,
}

impl PullFolder {
    /// # Errors
    /// `Busy` if another pull holds it.
    pub fn hold(name: &HubName, models_dir: &Path) -> Result<Self, HubError> {
        let hub = models_dir.join(".hub");
        let folder = hub.join(Repo::model(name.repository.clone()).folder_name());
        let path = folder.join("lock");
        let io = |source| HubError::Io { path: path.clone(), source };
        std::fs::create_dir_all(&folder).map_err(io)?;
        let lock = File::create(&path).map_err(io)?;
        let is_held = match lock.try_lock() {
            // Whoever held it before may have removed the folder since, and this lock with it.
            Ok(()) => is_at(&lock, &path).map_err(io)?,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(source)) => return Err(io(source)),
        };
        if is_held {
            Ok(Self { hub, folder, _lock: lock })
        } else {
            Err(HubError::Busy { repository: name.repository.clone(), path })
        }
    }

    /// Of a pull that ended before its first file began there is nothing to go on from.
    pub fn remove_if_empty(&self) {
        if !self.folder.join("blobs").exists() {
            self.remove();
        }
    }

    /// Removes the folder, and the shared one if no other repository is left in it.
    pub fn remove(&self) {
        // What is left are the hub's own records of files that have been moved away; nothing reads them.
        let _ = std::fs::remove_dir_all(&self.folder);
        let _ = std::fs::remove_dir(&self.hub);
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match path.metadata() {
        Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
