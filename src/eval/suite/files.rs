//! Where a suite's files come from: a folder, or the binary itself.

use std::path::{Path, PathBuf};

use super::embedded::EmbeddedSuite;
use super::error::SuiteError;

pub(super) enum Files {
    Folder(PathBuf),
    Embedded(&'static EmbeddedSuite),
}

/// A suite's file is read whole; more than this is no suite of problems.
const FILE_BYTES_MAX: usize = 256 << 20;

impl Files {
    /// How error messages call a file.
    pub fn describe(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(name).display().to_string(),
            Self::Embedded(suite) => format!("{}/{name} (built in)", suite.name),
        }
    }

    pub fn text(&self, name: &str) -> Result<String, SuiteError> {
        let bytes = match self {
            Self::Folder(folder) => read(&folder.join(name))?,
            Self::Embedded(suite) => match suite.files.iter().find(|(file, _)| *file == name) {
                Some((_, text)) => text.as_bytes().to_vec(),
                None => {
                    return Err(SuiteError::Io {
                        path: name.into(),
                        source: std::io::ErrorKind::NotFound.into(),
                    });
                }
            },
        };
        String::from_utf8(bytes).map_err(|_| SuiteError::NotUtf8 { file: self.describe(name) })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SuiteError> {
    let failed = |source| SuiteError::Io { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > FILE_BYTES_MAX as u64 {
        return Err(SuiteError::TooLarge { file: path.display().to_string(), limit_bytes: FILE_BYTES_MAX });
    }
    std::fs::read(path).map_err(|source| SuiteError::Io { path: path.to_owned(), source })
}
