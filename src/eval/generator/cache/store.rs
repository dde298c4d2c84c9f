//! The cache's files: one a completion, by digest, in 256 folders; the ones used longest ago go when it is full.
//!
//! A cache is allowed to forget: what cannot be read is not there, and what cannot be written is not kept, with one
//! warning. Several processes may share a folder; files appear whole, by renaming.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::eval::error::EvalError;
use crate::eval::generator::{Completion, Draw, Finish};

/// A folder of completions.
#[derive(Debug)]
pub struct CacheStore {
    folder: PathBuf,
    bytes_max: u64,
    /// What the files take, others' writes since the last look left out.
    bytes: AtomicU64,
    /// Held while files are deleted.
    evicting: Mutex<()>,
    warned: AtomicBool,
    written: AtomicU64,
}

/// A completion with the draw that made it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub draw: Draw,
    pub completion: Completion,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    /// The file's own name: a file that was moved or mixed up is not believed.
    key: String,
    seed: u64,
    choice: u32,
    finish: Finish,
    tokens: Option<u64>,
    #[serde(default)]
    thinking_tokens: Option<u64>,
    completion: String,
}

/// How much is left after an eviction, so that the next one is not due at once.
const KEPT: f64 = 0.9;

impl CacheStore {
    /// Open or create a folder that may take so many bytes.
    ///
    /// # Errors
    /// `Io`, if it can be neither read nor created.
    pub fn open(folder: &Path, bytes_max: u64) -> Result<Self, EvalError> {
        std::fs::create_dir_all(folder).map_err(EvalError::io(folder))?;
        let store = Self {
            folder: folder.to_owned(),
            bytes_max,
            bytes: AtomicU64::new(0),
            evicting: Mutex::default(),
            warned: AtomicBool::new(false),
            written: AtomicU64::new(0),
        };
        let files = store.files().map_err(EvalError::io(folder))?;
        store.bytes.store(files.iter().map(|file| file.bytes).sum(), Ordering::Relaxed);
        Ok(store)
    }

    pub(super) fn get(&self, digest: &str) -> Option<Entry> {
        let path = self.path(digest);
        let text = std::fs::read(&path).ok()?;
        let stored: Stored =
            serde_json::from_slice(&text).ok().filter(|stored: &Stored| stored.key == digest)?;
        // Used now. Where the time cannot be set, eviction only goes by when it was written.
        let _ =
            File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        let Stored { seed, choice, finish, tokens, thinking_tokens, completion: text, .. } = stored;
        let completion = Completion { text, finish, tokens, thinking_tokens };
        Some(Entry { draw: Draw { seed, choice }, completion })
    }

    pub(super) fn put(&self, digest: &str, entry: &Entry) {
        let Entry { draw, completion } = entry;
        let stored = Stored {
            key: digest.to_owned(),
            seed: draw.seed,
            choice: draw.choice,
            finish: completion.finish,
            tokens: completion.tokens,
            thinking_tokens: completion.thinking_tokens,
            completion: completion.text.clone(),
        };
        match self.write(digest, &stored) {
            Ok(bytes) => {
                let total = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
                if total > self.bytes_max {
                    self.evict();
                }
            }
            Err(error) => {
                if !self.warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(folder = %self.folder.display(), %error, "the cache cannot be written");
                }
            }
        }
    }

    fn write(&self, digest: &str, stored: &Stored) -> std::io::Result<u64> {
        let path = self.path(digest);
        let text = serde_json::to_vec(stored)?;
        // Unlike a result, an entry is not synced: one that a power failure empties is not believed.
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!("new-{}-{number}", std::process::id()));
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let written = std::fs::write(&temporary, &text).and_then(|()| std::fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written.map(|()| text.len() as u64)
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(digest.get(..2).unwrap_or("00")).join(format!("{digest}.json"))
    }

    /// Delete what was used longest ago.
    fn evict(&self) {
        // One at a time; whoever comes meanwhile finds room.
        let Ok(_guard) = self.evicting.try_lock() else { return };
        let Ok(mut files) = self.files() else { return };
        files.sort_by_key(|file| file.used);
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        let wanted = (self.bytes_max as f64 * KEPT) as u64;
        for file in files {
            if total <= wanted {
                break;
            }
            if std::fs::remove_file(&file.path).is_ok() {
                total -= file.bytes;
            }
        }
        self.bytes.store(total, Ordering::Relaxed);
    }

    fn files(&self) -> std::io::Result<Vec<CacheFile>> {
        let mut files = Vec::new();
        for folder in std::fs::read_dir(&self.folder)?.filter_map(Result::ok) {
            // Files of its own; whatever else lies here is not touched.
            let Ok(entries) = std::fs::read_dir(folder.path()) else { continue };
            files.extend(entries.filter_map(|entry| CacheFile::of(&entry.ok()?)));
        }
        Ok(files)
    }
}

