//! What a training is, as the store keeps it: the request, and where what it names is on this machine.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::ModelError;
use crate::model::augmented::AugmentedFolder;
use crate::protocol::fine_tuning::{CreateFineTuningJob, Files, MethodKind};
use crate::registry::{self, Registry};
use crate::train::{MODEL_FOLDER, TrainError, check_settings};

/// A training to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSpec {
    /// With the ids of files.
    pub request: CreateFineTuningJob,
    /// What is trained, or what a mapping is trained for.
    pub model: PathBuf,
    /// Of a mapping.
    pub encoder: Option<PathBuf>,
    /// A MindMerger folder to begin with, or a mapping's file; `None` also for an uploaded one.
    pub initial_mapping: Option<PathBuf>,
    /// The files' names by id.
    pub files: BTreeMap<String, String>,
}

/// What is wrong with a request for a training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongTraining {
    pub param: String,
    pub message: String,
}

impl WrongTraining {
    pub fn new(param: impl Into<String>, problem: impl std::fmt::Display) -> Self {
        let param = param.into();
        Self { message: format!("`{param}` {problem}"), param }
    }
}

/// The folder of a training below that of the data.
pub fn training_folder(data: &Path, id: &str) -> PathBuf {
    data.join("trainings").join(id)
}

/// The bytes of an uploaded file.
pub fn file_path(data: &Path, id: &str) -> PathBuf {
    data.join("files").join(id)
}

