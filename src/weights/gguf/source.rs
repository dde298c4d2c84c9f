//! An opened GGUF file as a source of Hugging Face tensors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::config::{self, Architecture};
use super::header::{Header, StoredTensor};
use super::metadata::Metadata;
use super::rope::RotaryTensors;
use super::{names, rows, tokenizer};
use crate::weights::checkpoint::{Checkpoint, CheckpointDtype};
use crate::weights::mapped_file::MappedFile;
use crate::weights::source::{TensorSource, TensorType, TensorView};
use crate::weights::{Tokenizer, WeightsError};

/// Whether a file says that it is a GGUF file, by its name or its first bytes.
pub fn is_gguf(path: &Path) -> bool {
    let starts_with_magic = || {
        let mut magic = [0; 4];
        std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
            && &magic == b"GGUF"
    };
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) || starts_with_magic()
}

/// A mapped GGUF file whose header and metadata have been checked.
#[derive(Debug)]
pub struct GgufFile {
    file: MappedFile,
    metadata: Metadata,
    /// Under their Hugging Face names.
    tensors: BTreeMap<String, NamedTensor>,
    architecture: Architecture,
    config: Value,
}

#[derive(Debug)]
struct NamedTensor {
    stored: StoredTensor,
    /// Heads whose rows are stored in llama.cpp's order.
    permuted_heads: Option<usize>,
    /// 1 was added to what Hugging Face has.
    has_one_added: bool,
}

impl GgufFile {
    /// Maps the file, checks its header, and translates names and configuration.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let file = MappedFile::open(path)?;
        let Header { metadata, tensors } = Header::read(&file)?;
        refuse_split(&metadata)?;
        let architecture = Architecture::of(&metadata)?;
        let factors =
            |name: &str| tensors.get(name).map(|stored| view(name, &file, stored).to_f32()).transpose();
        let [short_name, long_name] = ["rope_factors_short.weight", "rope_factors_long.weight"];
        let missing =
            |name: &str| WeightsError::MissingTensor { path: path.to_owned(), name: name.to_owned() };
        let short_and_long = match (factors(short_name)?, factors(long_name)?) {
            (Some(short), Some(long)) => Some([short, long]),
            (None, None) => None,
            (None, Some(_)) => return Err(missing(short_name)),
            (Some(_), None) => return Err(missing(long_name)),
        };
        let rotary = RotaryTensors { frequencies: factors("rope_freqs.weight")?, short_and_long };
        let config = config::translate(architecture, &metadata, &tensors, &rotary)?;
        let tensors = name_tensors(&file, architecture, &config, tensors)?;
        Ok(Self { file, metadata, tensors, architecture, config })
    }

    /// The Hugging Face configuration.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The tokenizer.json that the metadata describes, as text, and what else belongs to it.
    pub fn tokenizer_files(&self) -> Result<tokenizer::TokenizerFiles, WeightsError> {
        tokenizer::translate(self.architecture, &self.metadata)
    }

    /// The whole checkpoint.
    pub fn into_checkpoint(self) -> Result<Checkpoint, WeightsError> {
        let files = self.tokenizer_files()?;
        let dtype = self.dtype();
        Ok(Checkpoint {
            path: self.file.path.clone(),
            config_place: format!("{}: metadata, as a Hugging Face config", self.file.path.display()),
            config: self.config.clone(),
            generation_config: files.generation_config(),
            tokenizer: Tokenizer::from_json(files.tokenizer_json.as_bytes(), &self.file.path)?,
            chat_template: files.chat_template,
            special: files.special,
            eos_token_ids: files.eos_token_ids,
            dtype,
            tensors: Box::new(self),
        })
    }

    /// Blocks make a file quantised; else the type of most bytes counts, since norms are always F32.
    fn dtype(&self) -> CheckpointDtype {
        let bytes_of = |dtype| -> usize {
            let stored = self.tensors.values().map(|tensor| &tensor.stored);
            stored.filter(|stored| stored.dtype == dtype).map(|stored| stored.end - stored.start).sum()
        };
        let blocks = |tensor: &NamedTensor| matches!(tensor.stored.dtype, TensorType::Ggml(_));
        if self.tensors.values().any(blocks) {
            return CheckpointDtype::Gguf;
        }
        let candidates = [
            (TensorType::F32, CheckpointDtype::F32),
            (TensorType::F16, CheckpointDtype::F16),
            (TensorType::Bf16, CheckpointDtype::Bf16),
        ];
        candidates
            .into_iter()
            .max_by_key(|(dtype, _)| bytes_of(*dtype))
            .map_or(CheckpointDtype::F32, |(_, dtype)| dtype)
    }

    fn named(&self, name: &str) -> Result<&NamedTensor, WeightsError> {
        let missing = || WeightsError::MissingTensor { path: self.file.path.clone(), name: name.to_owned() };
        self.tensors.get(name).ok_or_else(missing)
    }
}

