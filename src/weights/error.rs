//! What can be wrong with a checkpoint, one variant for each thing its owner can do something about.

use std::path::PathBuf;

/// An error of a checkpoint on disk. The message names the file, the tensor or key, and the way out.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The path is not something a model can be read from.
    #[error("{}: {problem}", path.display())]
    NotACheckpoint { path: PathBuf, problem: String },
    /// The operating system refused to read or write.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io { path: PathBuf, action: &'static str, source: std::io::Error },
    /// The file ends before its own header says it does.
    #[error("{}: truncated: {what} needs {needs} bytes, the file has {has}; download it again", path.display())]
    Truncated { path: PathBuf, what: String, needs: u64, has: u64 },
    /// The file contradicts its own format.
    #[error("{}: {problem}; the file is damaged or not what its name says, download it again", path.display())]
    Corrupt { path: PathBuf, problem: String },
    /// A JSON file that does not parse, or a value of the wrong kind in one.
    #[error("{}: {problem}", path.display())]
    Json { path: PathBuf, problem: String },
    /// A tensor the model asks for is not in the checkpoint.
    #[error("{}: tensor `{name}` is missing; the checkpoint is of another architecture or incomplete", path.display())]
    MissingTensor { path: PathBuf, name: String },
    /// A tensor of a type that is read nowhere.
    #[error("{}: tensor `{name}` has type {dtype}, which is not supported; {supported} are", path.display())]
    UnsupportedType { path: PathBuf, name: String, dtype: String, supported: &'static str },
    /// A GGUF file of an architecture without a translator.
    #[error("{}: architecture `{architecture}` is not supported in GGUF files; supported are {supported}", path.display())]
    UnsupportedArchitecture { path: PathBuf, architecture: String, supported: String },
    /// A GGUF metadata key that is missing, of the wrong type or out of range.
    #[error("{}: metadata `{key}` {problem}", path.display())]
    Metadata { path: PathBuf, key: String, problem: String },
    /// A tokenizer that cannot be built, or a text or id it cannot take.
    #[error("{}: tokenizer: {problem}", path.display())]
    Tokenizer { path: PathBuf, problem: String },
    /// The target of a conversion is already there.
    #[error("{}: exists and is not an empty directory; name another target or remove it first", path.display())]
    TargetExists { path: PathBuf },
}
