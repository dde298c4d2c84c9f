//! LoRA adapters as PEFT writes them: `adapter_config.json` and `adapter_model.safetensors`, `adapter_model.bin` in old ones.
//!
//! An adapter changes a weight by `scale * (B A)` (Hu et al. 2021), or replaces it. Everything is checked when it is
//! opened: each tensor has a known place, each pair is whole and of the rank that the configuration gives it. Which weights
//! change is told by the tensors alone; PEFT also asks whether `target_modules` names them, and passes over those that it
//! does not. Variants that do more than this sum (DoRA and others) are refused by name.

mod config;
mod names;
mod ranks;
mod targets;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::WeightsError;
use super::directory::read_json;
use super::pickle::PickleFile;
use super::safetensors::SafetensorsFile;
use super::source::{TensorSource, TensorView};
use config::CONFIG_FILE;
pub use config::{AdapterBias, AdapterConfig};
use names::Part;
use ranks::Ranks;
use targets::Targets;
pub use targets::{ALL_LINEAR, ModuleNames};
pub use writer::AdapterWriter;

const TENSORS_FILE: &str = "adapter_model.safetensors";
const PICKLED_FILE: &str = "adapter_model.bin";

/// An opened adapter. Tensors stay on disk until they are asked for.
pub struct Adapter {
    path: PathBuf,
    config: AdapterConfig,
    file: TensorsFile,
    /// By the name of the weight that changes.
    changes: BTreeMap<String, Stored>,
}

