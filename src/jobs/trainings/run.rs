//! A training in this process: run on the calling thread, and its result served.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::gauge::Gauge;
use super::spec::TrainingSpec;
use crate::ops::Workers;
use crate::protocol::fine_tuning_jobs::FineTuningError;
use crate::registry::{self, AdapterSpec, LoadSpec, Registry, RegistryError};
use crate::train::data::DataError;
use crate::train::{Event, Finished, Job, TrainError};

/// Trains in `folder` to the end, or until it is stopped.
///
/// # Errors
/// Whose fault it is, in the words of the API.
pub fn train(
    spec: &TrainingSpec,
    folder: &Path,
    registry: &Registry,
    gauge: &Gauge,
    stop: &AtomicBool,
) -> Result<Finished, FineTuningError> {
    let request = spec.to_train();
    let paths = spec.paths(folder);
    let (checkpoint, config) = registry::open(&spec.model)
        .map_err(|error| fault("invalid_model", Some("model"), error.to_string()))?;
    let workers = registry.workers();
    let job = Job {
        request: &request,
        checkpoint,
        config,
        locate: &|name| {
            let known = paths.get(name).cloned();
            let initial = spec.initial_mapping.clone().filter(|path| path == Path::new(name));
            known.or(initial).ok_or_else(|| "there is no such file".to_owned())
        },
        locate_model: &|_| spec.encoder.clone().ok_or_else(|| "there is no such encoder".to_owned()),
        folder: folder.to_owned(),
        // The engines' own pool is taken in turn, an operation at a time: a training would keep them waiting.
        workers: Workers::with_isa(workers.threads(), workers.isa()),
        stop,
    };
    let mut observer = |event: Event| {
        gauge.observe(event);
        Ok(())
    };
    let finished = job.run(&mut observer);
    gauge.flush();
    finished.map_err(|error| {
        let mut fault = explained(&error);
        // Files have the names that their owner gave them.
        for (id, path) in &paths {
            let is_validation = request.validation_file.iter().any(|files| files.names().contains(id));
            if is_validation && fault.code == WRONG_DATA && fault.message.contains(&*path.to_string_lossy()) {
                fault.param = Some("validation_file".to_owned());
            }
            fault.message = fault.message.replace(&path.display().to_string(), &spec.files[id]);
        }
        fault
    })
}

/// OpenAI's code; `param` says which of the files.
const WRONG_DATA: &str = "invalid_training_file";

/// The process that had the training before has not let go of its folder yet.
pub const LOCKED: &str = "locked";

fn explained(error: &TrainError) -> FineTuningError {
    let message = error.to_string();
    match error {
        TrainError::Option { key, .. } | TrainError::Data(DataError::Option { key, .. }) => {
            fault("invalid_value", Some(key), message)
        }
        TrainError::Data(DataError::Io { .. } | DataError::Store { .. }) => {
            fault("server_error", None, message)
        }
        TrainError::Data(_) => fault(WRONG_DATA, Some("training_file"), message),
        TrainError::Locked { .. } => fault(LOCKED, None, message),
        TrainError::Mask { .. } => fault("invalid_mask", Some("mask_file"), message),
        TrainError::Model(_) | TrainError::Weights(_) => fault("invalid_model", Some("model"), message),
        TrainError::Diverged { .. } => fault("diverged", None, message),
        TrainError::Gap { .. } => fault("diverged", Some("logp_difference_max"), message),
        _ => fault("server_error", None, message),
    }
}

pub fn fault(code: &str, param: Option<&str>, message: impl Into<String>) -> FineTuningError {
    FineTuningError { code: code.to_owned(), param: param.map(str::to_owned), message: message.into() }
}

/// Under which name the result of a training is served.
pub fn served_name(spec: &TrainingSpec, id: &str) -> String {
    let base: String = spec.request.model.chars().take(BASE_CHARACTERS_MAX).collect();
    let suffix = spec.request.suffix.as_deref().unwrap_or_default();
    let short = id.rsplit('-').next().unwrap_or_default();
    format!("ft:{base}:{suffix}:{}", &short[..short.len().min(8)])
}

/// Takes the result out of service again.
pub fn withdraw(registry: &Registry, name: &str) {
    let removed = match registry.get(name) {
        Ok(model) if model.adapter.is_some() => registry.remove_adapter(name).map(drop),
        Ok(_) => registry.remove(name).map(drop),
        Err(_) => Ok(()),
    };
    if let Err(error) = removed {
        tracing::warn!(model = name, %error, "a cancelled training's result is still served");
    }
}

const BASE_CHARACTERS_MAX: usize = 200;

/// Serves the result: a model of its own, or an adapter beside its base, if that is served. Not for an async thread.
///
/// # Errors
/// Why it cannot be.
pub fn serve(registry: &Registry, spec: &TrainingSpec, name: &str, model: &Path) -> Result<(), String> {
    if registry.get(name).is_ok_and(|served| served.source == model) {
        return Ok(());
    }
    let loaded = if model.join("adapter_config.json").is_file() {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let base = registry.list().into_iter().find(|served| real(&served.source) == real(&spec.model));
        let base =
            base.ok_or_else(|| format!("its base {:?} is not served here", spec.request.model))?.name.clone();
        registry.load_adapter(AdapterSpec {
            name: name.to_owned(),
            path: model.to_owned(),
            base: Some(base),
            replace: false,
        })
    } else {
        let options = registry.defaults().clone();
        registry.load(LoadSpec { name: name.to_owned(), path: model.to_owned(), options })
    };
    loaded.map(drop).map_err(|error: RegistryError| error.to_string())
}