struct CacheFile {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

impl CacheFile {
    fn of(entry: &std::fs::DirEntry) -> Option<Self> {
        let name = entry.file_name();
        let digest = name.to_str()?.strip_suffix(".json")?;
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        let metadata = entry.metadata().ok().filter(|_| is_digest)?;
        Some(Self { path: entry.path(), bytes: metadata.len(), used: metadata.modified().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn digest(number: u64) -> String {
        format!("{number:064x}")
    }

    fn entry(number: u64) -> Entry {
        let completion = Completion {
            text: format!("{number} äß"),
            finish: Finish::Length,
            tokens: Some(number),
            thinking_tokens: Some(number / 2),
        };
        Entry { draw: Draw { seed: u64::MAX - number, choice: 3 }, completion }
    }

    #[test]
    fn entries_come_back_and_broken_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = CacheStore::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(store.get(&digest(1)), None);
        store.put(&digest(1), &entry(1));
        store.put(&digest(2), &entry(2));
        let again = CacheStore::open(folder.path(), 1 << 20).unwrap();
        assert_eq!((again.get(&digest(1)), again.get(&digest(2))), (Some(entry(1)), Some(entry(2))));
        std::fs::copy(store.path(&digest(1)), store.path(&digest(2))).unwrap();
        std::fs::write(store.path(&digest(1)), "").unwrap();
        assert_eq!((again.get(&digest(1)), again.get(&digest(2))), (None, None));
        assert!(CacheStore::open(&store.path(&digest(1)), 1).is_err(), "a file is no folder");
    }

    #[test]
    fn the_ones_used_longest_ago_go() {
        let folder = tempfile::tempdir().unwrap();
        let store = CacheStore::open(folder.path(), u64::MAX).unwrap();
        std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        for number in 0..20 {
            store.put(&digest(number), &entry(number));
            let past = SystemTime::now() - Duration::from_secs(1_000 - number);
            File::options()
                .append(true)
                .open(store.path(&digest(number)))
                .unwrap()
                .set_modified(past)
                .unwrap();
        }
        assert!(store.get(&digest(0)).is_some(), "used now");
        let bytes = store.bytes.load(Ordering::Relaxed);
        let store = CacheStore::open(folder.path(), bytes).unwrap();
        store.put(&digest(20), &entry(20));
        let left: Vec<u64> = (0..=20).filter(|number| store.path(&digest(*number)).exists()).collect();
        assert!(left.contains(&0) && left.contains(&20) && !left.contains(&1), "{left:?}");
        assert!(left[1..].windows(2).all(|pair| pair[1] == pair[0] + 1), "the oldest went: {left:?}");
        let total = store.bytes.load(Ordering::Relaxed);
        let on_disk: u64 = store.files().unwrap().iter().map(|file| file.bytes).sum();
        assert!(total == on_disk && total as f64 <= bytes as f64 * KEPT, "{total} of {bytes}");
        assert!(folder.path().join("notes.txt").exists());
    }
}
