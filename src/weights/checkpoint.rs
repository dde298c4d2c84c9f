//! A model on disk, whole: configuration, tensors, tokenizer, chat template, and the ids that end a generation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::directory::{open_tensors, read_json, read_object_if_present};
use super::end_of_generation;
use super::gguf::{GgufFile, is_gguf};
use super::source::{TensorSource, TensorType};
use super::{Tokenizer, WeightsError};

/// An opened checkpoint. Tensors stay on disk until they are asked for.
pub struct Checkpoint {
    pub path: PathBuf,
    /// A Hugging Face config.json.
    pub config: Value,
    /// Where `config` is from, as messages name it: a file, or the metadata of one.
    pub config_place: String,
    /// A Hugging Face generation_config.json; `Null` if there is none.
    pub generation_config: Value,
    pub tensors: Box<dyn TensorSource + Send + Sync>,
    pub tokenizer: Tokenizer,
    /// The Jinja source of the chat template.
    pub chat_template: Option<String>,
    pub special: SpecialTokens,
    /// Ids that end a generation, without repeats, most authoritative first.
    pub eos_token_ids: Vec<u32>,
    pub dtype: CheckpointDtype,
}

/// The texts of the special tokens, as chat templates want them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    pub bos: Option<String>,
    pub eos: Option<String>,
    pub pad: Option<String>,
    pub unk: Option<String>,
}

impl SpecialTokens {
    /// Under the names that chat templates use (`bos_token`, ..).
    pub fn by_name(&self) -> BTreeMap<String, String> {
        let Self { bos, eos, pad, unk } = self;
        [("bos_token", bos), ("eos_token", eos), ("pad_token", pad), ("unk_token", unk)]
            .into_iter()
            .filter_map(|(name, token)| Some((name.to_owned(), token.clone()?)))
            .collect()
    }
}

/// The type in which most of a checkpoint's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointDtype {
    F32,
    Bf16,
    F16,
    /// A GGUF file with blocks.
    Gguf,
}

impl Checkpoint {
    /// Opens a Hugging Face directory, a GGUF file, or a directory whose one model is a GGUF file.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let refuse =
            |problem: &str| WeightsError::NotACheckpoint { path: path.to_owned(), problem: problem.into() };
        if path.is_dir() {
            open_directory(path)
        } else if path.is_file() {
            if is_gguf(path) {
                GgufFile::open(path)?.into_checkpoint()
            } else {
                Err(refuse("is not a model: a GGUF file (*.gguf) or a Hugging Face directory is"))
            }
        } else {
            Err(refuse(
                "does not exist; a model is a GGUF file (*.gguf) or a directory with config.json, tokenizer.json and \
                 model.safetensors",
            ))
        }
    }
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self { path, dtype, special, eos_token_ids, .. } = self;
        let mut debug = formatter.debug_struct("Checkpoint");
        debug.field("path", path).field("dtype", dtype).field("special", special).field("eos", eos_token_ids);
        debug.finish_non_exhaustive()
    }
}

/// The configuration and tensors of a model, without a tokenizer, which a part of a model need not have.
///
/// # Errors
/// As [`Checkpoint::open`].
pub fn open_weights(path: &Path) -> Result<(Value, Box<dyn TensorSource + Send + Sync>), WeightsError> {
    if path.is_dir() && path.join("config.json").exists() {
        return Ok((read_object_if_present(&path.join("config.json"))?, open_tensors(path)?));
    }
    let checkpoint = Checkpoint::open(path)?;
    Ok((checkpoint.config, checkpoint.tensors))
}

fn open_directory(path: &Path) -> Result<Checkpoint, WeightsError> {
    let config_path = path.join("config.json");
    let config = read_object_if_present(&config_path)?;
    if config.is_null() {
        return open_only_gguf(path);
    }
    let tensors = open_tensors(path)?;
    let tokenizer = Tokenizer::load(path)?;
    let tokenizer_config = read_object_if_present(&path.join("tokenizer_config.json"))?;
    let special_map = read_object_if_present(&path.join("special_tokens_map.json"))?;
    let generation_path = path.join("generation_config.json");
    let generation_config = read_object_if_present(&generation_path)?;
    let special = special_tokens(&tokenizer_config, &special_map);
    let mut eos_token_ids = token_ids(&generation_config["eos_token_id"], "eos_token_id", &generation_path)?;
    if eos_token_ids.is_empty() {
        eos_token_ids = token_ids(&config["eos_token_id"], "eos_token_id", &config_path)?;
    }
    let chat_template = chat_template(path, &tokenizer_config)?;
    // A generation_config can lack the token that ends a turn in the chat template: a base model's, those of the first Gemma 2.
    eos_token_ids.extend(special.eos.as_ref().and_then(|eos| tokenizer.token_to_id(eos)));
    let template = chat_template.as_deref().unwrap_or_default();
    eos_token_ids.extend(end_of_generation::in_template(template, &tokenizer));
    remove_repeats(&mut eos_token_ids);
    Ok(Checkpoint {
        path: path.to_owned(),
        dtype: dominant_dtype(&*tensors)?,
        chat_template,
        config_place: config_path.display().to_string(),
        config,
        generation_config,
        tensors,
        tokenizer,
        special,
        eos_token_ids,
    })
}

