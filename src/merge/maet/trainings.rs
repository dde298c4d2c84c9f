//! What is trained before a transfer, from the texts that a recipe names in place of models: a short training on each corpus
//! finds its key neurons, then a long one changes only these.
//!
//! The ability's model is trained on ability and general texts, its mask the union of what both corpora's probes changed; all
//! other models on their own texts and neurons (MAET, section 3). Not here: how a training is run.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::super::config::{ConfigError, ModelReference};
use super::mask::MaskOptions;
use super::recipe::MaskTask;
use super::toml_fields::At;
use crate::protocol::fine_tuning::{
    ContinuedPretraining, CorpusFiles, CreateFineTuningJob, Files, Hyperparameters, Method, MethodKind,
};
use crate::weights::Neurons;

pub(super) const KEYS: &[&str] = &[
    "folder",
    "ability_texts",
    "general_texts",
    "ability_share",
    "probe_tokens",
    "tokens",
    "neurons",
    "density",
    "cap",
    "seed",
    "hyperparameters",
];
/// The paper's.
const LEARNING_RATE: f64 = 5e-5;
const TOKENS_MAX: f64 = 1e15;

/// A training from the base.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingTask {
    /// Its folder; the model will be in `model` below it.
    pub folder: PathBuf,
    /// Without a mask, it is one of those that the masks are made of.
    pub request: CreateFineTuningJob,
}

/// Texts of one kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Texts {
    /// Of its probe, and of its model.
    pub name: String,
    pub files: Vec<String>,
}

/// How models are trained, and which have to be so far.
pub(super) struct Trainings {
    pub ability_texts: Option<Texts>,
    pub general_texts: Option<Texts>,
    ability_share: f64,
    folder: PathBuf,
    probe_tokens: u64,
    tokens: u64,
    /// `None`: all weights are trained.
    neurons: Option<MaskOptions>,
    seed: u64,
    hyperparameters: Hyperparameters,
    base: String,
    pub tasks: Vec<TrainingTask>,
    pub masks: Vec<MaskTask>,
}

impl Trainings {
    /// # Errors
    /// What is wrong with the table, with line and key.
    pub(super) fn read(at: &At<'_>, base: &ModelReference, key_neurons: bool) -> Result<Self, ConfigError> {
        let fields = at.fields(KEYS)?;
        if base.lora.is_some() {
            let way_out = "merge it into a folder first (`xenoglot lora merge`)";
            return Err(fields.place.wrong("begins from a base with an adapter", way_out));
        }
        let usual = MaskOptions::default();
        let neurons = MaskOptions {
            neurons: fields.choice("neurons", usual.neurons, &Neurons::NAMES, Neurons::named)?,
            density: fields.number("density", usual.density, 0.0..=1.0)?,
            cap: fields.number("cap", usual.cap, 0.0..=1e9)?,
        };
        neurons.check().map_err(|problem| fields.place.wrong(problem, "see the example of a recipe"))?;
        fields.need("tokens", "say on how many tokens a model is trained")?;
        let texts = |key: &str, name: &str| {
            let files = fields.get(key).map(|at| texts(&at)).transpose()?;
            Ok::<_, ConfigError>(files.map(|files| Texts { name: name.to_owned(), files }))
        };
        Ok(Self {
            ability_texts: texts("ability_texts", "ability")?,
            general_texts: texts("general_texts", "general")?,
            ability_share: fields.number("ability_share", 0.5, 0.0..=1.0)?,
            folder: fields.need("folder", "say where trainings and masks go")?.string()?.into(),
            probe_tokens: fields.number("probe_tokens", 1e6, 1.0..=TOKENS_MAX)? as u64,
            tokens: fields.number("tokens", 0.0, 1.0..=TOKENS_MAX)? as u64,
            neurons: key_neurons.then_some(neurons),
            seed: fields.number("seed", 42.0, 0.0..=TOKENS_MAX)? as u64,
            hyperparameters: hyperparameters(fields.get("hyperparameters").as_ref())?,
            base: base.path.clone(),
            tasks: Vec::new(),
            masks: Vec::new(),
        })
    }

    /// Theta_{A,L0}, of both corpora where there are both.
    pub(super) fn ability(&mut self) -> Option<ModelReference> {
        let ability = self.ability_texts.clone()?;
        let general = self.general_texts.clone();
        let corpora: Vec<&Texts> = std::iter::once(&ability).chain(&general).collect();
        let shares = [self.ability_share, 1.0 - self.ability_share];
        let shares = if corpora.len() == 1 { &[] } else { &shares[..] };
        Some(self.model(&ability.name, &corpora, shares))
    }

