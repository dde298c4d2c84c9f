//! A training from its description to its result: data to tokens, a model that learns, a folder that can be served.
//!
//! The folder of a training has `data/` (tokens), `checkpoints/`, `metrics.jsonl` and, at the end, `model/`: a Hugging Face
//! directory. Called again with the same description, it goes on.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::data::{
    BatchOptions, BatchPlan, Corpus, Counts, Documents, Effort, Loss, ModelText, Packing, PrepareOptions,
    Source, TokenStore, prepare,
};
use super::hyperparameters::Resolved;
use super::metrics::MetricsFile;
use super::{
    Event, Examples, FullDecoder, Masks, Objective, Observer, Outcome, Passes, RunSettings, TokenExamples,
    TrainError, Trainer, result,
};
use crate::model::{Decoder, DecoderConfig, LoadOptions};
use crate::ops::Workers;
use crate::protocol::fine_tuning::{CorpusFiles, CreateFineTuningJob, MethodKind};
use crate::weights::{Checkpoint, NeuronMask};

/// Where the result is, in a training's folder.
pub const MODEL_FOLDER: &str = "model";

/// Finds the file that a description names.
pub type Locate<'a> = &'a dyn Fn(&str) -> Result<PathBuf, String>;

/// A training that can be run.
pub struct Job<'a> {
    pub request: &'a CreateFineTuningJob,
    /// What is trained.
    pub checkpoint: Checkpoint,
    pub config: DecoderConfig,
    pub locate: Locate<'a>,
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

