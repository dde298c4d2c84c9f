//! Where a suite's files come from: a folder, or the binary itself.

use std::path::{Path, PathBuf};

use super::embedded::{self, EmbeddedSuite};
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

/// The text of a shared set of prompts, and how messages call its file: looked for beside the suites, then among those
/// built in.
pub(super) fn prompts(name: &str) -> Result<(String, String), SuiteError> {
    let file = format!("prompts/{name}.toml");
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let mut found = super::search_folders().into_iter().map(|folder| folder.join(&file));
    if let Some(path) = found.find(|path| plain && path.is_file()) {
        let describe = path.display().to_string();
        let text = String::from_utf8(read(&path)?);
        return Ok((text.map_err(|_| SuiteError::NotUtf8 { file: describe.clone() })?, describe));
    }
    match embedded::prompts(name) {
        Some(text) => Ok((text.to_owned(), format!("{file} (built in)"))),
        None => Err(SuiteError::UnknownPrompts {
            name: name.to_owned(),
            hint: super::error::hint(name, &embedded::prompt_names()),
        }),
    }
}
