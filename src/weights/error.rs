//! What can be wrong with a checkpoint, one variant for each thing its owner can do something about.

use std::path::PathBuf;

use super::printable;

/// An error of a checkpoint on disk. The message names the file, the tensor or key, and the way out;
/// what comes from inside the file is printed escaped and clipped, for it may be anything.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The path is not something a model can be read from.
    #[error("{}: {}", path.display(), printable(problem))]
    NotACheckpoint { path: PathBuf, problem: String },
    /// The operating system refused to read or write.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io { path: PathBuf, action: &'static str, source: std::io::Error },
    /// The file ends before its own header says it does.
    #[error("{}: truncated: {} needs {needs} bytes, the file has {has}; download it again", path.display(), printable(what))]
    Truncated { path: PathBuf, what: String, needs: u64, has: u64 },
    /// The file contradicts its own format.
    #[error("{}: {}; the file is damaged or not what its name says, download it again", path.display(), printable(problem))]
    Corrupt { path: PathBuf, problem: String },
    /// A JSON file that does not parse, or a value of the wrong kind in one.
    #[error("{}: {}", path.display(), printable(problem))]
    Json { path: PathBuf, problem: String },
    /// A tensor the model asks for is not in the checkpoint.
    #[error("{}: tensor `{}` is missing; the checkpoint is of another architecture or incomplete", path.display(), printable(name))]
    MissingTensor { path: PathBuf, name: String },
    /// A tensor of a type that is read nowhere.
    #[error("{}: tensor `{}` has type {}, which is not supported; {supported} are", path.display(), printable(name), printable(dtype))]
    UnsupportedType { path: PathBuf, name: String, dtype: String, supported: &'static str },
    /// A PyTorch file whose pickle names code. PyTorch would import and call it; here nothing is called.
    #[error("{}: {} asks for `{}`, which would run code on loading, so the file is refused; get the model as safetensors, or save its tensors alone: torch.save(model.state_dict(), file)", path.display(), printable(place), printable(global))]
    PickledCode { path: PathBuf, place: String, global: String },
    /// A GGUF file of an architecture without a translator.
    #[error("{}: architecture `{}` (metadata `general.architecture`) is not supported in GGUF files; supported are {supported}; other families are served from their Hugging Face directories", path.display(), printable(architecture))]
    UnsupportedArchitecture { path: PathBuf, architecture: String, supported: String },
    /// A GGUF metadata key that is missing, of the wrong type or out of range.
    #[error("{}: metadata `{}` {}", path.display(), printable(key), printable(problem))]
    Metadata { path: PathBuf, key: String, problem: String },
    /// A tokenizer that cannot be built, or a text or id it cannot take.
    #[error("{}: tokenizer: {}", path.display(), printable(problem))]
    Tokenizer { path: PathBuf, problem: String },
    /// A neuron mask that cannot be used, or not with these weights.
    #[error("{}: {}; make the mask again with `xenoglot maet mask`", path.display(), printable(problem))]
    NeuronMask { path: PathBuf, problem: String },
    /// The target of a conversion is already there.
    #[error("{}: exists and is not an empty directory; name another target or remove it first", path.display())]
    TargetExists { path: PathBuf },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_is_escaped_and_clipped() {
        let check = |text: &str, expected: &str| {
            let path = PathBuf::from("x.gguf");
            let (name, key) = (text.to_owned(), text.to_owned());
            let problem = text.to_owned();
            for error in [
                WeightsError::MissingTensor { path: path.clone(), name },
                WeightsError::Metadata { path: path.clone(), key, problem: String::new() },
                WeightsError::Corrupt { path, problem },
            ] {
                let message = error.to_string();
                assert!(message.contains(expected) && !message.contains(char::is_control), "{message:?}");
            }
        };
        check("blk.0.attn_q.weight", "blk.0.attn_q.weight");
        check("模型", "模型");
        check("a\u{1b}[2J\0\nb", "a\\u{1b}[2J\\u{0}\\nb");
        check("\u{202e}gnp", "\\u{202e}gnp");
    }
}