/// The ids of files that a request names, with the fields that name them.
pub fn files_of(request: &CreateFineTuningJob) -> Vec<(&'static str, String)> {
    let mut named: Vec<(&'static str, String)> = Vec::new();
    let mut add = |param, files: &Files| named.extend(files.names().iter().map(|id| (param, id.clone())));
    add("training_file", &request.training_file);
    if let Some(files) = &request.validation_file {
        add("validation_file", files);
    }
    if let Some(cpt) = request.method.as_ref().and_then(|method| method.cpt.as_ref()) {
        cpt.corpora.iter().for_each(|corpus| add("method.cpt.corpora", &corpus.files));
        if let Some(mask) = &cpt.mask_file {
            add("method.cpt.mask_file", &Files::One(mask.clone()));
        }
    }
    let initial = request.mapping().and_then(|mapping| mapping.initial_mapping.as_ref());
    if let Some(id) = initial.filter(|name| name.starts_with("file-")) {
        add("initial_mapping", &Files::One(id.clone()));
    }
    named
}

impl TrainingSpec {
    /// Finds what the request names: models that are served, and such below the models directory. Reads headers: not for an
    /// async thread.
    ///
    /// # Errors
    /// The field at fault.
    pub fn new(
        request: CreateFineTuningJob,
        files: BTreeMap<String, String>,
        registry: &Registry,
        data: &Path,
    ) -> Result<Self, WrongTraining> {
        let model = model_path(&request.model, registry).ok_or_else(|| no_model("model", &request.model))?;
        let mut spec = Self { request, model, encoder: None, initial_mapping: None, files };
        if let Some(mapping) = spec.request.mapping() {
            let param = |field: &str| format!("method.{}.{field}", spec.request.kind().name());
            let encoder = registry::below(&mapping.encoder, registry.models_dir());
            let encoder = encoder.ok_or_else(|| no_model(&param("encoder"), &mapping.encoder))?.path;
            let initial = match &mapping.initial_mapping {
                Some(name) if !spec.files.contains_key(name) => {
                    let path = initial_path(name, registry, data);
                    Some(path.ok_or_else(|| no_model(&param("initial_mapping"), name))?)
                }
                _ => None,
            };
            (spec.encoder, spec.initial_mapping) = (Some(encoder), initial);
        }
        spec.check_names()?;
        spec.check_model()?;
        Ok(spec)
    }

    fn check_model(&self) -> Result<(), WrongTraining> {
        let opened = registry::open(&self.model);
        let (checkpoint, config) = opened.map_err(|error| WrongTraining::new("model", error))?;
        check_settings(&self.request, &checkpoint, &config).map_err(|error| match error {
            TrainError::Option { key, problem } => WrongTraining::new(key, problem),
            TrainError::Model(ModelError::InvalidKey { key, found, expected }) => {
                WrongTraining::new(key, format!("is {found}, but must be {expected}"))
            }
            error => WrongTraining::new("model", error),
        })
    }

    /// Files that stand beside each other must not have one name, and translations come in pairs.
    fn check_names(&self) -> Result<(), WrongTraining> {
        if !self.is_aligned() {
            return Ok(());
        }
        let groups = [
            ("training_file", Some(&self.request.training_file)),
            ("validation_file", self.request.validation_file.as_ref()),
        ];
        for (param, files) in groups {
            let Some(files) = files else { continue };
            let names: Vec<&str> = files.names().iter().map(|id| self.name(id)).collect();
            for (at, name) in names.iter().enumerate() {
                if names[..at].contains(name) {
                    return Err(WrongTraining::new(param, format!("has two files with the name {name:?}")));
                }
                let english = Path::new(name).with_extension("en").display().to_string();
                if !names.contains(&english.as_str()) {
                    let problem = format!(
                        "has {name:?} and not its translation {english:?}: upload that too and name both"
                    );
                    return Err(WrongTraining::new(param, problem));
                }
            }
            if names.iter().all(|name| is_english(name)) {
                return Err(WrongTraining::new(
                    param,
                    "has texts in English alone: name their translations too",
                ));
            }
        }
        Ok(())
    }

    fn is_aligned(&self) -> bool {
        let usual = if self.request.kind() == MethodKind::Mapping { "aligned" } else { "queries" };
        self.request.mapping().is_some_and(|mapping| mapping.format.as_deref().unwrap_or(usual) == "aligned")
    }

    fn name(&self, id: &str) -> &str {
        self.files.get(id).map(String::as_str).unwrap_or_default()
    }

    /// Where the files stand under their own names, by id: translations beside each other, others alone.
    pub fn paths(&self, folder: &Path) -> BTreeMap<String, PathBuf> {
        let files = folder.join("files");
        let training = self.request.training_file.names();
        let group = |id: &String| {
            if !self.is_aligned() {
                return files.join(id);
            }
            files.join(if training.contains(id) { "training" } else { "validation" })
        };
        self.files.iter().map(|(id, name)| (id.clone(), group(id).join(name))).collect()
    }

    /// Puts the files there, so that they stay when the uploads are deleted.
    ///
    /// # Errors
    /// A file whose bytes are not there, a full disk.
    pub fn take_files(&self, data: &Path, folder: &Path) -> io::Result<()> {
        for (id, path) in self.paths(folder) {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let from = file_path(data, &id);
            // Not every file system has links.
            if std::fs::hard_link(&from, &path).is_err() {
                std::fs::copy(&from, &path)?;
            }
        }
        Ok(())
    }

    /// The request as a training on this machine reads it: translations are named by their sources alone.
    pub fn to_train(&self) -> CreateFineTuningJob {
        let mut request = self.request.clone();
        if let (Some(path), Some(method)) = (&self.initial_mapping, &mut request.method) {
            let mapping = match method.kind {
                MethodKind::Mapping => method.mapping.as_mut(),
                _ => method.augmentation.as_mut(),
            };
            if let Some(mapping) = mapping {
                mapping.initial_mapping = Some(path.display().to_string());
            }
        }
        if self.is_aligned() {
            request.training_file = self.sources(&request.training_file);
            request.validation_file = request.validation_file.as_ref().map(|files| self.sources(files));
        }
        request
    }

    /// Of aligned files, those that are not English.
    fn sources(&self, files: &Files) -> Files {
        let is_source = |id: &&String| !is_english(self.name(id));
        Files::Several(files.names().iter().filter(is_source).cloned().collect())
    }
}

fn is_english(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|ending| ending == "en")
}

/// A served model's folder, or that of a name below the models directory.
fn model_path(name: &str, registry: &Registry) -> Option<PathBuf> {
    if let Ok(model) = registry.get(name) {
        return model.adapter.is_none().then(|| absolute(&model.source));
    }
    registry::below(name, registry.models_dir()).map(|found| absolute(&found.path))
}

/// Of another training by its id, of a served model, or below the models directory.
fn initial_path(name: &str, registry: &Registry, data: &Path) -> Option<PathBuf> {
    if name.starts_with("ftjob-") && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        let folder = training_folder(data, name).join(MODEL_FOLDER);
        return AugmentedFolder::is_one(&folder).then_some(folder);
    }
    if let Some(folder) = model_path(name, registry) {
        return Some(folder);
    }
    // A mapping's file.
    registry::existing_below(registry.models_dir(), name).filter(|path| path.is_file())
}

fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn no_model(param: &str, name: &str) -> WrongTraining {
    let name: String = name.chars().take(200).collect();
    WrongTraining::new(
        param,
        format!("names {name:?}, which is neither a served model nor one below the models directory"),
    )
}
