//! Trainings of MindMerger's mapping: the two stages, with the original's settings as defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Finished, Job, Learning, digest_of};
use crate::model::augmented::{AugmentedFolder, MappingWeights, QueryTemplate, beginning};
use crate::model::encoders::{self, EncoderTokenizer, TextEncoder};
use crate::model::{ComputeDtype, LoadOptions};
use crate::protocol::fine_tuning::{MappingTraining, MethodKind};
use crate::train::data::pairs::{
    MATH_PROMPT, Pair, PairEncoder, PairOptions, PairSource, PairStore, Stage, prepare_pairs,
};
use crate::train::data::{BatchOptions, BatchPlan, DataError, Order};
use crate::train::hyperparameters::Resolved;
use crate::train::{Event, Examples, MindMerger, Observer, PairExamples, Passes, TrainError};
use crate::weights::{Tokenizer, open_weights};

/// Of the original, as `items_per_language` and the lengths below.
const DEV_ITEMS: usize = 3000;
/// Tokens of every sequence beside a pair's: its beginning and the end boundary.
const FRAME: usize = 2;
/// Of data too small for that: a tenth.
const DEV_SHARE: usize = 10;

/// The settings of one stage with their defaults.
struct StageSettings<'a> {
    given: &'a MappingTraining,
    is_augmentation: bool,
}

impl<'a> StageSettings<'a> {
    /// Mathematics has long questions and answers, of which the original takes fewer.
    fn length(&self, given: Option<usize>) -> usize {
        given.unwrap_or(if self.is_math() { 512 } else { 200 })
    }

    fn is_math(&self) -> bool {
        self.is_augmentation && self.format() == "queries"
    }

    fn format(&self) -> &'a str {
        self.given.format.as_deref().unwrap_or(if self.is_augmentation { "queries" } else { "aligned" })
    }

    fn items_per_language(&self) -> u64 {
        self.given.items_per_language.unwrap_or(if self.is_augmentation { 30_000 } else { 100_000 })
    }

    fn prompt_template(&self) -> &'a str {
        self.given.prompt_template.as_deref().unwrap_or(MATH_PROMPT)
    }

    fn stage(&self) -> Stage {
        if self.is_augmentation {
            Stage::Augmentation { math_prompt: self.prompt_template().to_owned() }
        } else {
            Stage::Mapping
        }
    }
}