    /// Theta_{L0}.
    pub(super) fn reference(&mut self) -> Option<ModelReference> {
        let general = self.general_texts.clone()?;
        Some(self.language(&general))
    }

    /// A model of one corpus.
    pub(super) fn language(&mut self, texts: &Texts) -> ModelReference {
        self.model(&texts.name, &[texts], &[])
    }

    fn model(&mut self, name: &str, corpora: &[&Texts], shares: &[f64]) -> ModelReference {
        let mask = self.neurons.map(|options| {
            let tuned = corpora.iter().map(|&texts| self.probe(texts)).collect();
            let out = self.folder.join("masks").join(format!("{name}.safetensors"));
            let out = out.to_string_lossy().into_owned();
            self.masks.push(MaskTask { tuned, out: out.clone(), options });
            out
        });
        let folder = self.folder.join("models").join(name);
        let request = self.request(corpora, shares, self.tokens, mask);
        self.add(folder, request)
    }

    fn probe(&mut self, texts: &Texts) -> ModelReference {
        let folder = self.folder.join("probes").join(&texts.name);
        let request = self.request(&[texts], &[], self.probe_tokens, None);
        self.add(folder, request)
    }

    /// Trains once what is asked for twice.
    fn add(&mut self, folder: PathBuf, request: CreateFineTuningJob) -> ModelReference {
        let made = model_in(&folder);
        if self.tasks.iter().all(|task| task.folder != folder) {
            self.tasks.push(TrainingTask { folder, request });
        }
        made
    }

    fn request(
        &self,
        corpora: &[&Texts],
        shares: &[f64],
        tokens: u64,
        mask_file: Option<String>,
    ) -> CreateFineTuningJob {
        let corpora = corpora.iter().enumerate().map(|(index, texts)| CorpusFiles {
            files: Files::Several(texts.files.clone()),
            proportion: shares.get(index).copied(),
            language: Some(texts.name.clone()),
        });
        let cpt = ContinuedPretraining {
            hyperparameters: self.hyperparameters.clone(),
            max_tokens: Some(tokens),
            corpora: corpora.collect(),
            mask_file,
            ..ContinuedPretraining::default()
        };
        CreateFineTuningJob {
            model: self.base.clone(),
            method: Some(Method { kind: MethodKind::Cpt, cpt: Some(cpt), ..Method::default() }),
            seed: Some(self.seed),
            ..CreateFineTuningJob::default()
        }
    }
}

impl TrainingTask {
    pub fn is_masked(&self) -> bool {
        let cpt = self.request.method.as_ref().and_then(|method| method.cpt.as_ref());
        cpt.is_some_and(|cpt| cpt.mask_file.is_some())
    }
}

fn model_in(folder: &Path) -> ModelReference {
    let path = folder.join("model").to_string_lossy().into_owned();
    ModelReference { path, revision: None, lora: None, override_architecture: None }
}

/// One file or a list of files.
///
/// # Errors
/// An empty list, or what is no text.
pub(super) fn texts(at: &At<'_>) -> Result<Vec<String>, ConfigError> {
    if !at.is_list() {
        return Ok(vec![at.string()?.to_owned()]);
    }
    let items = at.items()?;
    if items.is_empty() {
        return Err(at
            .place
            .wrong("is an empty list", "name a file, plain text or JSONL with a `text` a line"));
    }
    items.iter().map(|at| at.string().map(str::to_owned)).collect()
}

fn hyperparameters(at: Option<&At<'_>>) -> Result<Hyperparameters, ConfigError> {
    let mut read = match at {
        None => Hyperparameters::default(),
        Some(at) => {
            let value = toml::de::ValueDeserializer::from(Spanned::new(0..0, at.value().clone()));
            Hyperparameters::deserialize(value)
                .map_err(|error| at.place.wrong(error.message().replace('\n', " "), "see docs/training.md"))?
        }
    };
    if let Some(at) = at {
        if read.n_epochs.is_some() || read.max_steps.is_some() {
            return Err(at.place.wrong("has n_epochs or max_steps", "`tokens` says how long is trained"));
        }
        read.check().map_err(|error| at.place.wrong(error.message, "change it"))?;
    }
    if read.learning_rate.is_none() && read.learning_rate_multiplier.is_none() {
        read.learning_rate = Some(LEARNING_RATE);
    }
    Ok(read)
}