impl TensorSource for GgufFile {
    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn stored_name(&self, name: &str) -> String {
        names::gguf_name(self.architecture, name).unwrap_or_else(|| name.to_owned())
    }

    fn shape(&self, name: &str) -> Result<Vec<usize>, WeightsError> {
        self.named(name).map(|tensor| tensor.stored.shape.clone())
    }

    fn dtype(&self, name: &str) -> Result<TensorType, WeightsError> {
        self.named(name)
            .map(|tensor| if tensor.has_one_added { TensorType::F32 } else { tensor.stored.dtype })
    }

    fn tensor(&self, name: &str) -> Result<TensorView<'_>, WeightsError> {
        let tensor = self.named(name)?;
        let mut view = view(name, &self.file, &tensor.stored);
        if tensor.has_one_added {
            // Exact but below a half, and then within half a unit in the last place of 1.
            let bytes = view.to_f32()?.into_iter().flat_map(|x| (x - 1.0).to_ne_bytes()).collect();
            (view.dtype, view.bytes) = (TensorType::F32, Cow::Owned(bytes));
        }
        if let Some(heads) = tensor.permuted_heads {
            let head_dim = tensor.stored.shape[0] / heads;
            view.bytes = Cow::Owned(rows::halves_from_pairs(&view.bytes, heads, head_dim));
        }
        Ok(view)
    }
}

/// A part has some of the tensors only, and all but the first lack the metadata too.
fn refuse_split(metadata: &Metadata) -> Result<(), WeightsError> {
    let key = "split.count";
    match metadata.count(key)? {
        None | Some(0 | 1) => Ok(()),
        Some(count) => {
            let problem = format!(
                "is {count}: this is one part of a split GGUF; merge the parts with \
                 `llama-gguf-split --merge FIRST-PART OUT.gguf`"
            );
            Err(metadata.error(key, problem))
        }
    }
}

fn view<'a>(name: &str, file: &'a MappedFile, stored: &StoredTensor) -> TensorView<'a> {
    let bytes = Cow::Borrowed(&file[stored.start..stored.end]);
    TensorView { name: name.to_owned(), shape: stored.shape.clone(), dtype: stored.dtype, bytes }
}

fn name_tensors(
    file: &MappedFile,
    architecture: Architecture,
    config: &Value,
    tensors: BTreeMap<String, StoredTensor>,
) -> Result<BTreeMap<String, NamedTensor>, WeightsError> {
    let corrupt = |problem: String| WeightsError::Corrupt { path: file.path.clone(), problem };
    let mut named = BTreeMap::new();
    for (gguf_name, stored) in tensors {
        if names::is_rotary_table(&gguf_name) {
            continue;
        }
        let Some(name) = names::hugging_face_name(architecture, &gguf_name) else {
            return Err(WeightsError::UnsupportedArchitecture {
                path: file.path.clone(),
                architecture: format!("{} with a tensor `{gguf_name}`", architecture.name()),
                supported: "dense Llama, Mistral, Qwen2, Qwen3, Phi-3, Gemma 2 and Gemma 3 models".into(),
            });
        };
        let permuted_heads = config::permuted_heads(architecture, &name, config);
        if let Some(heads) = permuted_heads {
            let rows = stored.shape.first().copied().unwrap_or(0);
            if stored.shape.len() == 1 && stored.dtype.block_elements() > 1 {
                return Err(corrupt(format!(
                    "tensor `{gguf_name}` is a vector of blocks, whose elements cannot move"
                )));
            }
            if heads == 0 || rows == 0 || !rows.is_multiple_of(2 * heads) {
                return Err(corrupt(format!(
                    "tensor `{gguf_name}` has {rows} rows, which do not make {heads} heads"
                )));
            }
        }
        let has_one_added = architecture.adds_one(&name);
        named.insert(name, NamedTensor { stored, permuted_heads, has_one_added });
    }
    Ok(named)
}