impl Job<'_> {
    pub(super) fn train_mapping(
        &self,
        resolved: Resolved,
        observer: &mut dyn Observer,
    ) -> Result<Finished, TrainError> {
        let Some(given) = self.request.mapping() else {
            return Err(TrainError::option(
                "encoder",
                "is missing: name the encoder that the mapping is for",
            ));
        };
        let is_augmentation = self.request.kind() == MethodKind::Augmentation;
        let stage = StageSettings { given, is_augmentation };
        let EncoderParts { path, encoder, tokenizer, tags } = self.encoder(given)?;
        let tokens_max = stage.length(given.max_source_length).min(encoder.max_tokens());
        let text = EncoderText { tokenizer: &tokenizer, tokens_max, path: &path, tags: &tags };
        let seed = resolved.trainer.seed;
        let Pairs { store, indices, dev } = self.all_pairs(&text, &stage, seed, observer)?;
        let start = given.initial_mapping.as_deref().map(|name| self.initial(name)).transpose()?;
        let identity = json!({
            "model": self.checkpoint.path,
            "encoder": path,
            "data": store.digest(),
            "validation": dev.as_ref().map(|(dev, indices)| (dev.digest(), indices.len())),
            "hyperparameters": resolved.identity(),
            "initial_mapping": start.as_deref().map(digest_of).transpose()?,
        });
        let bos = beginning(&self.checkpoint)?;
        check_lengths(&store, resolved.positions)?;
        let examples = examples(&store, indices, resolved.batches(), bos)?;
        let in_order = BatchOptions { seed: 0, ..resolved.batches() };
        let dev = dev.map(|(store, indices)| self::examples(&store, indices, in_order, bos)).transpose()?;
        let weights = match &start {
            Some(path) => MappingWeights::load(path)?,
            None => MappingWeights::fresh(encoder.hidden_size(), self.config.hidden_size, seed)?,
        };
        let passes = Passes::new(resolved.recompute, &self.workers);
        let mut objective = MindMerger::new(encoder, self.decoder(&resolved)?, &weights, passes)?;
        let learning = Learning {
            examples: &examples,
            dev: dev.as_ref().map(|dev| dev as &dyn Examples),
            masks: None,
            identity,
        };
        let prompt = if stage.is_math() { stage.prompt_template() } else { "{query}" };
        let folder = AugmentedFolder {
            encoder: path.clone(),
            llm: self.checkpoint.path.clone(),
            mapping: PathBuf::new(),
            augmentation: is_augmentation,
            prompt_template: QueryTemplate::parse("prompt_template", prompt)?,
            encoder_template: QueryTemplate::parse("encoder_template", "{query}")?,
            language_tags: tags.clone(),
        };
        self.drive(&mut objective, &learning, resolved, observer, |objective, out| {
            write(folder, &objective.weights()?, out)
        })
    }

    /// In f32: it is small, and its states are what is learned from.
    fn encoder(&self, given: &MappingTraining) -> Result<EncoderParts, TrainError> {
        let path = (self.locate_model)(&given.encoder).map_err(|problem| {
            TrainError::option("encoder", format!("names {:?}: {problem}", given.encoder))
        })?;
        let (config, tensors) = open_weights(&path)?;
        let options = LoadOptions::new(ComputeDtype::F32, &self.workers);
        let encoder = encoders::load(&config, tensors.as_ref(), &options)?;
        let tags = given.language_tags.clone().unwrap_or_default();
        let tokenizer = EncoderTokenizer::new(Tokenizer::load(&path)?, &tags)?;
        Ok(EncoderParts { path, encoder, tokenizer, tags })
    }

    /// What is learned and what is measured on: of files of its own, or a part of all.
    fn all_pairs(
        &self,
        text: &EncoderText<'_>,
        stage: &StageSettings<'_>,
        seed: u64,
        observer: &mut dyn Observer,
    ) -> Result<Pairs, TrainError> {
        let sources = self.sources("training_file", self.request.training_file.names(), stage)?;
        let store = Arc::new(self.pairs("training", &sources, text, stage, observer)?);
        if let Some(files) = &self.request.validation_file {
            let sources = self.sources("validation_file", files.names(), stage)?;
            let dev = Arc::new(self.pairs("validation", &sources, text, stage, observer)?);
            let measured = (0..dev.len()).collect();
            return Ok(Pairs { indices: (0..store.len()).collect(), store, dev: Some((dev, measured)) });
        }
        let items = stage.given.dev_items.unwrap_or_else(|| DEV_ITEMS.min(store.len() / DEV_SHARE));
        let (measured, indices) = split(store.len(), items, seed)?;
        let dev = (!measured.is_empty()).then(|| (Arc::clone(&store), measured));
        Ok(Pairs { store, indices, dev })
    }

    fn sources(
        &self,
        key: &'static str,
        files: &[String],
        stage: &StageSettings<'_>,
    ) -> Result<Vec<PairSource>, TrainError> {
        let language = stage.given.language.clone();
        let source = |file: PathBuf| {
            Ok(match stage.format() {
                "queries" => PairSource::Queries { file },
                "xcsqa" => PairSource::Xcsqa { file, language: language.clone() },
                "xnli" => PairSource::Xnli { file, language: language.clone() },
                _ => PairSource::aligned(&file)?,
            })
        };
        self.files(key, files)?.into_iter().map(source).collect()
    }

    fn pairs(
        &self,
        name: &str,
        sources: &[PairSource],
        text: &EncoderText<'_>,
        stage: &StageSettings<'_>,
        observer: &mut dyn Observer,
    ) -> Result<PairStore, TrainError> {
        let digest = text.digest()?;
        let source = |pair: &Pair| text.ids(pair);
        let eos =
            self.checkpoint.special.eos.as_ref().and_then(|eos| self.checkpoint.tokenizer.token_to_id(eos));
        let eos = eos.or_else(|| self.checkpoint.eos_token_ids.first().copied()).ok_or_else(|| {
            TrainError::option(
                "model",
                "has no token that ends a text: name one as `eos_token` in its tokenizer_config.json",
            )
        })?;
        let encoder =
            PairEncoder { source: &source, source_digest: &digest, llm: &self.checkpoint.tokenizer, eos };
        let target_tokens_max = stage.length(stage.given.max_target_length);
        let options = PairOptions {
            stage: &stage.stage(),
            prompt_tokens_max: stage.length(stage.given.max_source_length),
            target_tokens_max,
            items_per_language_max: Some(stage.items_per_language()),
            effort: self.effort(),
            progress: &|_| {},
        };
        let store = prepare_pairs(&self.data_folder(name)?, sources, encoder, options)?;
        observer.event(Event::Prepared { name: name.to_owned(), counts: store.counts() })?;
        Ok(store)
    }

    /// A mapping's file, or that of a MindMerger model.
    fn initial(&self, name: &str) -> Result<PathBuf, TrainError> {
        let path = Path::new(name);
        if AugmentedFolder::is_one(path) || AugmentedFolder::is_one(&path.join("model")) {
            let folder = if AugmentedFolder::is_one(path) { path.to_owned() } else { path.join("model") };
            return Ok(AugmentedFolder::open(&folder)?.mapping);
        }
        self.locate("initial_mapping", name)
    }
}

