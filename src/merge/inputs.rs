//! The models of a configuration, opened: their configurations and where each tensor is. No element is read.

use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::config::{Input, Layers, MergeConfig, ModelReference, Place, TokenizerSource};
use super::elements::Elements;
use super::error::MergeError;
use super::lora::Adapted;
use crate::weights::{Adapter, TensorSource, TensorType, open_weights};

/// Finds the folder or file of a path or name, at a revision if one is asked for.
pub type Locate<'a> = dyn Fn(&str, Option<&str>) -> Result<PathBuf, String> + 'a;

/// One model.
pub struct InputModel {
    pub reference: ModelReference,
    pub path: PathBuf,
    pub config: Value,
    pub tensors: Box<dyn TensorSource + Send + Sync>,
    /// What is added to the tensors.
    pub adapter: Option<Adapter>,
}

impl InputModel {
    /// # Errors
    /// `Model` where it is not found; what is wrong with its files.
    pub fn open(reference: &ModelReference, locate: &Locate<'_>) -> Result<Self, MergeError> {
        let missing = |problem| MergeError::Model { model: reference.to_string(), problem };
        let path = locate(&reference.path, reference.revision.as_deref()).map_err(missing)?;
        let (mut config, tensors) = open_weights(&path)?;
        if let Some(architecture) = &reference.override_architecture {
            config["architectures"] = serde_json::json!([architecture]);
        }
        let adapter = match &reference.lora {
            None => None,
            Some(lora) => {
                let mut adapter =
                    Adapter::open(&locate(&lora.path, lora.revision.as_deref()).map_err(missing)?)?;
                adapter.rename(|name| other_trunk(name, &*tensors));
                if let Some(family) = config["model_type"].as_str() {
                    adapter.transpose_where(|name| is_conv1d(family, name));
                }
                adapter.check_base(&*tensors)?;
                Some(adapter)
            }
        };
        Ok(Self { reference: reference.clone(), path, config, tensors, adapter })
    }

    /// A tensor's elements, with what the adapter adds to them.
    ///
    /// # Errors
    /// A tensor that is not there or cannot be read.
    pub fn elements(&self, name: &str) -> Result<Box<dyn Elements + '_>, MergeError> {
        let view = self.tensors.unaligned(name)?;
        let change = self.adapter.as_ref().map(|adapter| adapter.for_weight(name)).transpose()?.flatten();
        Ok(match change {
            None => Box::new(view),
            change => Box::new(Adapted::new(view, change)?),
        })
    }

    /// `architectures[0]`, or the model type of a configuration without.
    pub fn architecture(&self) -> &str {
        self.config["architectures"][0]
            .as_str()
            .or_else(|| self.config["model_type"].as_str())
            .unwrap_or("an unnamed architecture")
    }

    pub fn has_tied_embeddings(&self) -> bool {
        !self.tensors.contains("lm_head.weight") && self.tensors.contains(EMBEDDINGS)
    }

    /// The name under which the model has a weight: a tied output matrix is its embeddings, and a trunk that was saved alone
    /// lacks the whole model's prefix.
    pub fn resolve<'a>(&self, name: &'a str) -> Option<&'a str> {
        if self.tensors.contains(name) {
            Some(name)
        } else if let Some(bare) = without_prefix(name).filter(|bare| self.tensors.contains(bare)) {
            Some(bare)
        } else if name == "lm_head.weight" && self.tensors.contains(EMBEDDINGS) {
            Some(EMBEDDINGS)
        } else {
            None
        }
    }
}

impl InputModel {
    /// Digest of all tensors' names, types and shapes.
    pub fn header_sha256(&self) -> String {
        let mut hash = Sha256::new();
        for name in self.tensors.names() {
            let shape = self.tensors.shape(&name).unwrap_or_default();
            let dtype = self.tensors.dtype(&name).map(|dtype| format!("{dtype:?}")).unwrap_or_default();
            hash.update(format!("{name} {dtype} {shape:?}\n").as_bytes());
        }
        format!("{:x}", hash.finalize())
    }