/// What an adapter does to a weight.
#[derive(Debug, Clone)]
pub enum Change<'a> {
    /// Adds `scale * (b a)`; where it is `transposed`, `scale * (b a)^T`, as embeddings and `fan_in_fan_out` store it.
    LowRank {
        /// `[rank, in]`
        a: TensorView<'a>,
        /// `[out, rank]`
        b: TensorView<'a>,
        scale: f64,
        transposed: bool,
        /// A matrix that the adapter brings along and adds to, instead of the base's.
        base: Option<TensorView<'a>>,
    },
    /// Adds `scale * values` to a bias.
    Added { values: TensorView<'a>, scale: f64 },
    /// Takes the base's place.
    Replaced(TensorView<'a>),
}

/// The tensors of one changed weight, by their names in the file.
#[derive(Debug, Default)]
struct Stored {
    a: Option<String>,
    b: Option<String>,
    is_embedding: bool,
    /// Whether the weight is `[in, out]`.
    transposed: bool,
    added: Option<String>,
    full: Option<String>,
    scale: f64,
    /// Of the weight.
    shape: Vec<usize>,
}

impl Adapter {
    /// Reads the configuration and the header of the tensors and checks both.
    ///
    /// # Errors
    /// `NotACheckpoint` for a folder without an adapter or with one of a kind that is not read, `Json` for a
    /// configuration that is wrong, `Corrupt` for tensors that contradict it or each other.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let config_path = path.join(CONFIG_FILE);
        let places = [TENSORS_FILE, PICKLED_FILE].map(|name| path.join(name));
        let tensors_path = places.into_iter().find(|place| place.is_file());
        let (true, Some(tensors_path)) = (config_path.is_file(), tensors_path) else {
            let problem =
                format!("is no LoRA adapter: that is a folder with {CONFIG_FILE} and {TENSORS_FILE}");
            return Err(WeightsError::NotACheckpoint { path: path.to_owned(), problem });
        };
        let config = AdapterConfig::parse(&config_path, &read_json(&config_path)?)?;
        let file = TensorsFile::open(tensors_path)?;
        let changes = changes(&config_path, &config, &file)?;
        Ok(Self { path: path.to_owned(), config, file, changes })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn config(&self) -> &AdapterConfig {
        &self.config
    }

    /// The weights that change, sorted.
    pub fn targets(&self) -> Vec<String> {
        self.changes.keys().cloned().collect()
    }

    /// Those of some linear layers that the configuration says are adapted, whether there are tensors for them or not.
    ///
    /// # Errors
    /// `Json`: `target_modules` or `exclude_modules` is an expression that cannot be used.
    pub fn among(&self, modules: impl IntoIterator<Item = String>) -> Result<Vec<String>, WeightsError> {
        let targets = Targets::new(&self.path.join(CONFIG_FILE), &self.config)?;
        let named = |module: String| Ok(targets.contains(&module)?.then_some(module));
        modules.into_iter().filter_map(|module| named(module).transpose()).collect()
    }

    /// What happens to a weight; `None` where nothing does.
    ///
    /// # Errors
    /// None that [`Self::open`] has not found already.
    pub fn for_weight(&self, name: &str) -> Result<Option<Change<'_>>, WeightsError> {
        let Some(stored) = self.changes.get(name) else { return Ok(None) };
        let view =
            |name: &Option<String>| name.as_deref().map(|name| self.file.tensors.tensor(name)).transpose();
        Ok(match (view(&stored.a)?, view(&stored.b)?, view(&stored.added)?, view(&stored.full)?) {
            (Some(a), Some(b), _, base) => {
                Some(Change::LowRank { a, b, scale: stored.scale, transposed: stored.transposed, base })
            }
            (_, _, Some(values), _) => Some(Change::Added { values, scale: stored.scale }),
            (_, _, _, full) => full.map(Change::Replaced),
        })
    }

    /// Go by the names that a model has for its weights: `name_of` tells the other ones.
    pub fn rename(&mut self, name_of: impl Fn(&str) -> Option<String>) {
        let changes = std::mem::take(&mut self.changes);
        self.changes =
            changes.into_iter().map(|(name, stored)| (name_of(&name).unwrap_or(name), stored)).collect();
    }

    /// Go by how a model stores its matrices, whatever `fan_in_fan_out` says, as PEFT does: a square matrix does not show it.
    pub fn transpose_where(&mut self, is_transposed: impl Fn(&str) -> bool) {
        for (name, stored) in &mut self.changes {
            let transposed = stored.is_embedding || is_transposed(name);
            if stored.a.is_some() && transposed != stored.transposed {
                stored.transposed = transposed;
                stored.shape.reverse();
            }
        }
    }

    /// Whether a model has all that the adapter changes, in the same shapes.
    ///
    /// # Errors
    /// `NotACheckpoint`, naming the weights that it lacks or the first that differs.
    pub fn check_base(&self, base: &dyn TensorSource) -> Result<(), WeightsError> {
        let refuse = |problem| WeightsError::NotACheckpoint { path: self.path.clone(), problem };
        let missing: Vec<&str> =
            self.changes.keys().map(String::as_str).filter(|name| !base.contains(name)).collect();
        if !missing.is_empty() {
            let (shown, count) = (missing[..missing.len().min(3)].join(", "), missing.len());
            let problem = format!(
                "changes {count} weights that the base model lacks ({shown}{}); it is for another model",
                if count > 3 { ", .." } else { "" }
            );
            return Err(refuse(problem));
        }
        for (name, stored) in &self.changes {
            let shape = base.shape(name)?;
            if shape != stored.shape {
                let expected = &stored.shape;
                let problem =
                    format!("is for a `{name}` of shape {expected:?}, the base model's is {shape:?}");
                return Err(refuse(problem));
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Adapter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self { path, config, changes, .. } = self;
        let mut debug = formatter.debug_struct("Adapter");
        debug.field("path", path).field("config", config).field("changes", changes).finish_non_exhaustive()
    }
}

/// The tensors, with the path that errors name.
struct TensorsFile {
    path: PathBuf,
    tensors: Box<dyn TensorSource + Send + Sync>,
}

impl TensorsFile {
    fn open(path: PathBuf) -> Result<Self, WeightsError> {
        let tensors: Box<dyn TensorSource + Send + Sync> = if path.ends_with(PICKLED_FILE) {
            Box::new(PickleFile::open(&path)?)
        } else {
            Box::new(SafetensorsFile::open(&path)?)
        };
        Ok(Self { path, tensors })
    }
}

/// Every tensor of the file at its place, checked.
fn changes(
    config_path: &Path,
    config: &AdapterConfig,
    file: &TensorsFile,
) -> Result<BTreeMap<String, Stored>, WeightsError> {
    let refuse = |problem| WeightsError::NotACheckpoint { path: file.path.clone(), problem };
    let mut changes: BTreeMap<String, Stored> = BTreeMap::new();
    for name in file.tensors.names() {
        let Some((weight, part)) = names::parse(&name).filter(|(weight, part)| config.allows(weight, *part))
        else {
            return Err(refuse(format!(
                "tensor `{name}` is none that a LoRA adapter of this configuration has: lora_A, lora_B, \
                 lora_embedding_A, lora_embedding_B and the weights of modules_to_save are read"
            )));
        };
        // A type that no model computes in is an error now and not when it is read.
        file.tensors.dtype(&name)?;
        let stored = changes.entry(weight.clone()).or_default();
        stored.is_embedding |= matches!(part, Part::EmbeddingA | Part::EmbeddingB);
        let place = match part {
            Part::A | Part::EmbeddingA => &mut stored.a,
            Part::B | Part::EmbeddingB => &mut stored.b,
            Part::Added => &mut stored.added,
            Part::Full => &mut stored.full,
        };
        if let Some(other) = place.replace(name.clone()) {
            return Err(refuse(format!("tensors `{other}` and `{name}` are both for `{weight}`")));
        }
    }
    if changes.is_empty() {
        return Err(refuse("holds no tensors, so that it changes nothing".into()));
    }
    let ranks = Ranks::new(config_path, config)?;
    for (weight, stored) in &mut changes {
        check(&ranks, config, file, weight, stored)?;
    }
    Ok(changes)
}

/// Checks the tensors of a weight and fills in its scale and shape.
fn check(
    ranks: &Ranks<'_>,
    config: &AdapterConfig,
    file: &TensorsFile,
    weight: &str,
    stored: &mut Stored,
) -> Result<(), WeightsError> {
    let corrupt = |problem| WeightsError::Corrupt { path: file.path.clone(), problem };
    let module = weight.rsplit_once('.').map_or(weight, |(module, _)| module);
    let (rank, scale) = ranks.of(module)?;
    stored.scale = scale;
    let full = stored.full.as_deref().map(|name| file.tensors.shape(name)).transpose()?;
    let factors = match (&stored.a, &stored.b) {
        (Some(a), Some(b)) => Some((a, b)),
        (None, None) => None,
        (Some(there), None) | (None, Some(there)) => {
            let other = if stored.a.is_some() { "B" } else { "A" };
            return Err(corrupt(format!("tensor `{there}` lacks its other half, a lora_{other}")));
        }
    };
    let from_factors = match factors {
        None => None,
        Some((a, b)) => {
            let (a_shape, b_shape) = (file.tensors.shape(a)?, file.tensors.shape(b)?);
            if a_shape.len() != 2 || a_shape[0] != rank || a_shape[1] == 0 {
                return Err(corrupt(format!("tensor `{a}` has shape {a_shape:?}, not [{rank}, in]")));
            }
            if b_shape.len() != 2 || b_shape[1] != rank || b_shape[0] == 0 {
                return Err(corrupt(format!("tensor `{b}` has shape {b_shape:?}, not [out, {rank}]")));
            }
            stored.transposed = stored.is_embedding || config.fan_in_fan_out;
            Some(if stored.transposed { vec![a_shape[1], b_shape[0]] } else { vec![b_shape[0], a_shape[1]] })
        }
    };
    let added = stored.added.as_deref().map(|name| file.tensors.shape(name)).transpose()?;
    let shapes: Vec<Vec<usize>> = [from_factors, added, full].into_iter().flatten().collect();
    if let [first, .., last] = shapes.as_slice()
        && first != last
    {
        return Err(corrupt(format!("the tensors for `{weight}` make shapes {first:?} and {last:?}")));
    }
    if stored.added.is_some() && stored.full.is_some() {
        return Err(corrupt(format!("`{weight}` is both replaced and added to")));
    }
    stored.shape = shapes.into_iter().next().unwrap_or_default();
    Ok(())
}