/// The encoder of a training.
struct EncoderParts {
    path: PathBuf,
    encoder: Box<dyn TextEncoder>,
    tokenizer: EncoderTokenizer,
    tags: BTreeMap<String, String>,
}

/// Pairs that are learned, by their places in a store, and pairs that are measured on.
struct Pairs {
    store: Arc<PairStore>,
    indices: Vec<usize>,
    dev: Option<(Arc<PairStore>, Vec<usize>)>,
}

/// How the encoder reads.
struct EncoderText<'a> {
    tokenizer: &'a EncoderTokenizer,
    tokens_max: usize,
    path: &'a Path,
    tags: &'a BTreeMap<String, String>,
}

impl EncoderText<'_> {
    fn ids(&self, pair: &Pair) -> Result<Vec<u32>, DataError> {
        let ids = self.tokenizer.encode(&pair.source, Some(&pair.language), self.tokens_max);
        ids.map_err(|error| DataError::Option {
            key: "encoder",
            problem: format!("cannot read a text: {error}"),
        })
    }

    fn digest(&self) -> Result<String, TrainError> {
        let path = self.path.join("tokenizer.json");
        let tokenizer = std::fs::read(&path).map_err(TrainError::io(&path, "read it"))?;
        let mut hash = Sha256::new();
        hash.update(tokenizer);
        hash.update(format!("\0{}\0{:?}", self.tokens_max, self.tags));
        Ok(format!("{:x}", hash.finalize()))
    }
}

/// The first of the shuffled pairs are measured on, as in the original, the others learned.
fn split(pairs: usize, dev: usize, seed: u64) -> Result<(Vec<usize>, Vec<usize>), TrainError> {
    if dev >= pairs {
        return Err(TrainError::option("dev_items", format!("is {dev}, and there are {pairs} pairs in all")));
    }
    let order = Order::new(pairs, seed, u64::MAX);
    let mut all: Vec<usize> = (0..pairs).map(|place| order.at(place)).collect();
    let mut rest = all.split_off(dev);
    rest.sort_unstable();
    Ok((all, rest))
}

/// A pair that the language model's context does not take would fail in the middle of the training.
fn check_lengths(store: &PairStore, context: usize) -> Result<(), TrainError> {
    let longest = store.lengths().into_iter().max().unwrap_or(0) as usize + FRAME;
    if longest <= context {
        return Ok(());
    }
    let problem = format!(
        "and `max_target_length` leave pairs of {longest} tokens, the model's context is {context}: lower them"
    );
    Err(TrainError::option("max_source_length", problem))
}

fn examples(
    store: &Arc<PairStore>,
    indices: Vec<usize>,
    options: BatchOptions,
    bos: u32,
) -> Result<PairExamples, TrainError> {
    let lengths = store.lengths();
    let plan = BatchPlan::new(indices.iter().map(|&index| lengths[index] + FRAME as u32).collect(), options)?;
    Ok(PairExamples::new(Arc::clone(store), indices, plan, bos))
}

/// The folder appears when it is complete.
fn write(mut folder: AugmentedFolder, weights: &MappingWeights, out: &Path) -> Result<(), TrainError> {
    let partial = out.with_extension("partial");
    if partial.exists() {
        std::fs::remove_dir_all(&partial).map_err(TrainError::io(&partial, "remove it"))?;
    }
    std::fs::create_dir_all(&partial).map_err(TrainError::io(&partial, "create it"))?;
    folder.mapping = partial.join("mapping.safetensors");
    weights.save(&folder.mapping)?;
    folder.save(&partial)?;
    std::fs::rename(&partial, out).map_err(TrainError::io(out, "give it its name"))
}
