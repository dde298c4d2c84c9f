//! Why a model cannot be had.

use std::path::PathBuf;

use crate::engine::{MemoryError, StartError};
use crate::model::ModelError;
use crate::weights::{WeightsError, printable};

/// The message names the model, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("there is no model `{name}`{}", known_text(known, nearest.as_deref()))]
    UnknownModel { name: String, known: Vec<String>, nearest: Option<String> },
    #[error("a model named `{name}` is served already; unload it first or choose another name")]
    NameTaken { name: String },
    #[error(
        "The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set 'load_inplace' \
         to True."
    )]
    AdapterLoaded { name: String },
    #[error("The lora adapter '{name}' cannot be found.{}", adapters_text(known))]
    UnknownAdapter { name: String, known: Vec<String> },
    #[error("{count} adapters are served already, no more may be (`max_loras`): unload one first")]
    TooManyAdapters { count: usize },
    #[error("several models are served ({}): name the adapter's in `base_model_name`", known.join(", "))]
    AmbiguousBase { known: Vec<String> },
    #[error(
        "{}: `{key}` is {}, which no sampler can work with; remove or correct the key",
        path.display(), printable(value)
    )]
    GenerationConfig { path: PathBuf, key: &'static str, value: String },
    #[error(
        "{}: the tokenizer has {tokens} tokens, the embedding only {rows} rows (`vocab_size`); take both from the \
         same checkpoint",
        path.display()
    )]
    Vocabulary { path: PathBuf, tokens: usize, rows: usize },
    #[error(
        "{}: `eos_token_id` is {}, outside the vocabulary of {rows} (`vocab_size`): no answer would end; take \
         both from the original config",
        path.display(), printable(&format!("{ids:?}"))
    )]
    EndOfGeneration { path: PathBuf, ids: Vec<u32>, rows: usize },
    #[error(
        "a context of {asked} tokens (--max-model-len, `max_model_len`) is longer than the {context} that the model \
         {} was made for; ask for at most {context}, or for none to have it whole",
        path.display()
    )]
    ContextTooLong { path: PathBuf, asked: usize, context: usize },
    #[error(
        "{}: this encoder reads the language of a text as a tag, which a request for embeddings has no place for; serve it as the \
         encoder of a MindMerger model",
        path.display()
    )]
    TaggedEncoder { path: PathBuf },
    #[error("{}: {problem}", path.display())]
    Pooling { path: PathBuf, problem: String },
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("starting the engine: {0}")]
    Engine(#[from] StartError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

fn adapters_text(known: &[String]) -> String {
    if known.is_empty() {
        " None is loaded.".to_owned()
    } else {
        format!(" Loaded are {}.", known.join(", "))
    }
}

fn known_text(known: &[String], nearest: Option<&str>) -> String {
    match (nearest, known) {
        (Some(name), _) => format!("; did you mean `{name}`?"),
        (None, []) => "; none is loaded".to_owned(),
        (None, known) => format!("; loaded are {}", known.join(", ")),
    }
}
