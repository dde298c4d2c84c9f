//! Adapters beside their bases: each is a model with a name of its own on another model's engine. They come and go while
//! the engine runs; requests hold on to the adapter that they began with.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::engine::{MemoryPlan, RequestAdapter, available_memory};
use crate::model::{Adapter, AdapterOptions};

use super::{Registry, RegistryError, ServedAdapter, ServedModel};

/// What adapter to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterSpec {
    /// The name to serve it under.
    pub name: String,
    /// A folder as PEFT writes it.
    pub path: PathBuf,
    /// The model that it is for; without one, the only one there is.
    pub base: Option<String>,
    /// Takes the place of an adapter of this name, if there is one.
    pub replace: bool,
}

impl Registry {
    /// Reads an adapter and serves it. Running requests of one that it replaces go on with what they began with.
    ///
    /// # Errors
    /// `NameTaken` by a model, `AdapterLoaded`, `TooManyAdapters`, `UnknownModel` or `AmbiguousBase` before anything is
    /// read; then what is wrong with the files, or that there is no room.
    pub fn load_adapter(&self, spec: AdapterSpec) -> Result<Arc<ServedModel>, RegistryError> {
        let AdapterSpec { name, path, base, replace } = spec;
        let _turn = self.inner.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_adapter_name(&name, replace)?;
        let base = self.base(base.as_deref())?;
        let available = available_memory().unwrap_or(u64::MAX);
        let options = AdapterOptions {
            workers: Arc::clone(self.workers()),
            rank_max: self.defaults().max_lora_rank,
            bytes_max: available.saturating_sub(self.promised_bytes()),
        };
        let weights = Adapter::open(&path, &base.config, &options)?;
        let (rank, bytes) = (weights.rank(), weights.bytes());
        tracing::info!(
            "adapter {name} from {}, rank {rank}, {bytes} bytes, beside {}",
            path.display(),
            base.name
        );
        let version = self.inner.adapter_version.fetch_add(1, Ordering::Relaxed);
        let adapter = ServedAdapter {
            base: base.name.clone(),
            weights: RequestAdapter { version, weights: Arc::new(weights) },
        };
        self.put_adapter(ServedModel {
            name,
            created: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            source: path,
            adapter: Some(adapter),
            weight_bytes: bytes as u64,
            weights_digest: Arc::default(),
            // The engine is its base's, and so is what was promised to it.
            plan: MemoryPlan::default(),
            ..ServedModel::clone(&base)
        })
    }

    /// Takes an adapter out of service. Its requests go on, and its memory is free when the last of them has ended.
    ///
    /// # Errors
    /// `UnknownAdapter`, also for the name of a model.
    pub fn remove_adapter(&self, name: &str) -> Result<Arc<ServedModel>, RegistryError> {
        let mut models = self.write();
        let at = models.iter().position(|model| model.name == name && model.adapter.is_some());
        let Some(at) = at else {
            let adapters = models.iter().filter(|model| model.adapter.is_some());
            let known = adapters.map(|model| model.name.clone()).collect();
            return Err(RegistryError::UnknownAdapter { name: name.chars().take(200).collect(), known });
        };
        Ok(models.remove(at))
    }

    fn check_adapter_name(&self, name: &str, replace: bool) -> Result<(), RegistryError> {
        let name = name.to_owned();
        let replaces = match self.get(&name) {
            Ok(model) if model.adapter.is_none() => return Err(RegistryError::NameTaken { name }),
            Ok(_) if !replace => return Err(RegistryError::AdapterLoaded { name }),
            Ok(_) => true,
            Err(_) => false,
        };
        let count = self.adapters().len();
        if count >= self.defaults().max_loras && !replaces {
            return Err(RegistryError::TooManyAdapters { count });
        }
        Ok(())
    }

    /// The model that an adapter is to stand beside.
    fn base(&self, name: Option<&str>) -> Result<Arc<ServedModel>, RegistryError> {
        let models = self.list();
        let known = || models.iter().map(|model| model.name.clone()).collect::<Vec<_>>();
        match (name, models.as_slice()) {
            (None, [only]) => Ok(Arc::clone(only)),
            (None, [_, ..]) => Err(RegistryError::AmbiguousBase { known: known() }),
            (name, _) => {
                let name = name.unwrap_or_default();
                let found = models.iter().find(|model| model.name == name);
                found.cloned().ok_or_else(|| super::unknown(name, &models))
            }
        }
    }

    /// Under the lock, since the base, or what it replaces, may have gone while it was read.
    fn put_adapter(&self, model: ServedModel) -> Result<Arc<ServedModel>, RegistryError> {
        let mut models = self.write();
        let base = model.adapter.as_ref().map(|adapter| adapter.base.as_str()).unwrap_or_default();
        if !models.iter().any(|known| known.name == base && known.adapter.is_none()) {
            return Err(super::unknown(base, &models));
        }
        let model = Arc::new(model);
        match models.iter().position(|known| known.name == model.name) {
            Some(at) if models[at].adapter.is_none() => {
                return Err(RegistryError::NameTaken { name: model.name.clone() });
            }
            Some(at) => models[at] = Arc::clone(&model),
            None => models.push(Arc::clone(&model)),
        }
        Ok(model)
    }
}
