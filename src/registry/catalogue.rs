//! Models that the server knows of and need not have in memory: loaded when they are asked for, unloaded when nobody does, or
//! where another needs their memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::engine::MemoryError;

use super::{EngineOptions, LoadSpec, Registry, RegistryError, ServedModel};

/// What is known of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogueEntry {
    pub path: PathBuf,
    pub options: EngineOptions,
    /// More names for it.
    pub aliases: Vec<String>,
    /// Without a request for so long, it is unloaded.
    pub idle: Option<Duration>,
    /// Unloaded, it comes back when it is asked for, and makes room for others that are.
    pub on_demand: bool,
}

/// By name.
pub type Catalogue = BTreeMap<String, CatalogueEntry>;

impl Registry {
    /// Makes models known. To be called once, before requests come.
    pub fn set_catalogue(&self, catalogue: Catalogue) {
        *self.inner.catalogue.write().unwrap_or_else(PoisonError::into_inner) = catalogue;
    }

    /// Those of its models that are folders, known or loaded. What lies beside a file may be anything.
    pub fn folders(&self) -> Vec<PathBuf> {
        let known = self.inner.catalogue.read().unwrap_or_else(PoisonError::into_inner);
        let known = known.values().map(|entry| entry.path.clone());
        let served = self.list().into_iter().filter(|model| model.adapter.is_none());
        let paths = known.chain(served.map(|model| model.source.clone()));
        paths.filter(|path| path.is_dir()).collect()
    }

    /// Models on demand that are not loaded, by name.
    pub fn unloaded(&self) -> Vec<(String, CatalogueEntry)> {
        let known = self.inner.catalogue.read().unwrap_or_else(PoisonError::into_inner);
        let absent = known.iter().filter(|(name, entry)| entry.on_demand && self.get(name).is_err());
        absent.map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    pub fn is_on_demand(&self, name: &str) -> bool {
        let known = self.inner.catalogue.read().unwrap_or_else(PoisonError::into_inner);
        known.get(name).is_some_and(|entry| entry.on_demand)
    }

    /// Aliases with the names that they stand for.
    pub fn aliases(&self) -> Vec<(String, String)> {
        let known = self.inner.catalogue.read().unwrap_or_else(PoisonError::into_inner);
        let of_entry = |(name, entry): (&String, &CatalogueEntry)| {
            entry.aliases.iter().map(|alias| (alias.clone(), name.clone())).collect::<Vec<_>>()
        };
        known.iter().flat_map(of_entry).collect()
    }

    /// The name that an alias stands for; any other name itself.
    pub fn real_name(&self, name: &str) -> String {
        let aliases = self.aliases();
        aliases.into_iter().find(|(alias, _)| alias == name).map_or_else(|| name.to_owned(), |(_, real)| real)
    }

    /// A model that is loaded on demand, loaded if it is not; `None` for a name that the catalogue lacks. Models that nobody uses
    /// make room, the one that was asked for longest ago first; `evicted` is told of each. Takes as long as loading; not for an async
    /// thread.
    ///
    /// # Errors
    /// As [`Registry::load`].
    pub fn load_on_demand(
        &self,
        name: &str,
        evicted: &dyn Fn(&Arc<ServedModel>),
    ) -> Option<Result<Arc<ServedModel>, RegistryError>> {
        let known = self.inner.catalogue.read().unwrap_or_else(PoisonError::into_inner);
        let entry = known.get(name).filter(|entry| entry.on_demand).cloned()?;
        drop(known);
        loop {
            let (path, options) = (entry.path.clone(), entry.options.clone());
            match self.load(LoadSpec { name: name.to_owned(), path, options }) {
                // Another request had it loaded meanwhile.
                Err(RegistryError::NameTaken { .. }) => {
                    // Or it has gone again.
                    if let Ok(model) = self.get(name) {
                        return Some(Ok(model));
                    }
                }
                Err(RegistryError::Memory(error)) => {
                    if !self.evict_for(name, &error, evicted) {
                        return Some(Err(RegistryError::Memory(error)));
                    }
                }
                done => return Some(done),
            }
        }
    }

    /// Takes models out of service that nobody asked for as long as they may be idle.
    pub fn remove_idle(&self) -> Vec<Arc<ServedModel>> {
        let known = self.inner.catalogue.read().unwrap_or_else(PoisonError::into_inner).clone();
        let is_idle = |model: &ServedModel| {
            let idle = known.get(&model.name).filter(|entry| entry.on_demand).and_then(|entry| entry.idle);
            idle.is_some_and(|idle| model.unused_for() >= idle)
        };
        let idle: Vec<String> =
            self.list().iter().filter(|model| is_idle(model)).map(|model| model.name.clone()).collect();
        idle.iter().flat_map(|name| self.remove_unused(name)).collect()
    }

    /// Takes models on demand, beside `name`, that no request holds out of service and out of memory, the one that was asked for
    /// longest ago. `false`: there is none, or all of them together would not make room enough.
    fn evict_for(&self, name: &str, error: &MemoryError, evicted: &dyn Fn(&Arc<ServedModel>)) -> bool {
        let known = self.inner.catalogue.read().unwrap_or_else(PoisonError::into_inner).clone();
        let may_go = |model: &Arc<ServedModel>| {
            let on_demand = known.get(&model.name).is_some_and(|entry| entry.on_demand);
            model.name != name && on_demand && !model.is_busy()
        };
        let mut others: Vec<Arc<ServedModel>> = self.list().into_iter().filter(may_go).collect();
        let room: u64 = others.iter().map(|model| model.plan.total_bytes()).sum();
        if error.missing_bytes().is_none_or(|missing| missing > room) {
            return false;
        }
        others.sort_by_key(|model| std::cmp::Reverse(model.unused_for()));
        let names: Vec<String> = others.into_iter().map(|model| model.name.clone()).collect();
        let gone = names.iter().map(|other| self.remove_unused(other)).find(|gone| !gone.is_empty());
        for gone in gone.iter().flatten() {
            tracing::info!(model = gone.name, "unloaded to make room for {name}");
            evicted(gone);
            if gone.adapter.is_none() {
                // Memory is free when the engine has ended: nobody holds it, so it ends at once.
                gone.handle.blocking_drain();
            }
        }
        gone.is_some()
    }

    /// [`Self::remove`], if no request holds the model or an adapter of it. Under the lock that hands models out, so that none can
    /// begin to.
    fn remove_unused(&self, name: &str) -> Vec<Arc<ServedModel>> {
        let mut models = self.write();
        let is_of = |model: &Arc<ServedModel>| {
            model.name == name || model.adapter.as_ref().is_some_and(|adapter| adapter.base == name)
        };
        // The registry's own is one.
        let held = |model: &Arc<ServedModel>| Arc::strong_count(model) > 1 || model.is_busy();
        if models.iter().any(|model| is_of(model) && held(model)) {
            return Vec::new();
        }
        self.take_out(&mut models, name)
    }
}

impl ServedModel {
    /// Somebody asks for it.
    pub fn touch(&self) {
        self.last_used.store(now_ms(), Ordering::Relaxed);
    }

    /// Since somebody asked for it, or since it was loaded.
    pub fn unused_for(&self) -> Duration {
        Duration::from_millis(now_ms().saturating_sub(self.last_used.load(Ordering::Relaxed)))
    }

    /// Whether its engine has work.
    pub fn is_busy(&self) -> bool {
        let stats = self.handle.stats();
        stats.requests_running.load(Ordering::Relaxed) + stats.requests_waiting.load(Ordering::Relaxed) > 0
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
