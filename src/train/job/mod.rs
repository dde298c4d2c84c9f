//! A training from its description to its result: data to tokens, a model that learns, a folder that can be served.
//!
//! The folder of a training has `data/` (tokens), `checkpoints/`, `metrics.jsonl`, `tensorboard/` and, at the end, `model/`: a Hugging Face
//! directory, an adapter, or a MindMerger model. Called again with the same description, it goes on.

mod export;
mod interruptible;
mod mindmerger;
mod reinforcement;
mod tokens;

use std::fs::{File, TryLockError};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::data::{Counts, Effort};
use super::hyperparameters::Resolved;
use super::memory::KeptMemory;
use super::metrics::MetricsFile;
use super::policy::{lora_of, policy_method};
use super::tensorboard::TensorBoard;
use super::trainer::check_options;
use super::{
    Event, Examples, FullDecoder, Masks, Objective, Observer, Outcome, Passes, RunSettings, TrainError,
    Trainer,
};
use crate::model::augmented::QueryTemplate;
use crate::model::{Decoder, DecoderConfig};
use crate::ops::Workers;
use crate::protocol::fine_tuning::{CreateFineTuningJob, MethodKind};
use crate::score::grader::{Grader, GraderError};
use crate::weights::Checkpoint;

pub use export::Exported;
use interruptible::Interruptible;
use tokens::lora_settings;

/// Where the result is, in a training's folder.
pub const MODEL_FOLDER: &str = "model";

/// Finds what a description names.
pub type Locate<'a> = &'a dyn Fn(&str) -> Result<PathBuf, String>;

/// A training that can be run.
pub struct Job<'a> {
    pub request: &'a CreateFineTuningJob,
    /// What is trained, or what a mapping is trained for.
    pub checkpoint: Checkpoint,
    pub config: DecoderConfig,
    /// Of files of data.
    pub locate: Locate<'a>,
    /// Of models, such as an encoder.
    pub locate_model: Locate<'a>,
    pub folder: PathBuf,
    pub workers: Arc<Workers>,
    pub stop: &'a AtomicBool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    pub outcome: Outcome,
    /// The result, if the training came to its end.
    pub model: Option<PathBuf>,
}

/// What is learned from and measured on, and which elements may change.
struct Learning<'a> {
    examples: &'a dyn Examples,
    dev: Option<&'a dyn Examples>,
    masks: Option<&'a Masks>,
    identity: Value,
}

/// What can be told of a description before its data are read.
///
/// # Errors
/// An option out of its range, or at odds with the model.
pub fn check_settings(
    request: &CreateFineTuningJob,
    checkpoint: &Checkpoint,
    config: &DecoderConfig,
) -> Result<(), TrainError> {
    config.check_trainable().map_err(|error| error.at(checkpoint))?;
    check_description(request, checkpoint, config)
}

/// The same, wherever the model is trained.
fn check_description(
    request: &CreateFineTuningJob,
    checkpoint: &Checkpoint,
    config: &DecoderConfig,
) -> Result<(), TrainError> {
    let resolved = Resolved::of(request, config, checkpoint.dtype)?;
    check_options(&resolved.trainer, &resolved.run)?;
    if let Some(lora) = lora_of(request) {
        tokens::lora_settings(request, &lora, config)?.check(config)?;
    }
    if request.kind() == MethodKind::Reinforcement {
        let method = policy_method(request, resolved.dtype)?;
        let wrong = |error: GraderError| TrainError::option("grader", error.to_string());
        Grader::compile(&method.grader).map_err(wrong)?;
    }
    if let Some(template) = request.mapping().and_then(|mapping| mapping.prompt_template.as_deref()) {
        QueryTemplate::parse("prompt_template", template)?;
    }
    let is_mapping = matches!(request.kind(), MethodKind::Mapping | MethodKind::Augmentation);
    let is_full = !is_mapping && lora_of(request).is_none();
    let is_folder = checkpoint.path.is_dir() && checkpoint.path.join("config.json").is_file();
    if is_full && !is_folder {
        let problem = format!(
            "is {}, a GGUF file, whose weights cannot be trained: train an adapter (`lora`), or make a directory of it with \
             `xenoglot models convert`",
            checkpoint.path.display()
        );
        return Err(TrainError::option("model", problem));
    }
    Ok(())
}

