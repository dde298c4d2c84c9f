//! Models by name: each has an engine, a tokenizer and a template, and they come and go while the process runs.
//!
//! Turns a LoadSpec into a running model (`load`), finds models on disk or on a hub (`resolve`, `hub`). It
//! answers no requests: callers take a `ServedModel` and use its engine handle.

mod adapters;
mod catalogue;
mod confined;
mod encoders;
mod error;
mod generation;
mod guides;
mod hub;
mod load;
mod open;
mod opened;
mod resolve;
mod served;
mod weight_update;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

pub use adapters::AdapterSpec;
pub use catalogue::{Catalogue, CatalogueEntry};
pub use confined::{existing_below, new_below};
pub use encoders::{ENCODER_REQUESTS_MAX, Pooling, ServedEncoder, batches, is_encoder};
pub use error::RegistryError;
pub use generation::GenerationDefaults;
pub use guides::ModelGuides;
pub use hub::{HubError, HubName, PullEvent, PullProgress, pull};
pub use load::{Inspection, LoadedDecoder, inspect, load, load_decoder};
pub use open::open;
pub use resolve::{DEFAULT_MODEL, Found, ResolveError, below, find, list, name_of, resolve};
pub use served::{EngineOptions, LoadSpec, ServedAdapter, ServedModel};
pub use weight_update::{Announcement, Trainer, UpdateError, WeightUpdates};

use crate::ops::Workers;
use crate::settings::nearest;

/// The models of a process. Clones share them.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    /// An adapter stands behind its base.
    models: RwLock<Vec<Arc<ServedModel>>>,
    encoders: RwLock<Vec<Arc<ServedEncoder>>>,
    /// Known, loaded or not.
    catalogue: RwLock<Catalogue>,
    /// Counts the adapters that were read, so that no two of them have one version.
    adapter_version: AtomicU64,
    /// Removed, but perhaps still answering: their memory is not free yet.
    leaving: Mutex<Vec<Weak<ServedModel>>>,
    /// Held while a model is loaded: loads take turns, so that each plans with what the one before took.
    loading: Mutex<()>,
    workers: Arc<Workers>,
    defaults: EngineOptions,
    models_dir: PathBuf,
}

impl Registry {
    /// An empty registry. `defaults` hold for models that are loaded without their own options; `models_dir` is
    /// where names are looked up.
    pub fn new(workers: Arc<Workers>, defaults: EngineOptions, models_dir: PathBuf) -> Self {
        let (models, encoders) = (RwLock::default(), RwLock::default());
        let (leaving, loading) = (Mutex::default(), Mutex::default());
        let adapter_version = AtomicU64::new(0);
        let inner = Inner {
            models,
            encoders,
            catalogue: RwLock::default(),
            adapter_version,
            leaving,
            loading,
            workers,
            defaults,
            models_dir,
        };
        Self { inner: Arc::new(inner) }
    }

    pub fn workers(&self) -> &Arc<Workers> {
        &self.inner.workers
    }

    pub fn defaults(&self) -> &EngineOptions {
        &self.inner.defaults
    }

    pub fn models_dir(&self) -> &Path {
        &self.inner.models_dir
    }

    /// Serves a model that is loaded already.
    ///
    /// # Errors
    /// `NameTaken`; the model is given up, and with it its engine.
    pub fn add(&self, model: ServedModel) -> Result<Arc<ServedModel>, RegistryError> {
        let mut models = self.write();
        if models.iter().any(|known| known.name == model.name) || self.encoder(&model.name).is_some() {
            return Err(RegistryError::NameTaken { name: model.name.clone() });
        }
        let model = Arc::new(model);
        models.push(Arc::clone(&model));
        Ok(model)
    }

    /// Takes a model out of service, and with it its adapters, which follow it in the result. Requests that hold it go on;
    /// `ServedModel::handle.drain()` waits for them.
    ///
    /// # Errors
    /// `UnknownModel`, also for the name of an adapter; see [`Self::remove_adapter`].
    pub fn remove(&self, name: &str) -> Result<Vec<Arc<ServedModel>>, RegistryError> {
        let mut models = self.write();
        let gone = self.take_out(&mut models, name);
        if gone.is_empty() { Err(unknown(name, &models)) } else { Ok(gone) }
    }

    /// A model, and after it its adapters; nothing if there is no such model.
    fn take_out(&self, models: &mut Vec<Arc<ServedModel>>, name: &str) -> Vec<Arc<ServedModel>> {
        let at = models.iter().position(|model| model.name == name && model.adapter.is_none());
        let Some(at) = at else { return Vec::new() };
        let model = models.remove(at);
        let is_of = |adapter: &ServedAdapter| adapter.base == name;
        let (gone, kept) = std::mem::take(models)
            .into_iter()
            .partition::<Vec<_>, _>(|other| other.adapter.as_ref().is_some_and(is_of));
        *models = kept;
        let mut leaving = self.leaving();
        leaving.retain(|gone| gone.strong_count() > 0);
        leaving.push(Arc::downgrade(&model));
        std::iter::once(model).chain(gone).collect()
    }

    /// # Errors
    /// `UnknownModel` lists the names there are.
    pub fn get(&self, name: &str) -> Result<Arc<ServedModel>, RegistryError> {
        let models = self.read();
        models.iter().find(|model| model.name == name).cloned().ok_or_else(|| unknown(name, &models))
    }

    /// Every model that has an engine of its own, in the order of loading.
    pub fn list(&self) -> Vec<Arc<ServedModel>> {
        self.read().iter().filter(|model| model.adapter.is_none()).cloned().collect()
    }

    /// Every model that is an adapter beside another, in the order of loading.
    pub fn adapters(&self) -> Vec<Arc<ServedModel>> {
        self.read().iter().filter(|model| model.adapter.is_some()).cloned().collect()
    }

    /// What the models here may still touch of the memory that the system counts as free.
    fn promised_bytes(&self) -> u64 {
        // In this order a model that is removed meanwhile counts twice rather than not at all.
        let models = self.list();
        let leaving: Vec<_> = self.leaving().iter().filter_map(Weak::upgrade).collect();
        models.iter().chain(&leaving).fold(0, |sum: u64, model| sum.saturating_add(model.untouched_bytes()))
    }

    fn leaving(&self) -> MutexGuard<'_, Vec<Weak<ServedModel>>> {
        self.inner.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Arc<ServedModel>>> {
        // A panic elsewhere leaves the list whole: it changes by one push or one remove.
        self.inner.models.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<Arc<ServedModel>>> {
        self.inner.models.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(name: &str, models: &[Arc<ServedModel>]) -> RegistryError {
    let known: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
    let nearest = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
    RegistryError::UnknownModel { name: name.chars().take(200).collect(), known, nearest }
}