    /// Tells one state of the model's files, the adapter's and the tokenizer's included, from another: sizes and times.
    pub fn files_stamp(&self) -> String {
        let mut files = self.weight_files();
        if let Some(adapter) = &self.adapter {
            let entries = std::fs::read_dir(adapter.path()).map(|entries| entries.flatten().collect());
            let entries: Vec<std::fs::DirEntry> = entries.unwrap_or_default();
            files.extend(entries.into_iter().map(|entry| entry.path()));
        }
        files.push(self.path.join("tokenizer.json"));
        files.sort();
        let stamp = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            let time = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
            let place = path.canonicalize().unwrap_or_else(|_| path.clone());
            Some(format!("{} {} {}\n", place.display(), metadata.len(), time.as_nanos()))
        };
        files.iter().filter_map(stamp).collect()
    }

    /// Bytes of all weight files.
    pub fn bytes(&self) -> u64 {
        let length = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        self.weight_files().iter().map(length).sum()
    }

    /// Digest of all weight files, by name.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn content_sha256(&self) -> Result<String, MergeError> {
        let mut hash = Sha256::new();
        for path in self.weight_files() {
            let io = |source| MergeError::Io { path: path.clone(), action: "read it", source };
            std::io::copy(&mut std::fs::File::open(&path).map_err(io)?, &mut hash).map_err(io)?;
        }
        Ok(format!("{:x}", hash.finalize()))
    }

    fn weight_files(&self) -> Vec<PathBuf> {
        if self.path.is_file() {
            return vec![self.path.clone()];
        }
        let is_weights = |path: &PathBuf| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            extension.is_some_and(|extension| ["safetensors", "gguf", "bin"].contains(&extension))
        };
        let Ok(entries) = std::fs::read_dir(&self.path) else { return Vec::new() };
        let mut files: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(is_weights).collect();
        files.sort();
        files
    }
}

/// What stands before the names of a trunk within a whole model, in the families that transformers saves either way.
pub const TRUNKS: [&str; 3] = ["transformer.", "bert.", "distilbert."];

/// A weight's name in a trunk alone.
pub fn without_prefix(name: &str) -> Option<&str> {
    TRUNKS.iter().find_map(|prefix| name.strip_prefix(prefix))
}

/// A weight's name in a model that has the prefix of a trunk where the name lacks it, or the other way round.
fn other_trunk(name: &str, tensors: &dyn TensorSource) -> Option<String> {
    if tensors.contains(name) {
        return None;
    }
    let bare = without_prefix(name).map(str::to_owned);
    let whole = TRUNKS.iter().map(|prefix| format!("{prefix}{name}"));
    bare.into_iter().chain(whole).find(|name| tensors.contains(name))
}

/// Families whose layers are transformers' `Conv1D`, which stores `[in, out]`.
const CONV1D_FAMILIES: [&str; 4] = ["gpt2", "openai-gpt", "imagegpt", "decision_transformer"];

fn is_conv1d(family: &str, name: &str) -> bool {
    let module = name.strip_suffix(".weight").and_then(|name| name.rsplit('.').next()).unwrap_or_default();
    CONV1D_FAMILIES.contains(&family) && ["c_attn", "q_attn", "c_proj", "c_fc"].contains(&module)
}

/// The embeddings' name in the families that tie them.
pub const EMBEDDINGS: &str = "model.embed_tokens.weight";

