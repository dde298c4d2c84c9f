//! Which tensors of an unfinished output are written: a line each, in a file beside them.
//!
//! A killed process leaves what it wrote to the system, so that a line is true as soon as it is there. A machine that
//! stops does not: lines of an earlier start of the machine are not believed.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::error::MergeError;

pub const NAME: &str = "merge.journal";

pub struct Journal {
    path: PathBuf,
    file: File,
    done: HashSet<String>,
}

impl Journal {
    /// `identity` says what is merged, and behind a dash from which files: a journal of something else is an error.
    ///
    /// # Errors
    /// `Output` for a journal of another merge; `Io`.
    pub fn open(folder: &Path, identity: &str, resume: bool) -> Result<Self, MergeError> {
        let path = folder.join(NAME);
        let head = format!("{identity} {}", boot());
        let text = match fs::read_to_string(&path) {
            Ok(text) if resume => text,
            Ok(_) => String::new(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(io(&path, "read it", error)),
        };
        let mut done = HashSet::new();
        // A line that was cut short has no end.
        let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let mut keeps = false;
        if let Some(first) = lines.next() {
            let left = first.split(' ').next().unwrap_or_default();
            if left != identity {
                let problem = if what(left).is_some() && what(left) == what(identity) {
                    "was left by this merge of files that have changed since: run without --resume to begin anew"
                } else {
                    "was left by another merge: finish that one, or run without --resume to begin anew"
                };
                return Err(MergeError::Output { path: folder.to_owned(), problem: problem.to_owned() });
            }
            keeps = first == head;
            if keeps {
                done.extend(lines.map(str::to_owned));
            }
        }
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(!keeps).append(keeps);
        let mut file = if keeps {
            OpenOptions::new().append(true).open(&path)
        } else {
            OpenOptions::new().create(true).write(true).truncate(true).open(&path)
        }
        .map_err(|error| io(&path, "write it", error))?;
        if keeps {
            if !text.ends_with('\n') {
                file.write_all(b"\n").map_err(|error| io(&path, "write it", error))?;
            }
        } else {
            file.write_all(format!("{head}\n").as_bytes()).map_err(|error| io(&path, "write it", error))?;
        }
        Ok(Self { path, file, done })
    }

    pub fn has(&self, tensor: &str) -> bool {
        self.done.contains(tensor)
    }

    /// A tensor has to be written again.
    pub fn forget(&mut self, tensor: &str) {
        self.done.remove(tensor);
    }

    /// # Errors
    /// `Io`.
    pub fn add(&mut self, tensor: &str) -> Result<(), MergeError> {
        self.file
            .write_all(format!("{tensor}\n").as_bytes())
            .map_err(|error| io(&self.path, "write it", error))
    }

    /// # Errors
    /// `Io`.
    pub fn remove(self) -> Result<(), MergeError> {
        fs::remove_file(&self.path).map_err(|error| io(&self.path, "remove it", error))
    }
}

/// What is merged, whatever the files of the inputs are.
fn what(identity: &str) -> Option<&str> {
    identity.split_once('-').map(|(what, _)| what)
}

/// Tells one start of the machine from another, where the system says it.
fn boot() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    text.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn io(path: &Path, action: &'static str, source: std::io::Error) -> MergeError {
    MergeError::Io { path: path.to_owned(), action, source }
}
