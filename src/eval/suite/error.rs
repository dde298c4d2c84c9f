//! What can be wrong with a suite: always the file, where it helps the line and the field.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    #[error(
        "no suite {name:?} in {places} or built in; known: {known}. A folder with a suite.toml can be given by its path"
    )]
    NotFound { name: String, places: String, known: String },
    #[error(
        "{folder} holds no suite.toml. A suite is a folder with a suite.toml and the .jsonl files of problems that it \
         names, as docs/formats.md says. Suites given by name (shipped ones are built in, and lie in eval-suites of \
         the sources): {known}"
    )]
    NoManifest { folder: PathBuf, known: String },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{file} is larger than {limit_bytes} bytes")]
    TooLarge { file: String, limit_bytes: usize },
    #[error("{file} is not UTF-8")]
    NotUtf8 { file: String },
    #[error("{file}: {message}")]
    Toml { file: String, message: String },
    #[error("{file}: {key}: {message}")]
    Manifest { file: String, key: String, message: String },
    #[error("{file}: unknown key {key:?}{hint}")]
    UnknownKey { file: String, key: String, hint: String },
    #[error("{file}, line {line}: {field}: {message}")]
    Line { file: String, line: usize, field: String, message: String },
    #[error("{file}, row {row}: {field}: {message}")]
    Row { file: String, row: usize, field: String, message: String },
    /// A source's file as a whole.
    #[error("{file}: {field}: {message}")]
    Data { file: String, field: String, message: String },
    /// Data by reference that is not on this machine; the message says how to get it.
    #[error("suite {suite}: {message}")]
    DataMissing { suite: String, message: String },
    #[error("{name:?} is no preset{hint}")]
    UnknownPreset { name: String, hint: String },
    #[error("{name:?} is no shared set of prompts{hint}")]
    UnknownPrompts { name: String, hint: String },
    #[error("{name:?} is no variant of the prompts of suite {suite}{hint}")]
    UnknownVariant { suite: String, name: String, hint: String },
    #[error(
        "n is {n}, and the suite or the preset reports pass@{k}, which needs {k} samples or more: raise n, or say \
         which pass@k are wanted (--k)"
    )]
    TooFewSamples { n: u32, k: u32 },
    #[error(
        "{file} has sha256 {found}, but suite.toml says {expected}: get the file again, or correct suite.toml"
    )]
    Digest { file: String, found: String, expected: String },
    #[error("{file} is empty: get the file again")]
    EmptyData { file: String },
}

/// `; did you mean "x"?`, if a known name is near.
pub(super) fn hint(key: &str, known: &[&str]) -> String {
    match crate::protocol::nearest::nearest(key, known.iter().copied()) {
        _ if known.is_empty() => String::new(),
        Some(near) => format!("; did you mean {near:?}?"),
        None => format!("; known: {}", known.join(", ")),
    }
}