/// Hubs keep GGUF files, often several of one model, in a directory without a config.json.
fn open_only_gguf(directory: &Path) -> Result<Checkpoint, WeightsError> {
    let refuse = |problem| WeightsError::NotACheckpoint { path: directory.to_owned(), problem };
    let files = gguf_files(directory).map_err(|source| WeightsError::Io {
        path: directory.to_owned(),
        action: "list it",
        source,
    })?;
    match files.as_slice() {
        [] => Err(refuse(
            "has no config.json; a model is a directory with config.json, tokenizer.json and model.safetensors, \
             or a GGUF file (*.gguf)"
                .to_owned(),
        )),
        [only] => GgufFile::open(&directory.join(only))?.into_checkpoint(),
        several => Err(refuse(format!(
            "has no config.json and {} GGUF files ({}); name one of them, as in {}",
            several.len(),
            several.join(", "),
            directory.join(&several[0]).display()
        ))),
    }
}

/// The names, in order.
fn gguf_files(directory: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_file() && path.extension().is_some_and(|extension| extension == "gguf") {
            names.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Keeps the first of each id.
pub(super) fn remove_repeats(ids: &mut Vec<u32>) {
    let mut seen = Vec::new();
    ids.retain(|id| {
        !seen.contains(id) && {
            seen.push(*id);
            true
        }
    });
}

/// A token id or a list of them; `Null` is none.
fn token_ids(value: &Value, key: &str, path: &Path) -> Result<Vec<u32>, WeightsError> {
    let one = |value: &Value| {
        value.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| WeightsError::Json {
            path: path.to_owned(),
            problem: format!("`{key}` must be a token id or a list of them, it is {value}"),
        })
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(values) => values.iter().map(one).collect(),
        value => one(value).map(|id| vec![id]),
    }
}

/// Special tokens are strings or objects with the string as `content`.
fn special_tokens(tokenizer_config: &Value, special_map: &Value) -> SpecialTokens {
    let text = |value: &Value| value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned);
    let token = |key: &str| text(&tokenizer_config[key]).or_else(|| text(&special_map[key]));
    SpecialTokens {
        bos: token("bos_token"),
        eos: token("eos_token"),
        pad: token("pad_token"),
        unk: token("unk_token"),
    }
}

/// chat_template.jinja, else `chat_template` of tokenizer_config.json: a string, or a list of named templates of which
/// `default` is taken.
fn chat_template(path: &Path, tokenizer_config: &Value) -> Result<Option<String>, WeightsError> {
    let file = path.join("chat_template.jinja");
    if file.is_file() {
        let bytes = super::directory::read_bytes(&file)?;
        return String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| WeightsError::Json { path: file, problem: "is not UTF-8 text".into() });
    }
    match &tokenizer_config["chat_template"] {
        Value::String(template) => Ok(Some(template.clone())),
        Value::Array(named) => {
            let default = named.iter().find(|template| template["name"] == "default").or(named.first());
            Ok(default.and_then(|template| template["template"].as_str()).map(str::to_owned))
        }
        _ => {
            // Some older checkpoints keep it in a file of its own.
            let legacy: Value = match path.join("chat_template.json") {
                file if file.is_file() => read_json(&file)?,
                _ => Value::Null,
            };
            Ok(legacy["chat_template"].as_str().map(str::to_owned))
        }
    }
}

/// The type in which most bytes of these tensors are stored.
///
/// # Errors
/// A tensor whose header cannot be read.
pub fn dominant_dtype(tensors: &dyn TensorSource) -> Result<CheckpointDtype, WeightsError> {
    let mut bytes = [0_usize; 3];
    for name in tensors.names() {
        let dtype = match tensors.dtype(&name) {
            Ok(dtype) => dtype,
            // A buffer that no model reads.
            Err(WeightsError::UnsupportedType { .. }) => continue,
            Err(error) => return Err(error),
        };
        let elements: usize = tensors.shape(&name)?.iter().product();
        let size = elements.saturating_mul(dtype.block_bytes());
        match dtype {
            TensorType::F64 | TensorType::F32 => bytes[0] += size,
            TensorType::Bf16 => bytes[1] += size,
            TensorType::F16 => bytes[2] += size,
            TensorType::Ggml(_) => return Ok(CheckpointDtype::Gguf),
        }
    }
    let [f32_bytes, bf16_bytes, f16_bytes] = bytes;
    Ok(if f32_bytes >= bf16_bytes && f32_bytes >= f16_bytes {
        CheckpointDtype::F32
    } else if bf16_bytes >= f16_bytes {
        CheckpointDtype::Bf16
    } else {
        CheckpointDtype::F16
    })
}
