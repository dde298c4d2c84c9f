//! A file that is there whole or not at all: written under another name, synced, and renamed at the end.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file that does not exist yet under its name; dropped without `persist`, it never will.
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    /// `None` once it is closed.
    file: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Begin a file; it replaces one that is there, when it is whole.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        let name = path.file_name().ok_or_else(|| std::io::Error::other("names no file"))?;
        // In the same folder, for a rename cannot cross file systems.
        let temporary = path.with_file_name(format!(".{}.{}.new", name.display(), std::process::id()));
        let file = Some(BufWriter::new(File::create(&temporary)?));
        Ok(Self { path: path.to_owned(), temporary, file })
    }

    pub fn persist(mut self) -> std::io::Result<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let outcome = file.flush().and_then(|()| file.get_ref().sync_all());
        let outcome = outcome.and_then(|()| std::fs::rename(&self.temporary, &self.path));
        if outcome.is_err() {
            let _ = std::fs::remove_file(&self.temporary);
        }
        outcome
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Ok(0),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Nobody is left to hear of a failure; the name says what it is.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let names = || std::fs::read_dir(folder.path()).unwrap().count();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(names(), 0, "nothing is left of it");
        std::fs::write(&path, "old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        file.persist().unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), names()), (b"new".to_vec(), 1));
        assert!(AtomicFile::create(&folder.path().join("missing/out")).is_err());
    }
}