impl Job<'_> {
    /// Trains to the end, or until it is stopped.
    ///
    /// # Errors
    /// What is wrong with the description, the data, the model or a checkpoint; `Interrupted` before there was a step; `Diverged`; a
    /// full disk.
    pub fn run(self, observer: &mut dyn Observer) -> Result<Finished, TrainError> {
        check_settings(self.request, &self.checkpoint, &self.config)?;
        let resolved = Resolved::of(self.request, &self.config, self.checkpoint.dtype)?;
        if let Some(warning) = resolved.longrope_warning(&self.config) {
            tracing::warn!("{warning}");
        }
        let _lock = self.lock()?;
        let _memory = KeptMemory::new();
        match self.request.kind() {
            MethodKind::Supervised | MethodKind::Cpt => self.train_on_tokens(resolved, observer),
            MethodKind::Mapping | MethodKind::Augmentation => self.train_mapping(resolved, observer),
            MethodKind::Reinforcement => self.train_policy(resolved, observer),
        }
    }

    /// The loop; `write` makes the result of what has the best weights, or the last ones.
    fn drive<O: Objective>(
        &self,
        objective: &mut O,
        learning: &Learning<'_>,
        resolved: Resolved,
        observer: &mut dyn Observer,
        write: impl FnOnce(&mut O, &std::path::Path) -> Result<(), TrainError>,
    ) -> Result<Finished, TrainError> {
        let mut metrics = MetricsFile::new(&self.folder);
        let mut board = TensorBoard::new(&self.folder);
        let mut all = |event: Event| {
            metrics.event(event.clone())?;
            board.event(event.clone())?;
            observer.event(event)
        };
        let mut trainer = Trainer {
            objective,
            examples: learning.examples,
            dev: learning.dev,
            masks: learning.masks,
            settings: resolved.trainer,
            run: RunSettings {
                folder: self.folder.join("checkpoints"),
                identity: learning.identity.clone(),
                ..resolved.run
            },
            workers: Arc::clone(&self.workers),
            stop: self.stop,
        };
        let outcome = trainer.train(&mut all)?;
        if !outcome.finished {
            return Ok(Finished { outcome, model: None });
        }
        trainer.load_best(&outcome)?;
        let out = self.folder.join(MODEL_FOLDER);
        if !out.exists() {
            write(objective, &out)?;
        }
        Ok(Finished { outcome, model: Some(out) })
    }

    /// Keeps a second training out of the folder, until this one or its process ends.
    fn lock(&self) -> Result<File, TrainError> {
        let path = self.folder.join("lock");
        std::fs::create_dir_all(&self.folder).map_err(TrainError::io(&self.folder, "create it"))?;
        let file = File::create(&path).map_err(TrainError::io(&path, "create it"))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(TrainError::Locked { path: self.folder.clone() }),
            Err(TryLockError::Error(source)) => Err(TrainError::io(&path, "lock it")(source)),
        }
    }

    fn decoder(&self, resolved: &Resolved) -> Result<Decoder, TrainError> {
        let options = resolved.load_options(&self.workers);
        let source = Interruptible { tensors: &*self.checkpoint.tensors, stop: self.stop };
        let loaded = Decoder::load(self.config.clone(), &source, &options);
        if loaded.is_err() && self.stop.load(Ordering::Relaxed) {
            return Err(TrainError::Interrupted);
        }
        Ok(loaded.map_err(|error| error.at(&self.checkpoint))?)
    }

    fn locate(&self, key: &'static str, name: &str) -> Result<PathBuf, TrainError> {
        (self.locate)(name).map_err(|problem| TrainError::option(key, format!("names {name:?}: {problem}")))
    }

    /// The digest of a file that a description names.
    fn content(&self, key: &'static str, name: &str) -> Result<String, TrainError> {
        digest_of(&self.locate(key, name)?)
    }

    fn files(&self, key: &'static str, names: &[String]) -> Result<Vec<PathBuf>, TrainError> {
        names.iter().map(|name| self.locate(key, name)).collect()
    }

    fn effort(&self) -> Effort<'_> {
        let threads = NonZero::new(self.workers.threads()).unwrap_or(NonZero::<usize>::MIN);
        Effort { threads, stop: self.stop }
    }

    /// The folder of a store of tokens, whose parent is there.
    fn data_folder(&self, name: &str) -> Result<PathBuf, TrainError> {
        let folder = self.folder.join("data");
        std::fs::create_dir_all(&folder).map_err(TrainError::io(&folder, "create it"))?;
        Ok(folder.join(name))
    }
}

/// All of its weights learn.
fn full_decoder(decoder: Decoder, resolved: &Resolved, passes: Passes) -> Result<FullDecoder, TrainError> {
    if resolved.masters {
        FullDecoder::new(decoder, None, passes)
    } else {
        FullDecoder::without_masters(decoder, passes)
    }
}

fn digest_of(path: &std::path::Path) -> Result<String, TrainError> {
    let mut hash = Sha256::new();
    let mut file = File::open(path).map_err(TrainError::io(path, "open it"))?;
    std::io::copy(&mut file, &mut hash).map_err(TrainError::io(path, "read it"))?;
    Ok(format!("{:x}", hash.finalize()))
}

/// What a preparation found, in words.
pub fn counted(counts: Counts) -> String {
    let Counts { examples, tokens, trained_tokens, .. } = counts;
    format!("{examples} examples, {tokens} tokens, {trained_tokens} of them learned")
}