impl Job<'_> {
    /// Trains to the end, or until it is stopped.
    ///
    /// # Errors
    /// What is wrong with the description, the data, the model or a checkpoint; `Diverged`; a full disk.
    pub fn run(self, observer: &mut dyn Observer) -> Result<Finished, TrainError> {
        let resolved = Resolved::of(self.request, &self.config)?;
        self.check_model()?;
        let text = ModelText::of(&self.checkpoint)?;
        let store = self.prepare("training", &self.source(&resolved)?, &text, &resolved, observer)?;
        let dev = match self.dev_source(&resolved)? {
            Some(source) => Some(self.prepare("validation", &source, &text, &resolved, observer)?),
            None => None,
        };
        let identity = json!({
            "model": self.checkpoint.path,
            "data": store.header().digest,
            "validation": dev.as_ref().map(|dev| &dev.header().digest),
            "hyperparameters": resolved.identity(),
            "mask_file": self.mask_file(),
            "packing": resolved.packing,
            "micro_batch_size": resolved.micro_batch,
        });
        let examples = examples(store, resolved.batches())?;
        // What is measured does not depend on how it is put together.
        let dev = dev.map(|dev| examples_in_order(dev, &resolved)).transpose()?;
        let passes = Passes::new(resolved.recompute, &self.workers);
        let load = LoadOptions {
            max_positions: Some(resolved.max_length),
            ..LoadOptions::new(resolved.dtype, &self.workers)
        };
        let decoder = Decoder::load(self.config.clone(), &*self.checkpoint.tensors, &load)
            .map_err(|error| error.at(&self.checkpoint))?;
        let (mut objective, masks) = self.full(decoder, passes)?;
        let mut metrics = MetricsFile::new(&self.folder);
        let mut both = |event: Event| {
            metrics.event(event.clone())?;
            observer.event(event)
        };
        let mut trainer = Trainer {
            objective: &mut objective,
            examples: &examples,
            dev: dev.as_ref().map(|dev| dev as &dyn Examples),
            masks: masks.as_ref(),
            settings: resolved.trainer,
            run: RunSettings { folder: self.folder.join("checkpoints"), identity, ..resolved.run },
            workers: Arc::clone(&self.workers),
            stop: self.stop,
        };
        let outcome = trainer.train(&mut both)?;
        if !outcome.finished {
            return Ok(Finished { outcome, model: None });
        }
        trainer.load_best(&outcome)?;
        let out = self.folder.join(MODEL_FOLDER);
        if !out.exists() {
            let tied = self.config.tie_word_embeddings;
            result::write(&self.checkpoint, &objective.trained()?, tied, &out)?;
        }
        Ok(Finished { outcome, model: Some(out) })
    }

    /// A decoder whose own weights learn, those of the mask if there is one.
    fn full(&self, decoder: Decoder, passes: Passes) -> Result<(FullDecoder, Option<Masks>), TrainError> {
        let Some(mask) = self.mask_file() else {
            return Ok((FullDecoder::new(decoder, None, passes)?, None));
        };
        let path = self.locate("mask_file", mask)?;
        let wanted: BTreeSet<String> = NeuronMask::open(&path)?.names().into_iter().collect();
        let mut objective = FullDecoder::new(decoder, Some(wanted), passes)?;
        let masks = Masks::open(&path, &objective.trained()?)?;
        Ok((objective, Some(masks)))
    }

    fn check_model(&self) -> Result<(), TrainError> {
        if self.checkpoint.path.is_dir() && self.checkpoint.path.join("config.json").is_file() {
            return Ok(());
        }
        Err(TrainError::option(
            "model",
            format!(
                "is {}, a GGUF file, whose weights cannot be trained: make a directory of it with `xenoglot models convert`",
                self.checkpoint.path.display()
            ),
        ))
    }

    fn mask_file(&self) -> Option<&str> {
        let method = self.request.method.as_ref().filter(|method| method.kind == MethodKind::Cpt)?;
        method.cpt.as_ref()?.mask_file.as_deref()
    }

    fn locate(&self, key: &'static str, name: &str) -> Result<PathBuf, TrainError> {
        (self.locate)(name).map_err(|problem| TrainError::option(key, format!("names {name:?}: {problem}")))
    }

    fn files(&self, key: &'static str, names: &[String]) -> Result<Vec<PathBuf>, TrainError> {
        names.iter().map(|name| self.locate(key, name)).collect()
    }

    fn source(&self, resolved: &Resolved) -> Result<Source, TrainError> {
        let files = self.request.training_file.names();
        if self.request.kind() == MethodKind::Supervised {
            let files = self.files("training_file", files)?;
            return Ok(Source::Supervised { files, loss: self.loss() });
        }
        let cpt = self.request.method.as_ref().and_then(|method| method.cpt.as_ref());
        let given = cpt.map(|cpt| cpt.corpora.as_slice()).unwrap_or_default();
        let mut corpora: Vec<Corpus> =
            given.iter().map(|corpus| self.corpus(corpus)).collect::<Result<_, _>>()?;
        if corpora.is_empty() {
            corpora.push(plain(self.files("training_file", files)?, None, ""));
        }
        Ok(Source::Corpora { corpora, tokens_max: resolved.max_tokens })
    }

    fn corpus(&self, corpus: &CorpusFiles) -> Result<Corpus, TrainError> {
        let files = self.files("corpora", corpus.files.names())?;
        Ok(plain(files, corpus.proportion, corpus.language.as_deref().unwrap_or_default()))
    }

    fn dev_source(&self, _: &Resolved) -> Result<Option<Source>, TrainError> {
        let Some(files) = &self.request.validation_file else { return Ok(None) };
        let files = self.files("validation_file", files.names())?;
        Ok(Some(match self.request.kind() {
            MethodKind::Supervised => Source::Supervised { files, loss: self.loss() },
            // A file is a corpus of its own, so that each has a loss of its own.
            MethodKind::Cpt => {
                let tag = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let corpora =
                    files.into_iter().map(|file| plain(vec![file.clone()], None, &tag(&file))).collect();
                Source::Corpora { corpora, tokens_max: None }
            }
        }))
    }

    fn loss(&self) -> Loss {
        let supervised = self.request.method.as_ref().and_then(|method| method.supervised.as_ref());
        Loss {
            completion_only: supervised.and_then(|method| method.completion_only_loss).unwrap_or(true),
            assistant_only: supervised.and_then(|method| method.assistant_only_loss).unwrap_or(true),
        }
    }

    fn prepare(
        &self,
        name: &str,
        source: &Source,
        text: &ModelText,
        resolved: &Resolved,
        observer: &mut dyn Observer,
    ) -> Result<TokenStore, TrainError> {
        let threads = NonZero::new(self.workers.threads()).unwrap_or(NonZero::<usize>::MIN);
        let options = PrepareOptions {
            length_max: resolved.max_length,
            too_long: resolved.too_long,
            effort: Effort { threads, stop: self.stop },
            progress: &|_| {},
        };
        let folder = self.folder.join("data");
        std::fs::create_dir_all(&folder).map_err(TrainError::io(&folder, "create it"))?;
        let store = prepare(&folder.join(name), source, text, options)?;
        observer.event(Event::Prepared { name: name.to_owned(), counts: store.header().counts })?;
        Ok(store)
    }
}

fn plain(files: Vec<PathBuf>, proportion: Option<f64>, tag: &str) -> Corpus {
    Corpus { files, documents: Documents::Line, proportion, tag: tag.to_owned() }
}

fn examples(store: TokenStore, options: BatchOptions) -> Result<TokenExamples, TrainError> {
    let plan = BatchPlan::new(store.lengths(), options)?;
    Ok(TokenExamples::new(store, plan))
}

fn examples_in_order(store: TokenStore, resolved: &Resolved) -> Result<TokenExamples, TrainError> {
    let packing = Packing::BestFit { tokens_max: resolved.max_length as u32 };
    examples(store, BatchOptions { packing, micro_batch: 1, seed: 0 })
}

/// What a preparation found, in words.
pub fn counted(counts: Counts) -> String {
    let Counts { examples, tokens, trained_tokens, .. } = counts;
    format!("{examples} examples, {tokens} tokens, {trained_tokens} of them learned")
}