/// Every model whose tensors are merged, once, in the order of the configuration, a base that is not listed last.
pub fn references(config: &MergeConfig) -> Vec<ModelReference> {
    let of_layers = |layers: &Layers| -> Vec<ModelReference> {
        match layers {
            Layers::Models(models) => models.iter().map(|entry| entry.model.clone()).collect(),
            Layers::Slices(slices) => {
                let of_slice = |slice: &super::config::Slice| -> Vec<ModelReference> {
                    slice.sources.iter().map(|source| source.model.clone()).collect()
                };
                slices.iter().flat_map(of_slice).collect()
            }
        }
    };
    let mut all = match &config.input {
        Input::Layers(layers) => of_layers(layers),
        Input::Modules(modules) => modules.iter().flat_map(|module| of_layers(&module.layers)).collect(),
    };
    all.extend(config.base_model.clone());
    let mut once = Vec::new();
    for reference in all {
        if !once.contains(&reference) {
            once.push(reference);
        }
    }
    once
}

/// Where a configuration first names a model.
pub fn place_of(config: &MergeConfig, reference: &ModelReference) -> Place {
    let in_layers = |layers: &Layers| match layers {
        Layers::Models(models) => {
            models.iter().find(|entry| entry.model == *reference).map(|entry| entry.place.clone())
        }
        Layers::Slices(slices) => {
            let mut sources = slices.iter().flat_map(|slice| &slice.sources);
            sources.find(|source| source.model == *reference).map(|source| source.place.clone())
        }
    };
    let found = match &config.input {
        Input::Layers(layers) => in_layers(layers),
        Input::Modules(modules) => modules.iter().find_map(|module| in_layers(&module.layers)),
    };
    found.map_or_else(|| config.place("base_model"), |place| config.place(&place.under("model").key))
}

/// All of [`references`], opened.
///
/// # Errors
/// As [`InputModel::open`], and architectures that differ unless `crimes` are allowed.
pub fn open_all(
    config: &MergeConfig,
    locate: &Locate<'_>,
    crimes: bool,
) -> Result<Vec<InputModel>, MergeError> {
    let mut models: Vec<InputModel> = Vec::new();
    for reference in references(config) {
        if !models.iter().any(|model| model.reference == reference) {
            let opened = InputModel::open(&reference, locate).map_err(|error| match error {
                // Where the configuration names it.
                MergeError::Model { problem, .. } => {
                    let what = format!("{reference}: {problem}");
                    let way_out = "name a folder, a GGUF file, or a model that is known here";
                    place_of(config, &reference).wrong(what, way_out).into()
                }
                error => error,
            });
            models.push(opened?);
        }
    }
    let mut rest = models.iter();
    if let Some(first) = rest.next()
        && let Some(other) = rest.find(|other| other.architecture() != first.architecture())
        && !crimes
    {
        return Err(MergeError::Crime {
            place: Some(place_of(config, &other.reference)),
            problem: format!(
                "{} is a {} and {} a {}",
                first.reference,
                first.architecture(),
                other.reference,
                other.architecture()
            ),
        });
    }
    Ok(models)
}

/// Where the tokenizer is that a configuration takes, if it is not named as one of the models is.
///
/// # Errors
/// `Config` for one that is not found.
pub fn locate_tokenizer(
    config: &MergeConfig,
    models: &[InputModel],
    locate: &Locate<'_>,
) -> Result<Option<PathBuf>, MergeError> {
    let Some(tokenizer) = &config.tokenizer else { return Ok(None) };
    let TokenizerSource::Model(reference) = &tokenizer.source else { return Ok(None) };
    if models.iter().any(|model| model.reference == *reference) {
        return Ok(None);
    }
    let missing = |problem: String| {
        let way_out = "name a folder or model with a tokenizer.json, or write `union` or `base`";
        tokenizer.source_place().wrong(format!("{reference}: {problem}"), way_out).into()
    };
    locate(&reference.path, reference.revision.as_deref()).map(Some).map_err(missing)
}

/// The type of a stored tensor; `None` for buffers that are no weights, such as whole numbers.
pub fn weight_type(model: &InputModel, name: &str) -> Option<TensorType> {
    model.tensors.dtype(name).ok()
}
