//! What every route sees: the models, the options, the metrics.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::auth::AuthOptions;
use super::clock::Clock;
use super::error::ApiError;
use super::evals::{EvalOptions, Evals, unavailable};
use super::keys::{ApiKeys, KeyRing, KeysError};
use super::limits::Limits;
use super::metrics::{Metrics, MetricsError};
use super::request_log::RequestLog;
use super::stored_responses::StoredResponses;
use crate::engine::LogprobsMode;
use crate::registry::{Registry, RegistryError, ServedModel, WeightUpdates};
use crate::settings::Settings;

#[derive(Debug, Clone)]
pub struct ApiOptions {
    pub auth: AuthOptions,
    pub limits: Limits,
    /// Put before every metric's name; `vllm:` serves existing dashboards.
    pub metrics_prefix: String,
    /// How long running requests may go on after the signal to stop.
    pub drain_timeout: Duration,
    /// An engine with work that has not moved on for so long is reported as unhealthy.
    pub watchdog: Duration,
    /// `None`: the evals routes answer 503.
    pub evals: Option<EvalOptions>,
    /// By which keys expire and limits are counted.
    pub clock: Clock,
    pub rollouts: RolloutOptions,
}

/// What a trainer may do here.
#[derive(Debug, Clone, Default)]
pub struct RolloutOptions {
    /// Logprobs are processed ones unless a request says otherwise.
    pub backend: bool,
    /// Where its checkpoints and adapters are, beside the models directory.
    pub weights_dir: Option<PathBuf>,
    /// Where it may listen, beside this machine.
    pub hosts: Vec<String>,
    /// How long it may be silent in the middle of an update.
    pub transfer_idle: Duration,
}

impl From<&Settings> for ApiOptions {
    fn from(settings: &Settings) -> Self {
        let inference = ApiKeys::new(&settings.api_keys);
        let admin = ApiKeys::new(&settings.admin_keys);
        let metrics = ApiKeys::new(&settings.metrics_api_key);
        Self {
            // What is keyless depends on the address, which whoever starts the server knows.
            auth: AuthOptions {
                inference,
                admin,
                metrics,
                keyless_rollouts: false,
                keys_file: settings.keys_file.clone(),
            },
            limits: Limits::from(settings),
            metrics_prefix: settings.metrics_prefix.clone(),
            drain_timeout: Duration::from_secs(settings.drain_timeout_seconds),
            watchdog: Duration::from_secs(settings.watchdog_timeout_seconds),
            // A store is opened by whoever starts the server.
            evals: None,
            clock: Clock::system(),
            rollouts: RolloutOptions {
                backend: settings.rollout_backend,
                weights_dir: settings.weights_dir.clone(),
                hosts: settings.weight_transfer_hosts.clone(),
                transfer_idle: Duration::from_secs(settings.weight_transfer_idle_seconds),
            },
        }
    }
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self::from(&Settings::default())
    }
}

/// A model that could not be loaded on demand is not tried again before.
const FAILURE_LASTS: Duration = Duration::from_secs(5);
/// Options that no server can be started with.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// Of prompts that came as vectors, all together.
const VECTORS_MIB_MAX: u32 = 512;

#[derive(Clone)]
pub struct AppState(Arc<Inner>);

struct Inner {
    registry: Registry,
    options: ApiOptions,
    metrics: Metrics,
    keys: KeyRing,
    evals: Option<Arc<Evals>>,
    weight_updates: Arc<WeightUpdates>,
    responses: StoredResponses,
    /// Held while a model is loaded on demand; the failures of late, which are not tried again at once.
    loading: tokio::sync::Mutex<HashMap<String, (Instant, ApiError)>>,
    /// Templates, tokenisers and large bodies keep a core busy: as many at once as there are cores.
    text_work: Arc<Semaphore>,
    /// A permit a MiB of prompts that came as vectors.
    vectors: Arc<Semaphore>,
}

impl AppState {
    /// # Errors
    /// A metrics prefix that makes no name, or a keys file that cannot be read.
    pub fn new(registry: Registry, options: ApiOptions) -> Result<Self, StartError> {
        let metrics = Metrics::new(&options.metrics_prefix)?;
        let keys = KeyRing::new(&options.auth, options.clock.clone())?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let text_work = Arc::new(Semaphore::new(cores));
        let vectors = Arc::new(Semaphore::new(VECTORS_MIB_MAX as usize));
        let evals = options.evals.clone().map(|options| Arc::new(Evals::new(options)));
        let RolloutOptions { hosts, transfer_idle, .. } = &options.rollouts;
        let weight_updates = Arc::new(WeightUpdates::new(hosts.clone(), *transfer_idle));
        let responses = StoredResponses::new();
        Ok(Self(Arc::new(Inner {
            registry,
            options,
            metrics,
            keys,
            evals,
            weight_updates,
            responses,
            loading: tokio::sync::Mutex::default(),
            text_work,
            vectors,
        })))
    }

    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub fn options(&self) -> &ApiOptions {
        &self.0.options
    }

    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub fn keys(&self) -> &KeyRing {
        &self.0.keys
    }

    /// # Errors
    /// 503 without a store.
    pub fn evals(&self) -> Result<&Evals, ApiError> {
        self.0.evals.as_deref().ok_or_else(unavailable)
    }

    /// # Errors
    /// 503 without a store.
    pub fn shared_evals(&self) -> Result<Arc<Evals>, ApiError> {
        self.0.evals.clone().ok_or_else(unavailable)
    }

    /// Of requests that name none.
    pub fn logprobs_mode(&self) -> LogprobsMode {
        if self.options().rollouts.backend { LogprobsMode::Processed } else { LogprobsMode::Raw }
    }

    pub fn weight_updates(&self) -> Arc<WeightUpdates> {
        self.0.weight_updates.clone()
    }

    pub fn responses(&self) -> &StoredResponses {
        &self.0.responses
    }

    /// [`Self::model`] for a request that is to be answered: aliases are followed, and a model on demand is loaded if it is not.
    ///
    /// # Errors
    /// As [`Self::model`]; 503 where no room can be made for it.
    pub async fn ready_model(
        &self,
        log: &RequestLog,
        name: Option<&str>,
    ) -> Result<Arc<ServedModel>, ApiError> {
        let Some(name) = name else { return self.model_for(log, None) };
        let real = match self.registry().get(name) {
            Ok(_) => name.to_owned(),
            Err(_) => self.registry().real_name(name),
        };
        check_may_ask(log, name, &real)?;
        if let Some(model) = self.loaded(&real) {
            return Ok(model);
        }
        // One at a time, and nobody's thread waits for it.
        let mut failures = self.0.loading.lock().await;
        if let Some(model) = self.loaded(&real) {
            return Ok(model);
        }
        failures.retain(|_, (at, _)| at.elapsed() < FAILURE_LASTS);
        if let Some((_, error)) = failures.get(&real) {
            return Err(error.clone());
        }
        let (state, wanted) = (self.clone(), real.clone());
        // Not through `Self::blocking`: loading takes seconds and must not hold up prompts.
        let loading = tokio::task::spawn_blocking(move || {
            state.registry().load_on_demand(&wanted, &|gone| state.metrics().forget(gone))
        });
        let loaded = loading.await.map_err(ApiError::panicked)?;
        match loaded {
            Some(Ok(model)) => Ok(model),
            Some(Err(error)) => {
                tracing::error!(model = real, %error, "a model could not be loaded on demand");
                let told = match error {
                    RegistryError::Memory(_) => {
                        format!("there is no room for the model `{real}`: retry later")
                    }
                    _ => format!("the model `{real}` cannot be loaded: the server's log says why"),
                };
                let error = ApiError::not_ready(told);
                failures.insert(real, (Instant::now(), error.clone()));
                Err(error)
            }
            None => self.model_told(log, name),
        }
    }

    /// A model that is in memory; it is asked for now.
    fn loaded(&self, name: &str) -> Option<Arc<ServedModel>> {
        let model = self.registry().get(name).ok()?;
        model.touch();
        Some(model)
    }

    /// The model a request names; without a name the only one there is.
    ///
    /// # Errors
    /// 404 `model_not_found`, or 400 when several models leave the choice open.
    pub fn model(&self, name: Option<&str>) -> Result<Arc<ServedModel>, ApiError> {
        let Some(name) = name else { return self.only_model(|_| true) };
        self.registry().get(name).map_err(|error| match error {
            RegistryError::UnknownModel { known, .. } => ApiError::model_not_found(name, &known),
            other => other.into(),
        })
    }

    /// [`Self::model`] for a caller whose key may name the models that it may use. What it may not use it hears nothing of.
    ///
    /// # Errors
    /// 403 for another one, whether it is served or not.
    pub fn model_for(&self, log: &RequestLog, name: Option<&str>) -> Result<Arc<ServedModel>, ApiError> {
        let Some(name) = name else {
            let only = self.only_model(|name| check_may_use(log, name).is_ok());
            return only.map_err(|error| match log.held_to() {
                Some(models) if error.status == StatusCode::NOT_FOUND => ApiError::none_served(models),
                _ => error,
            });
        };
        check_may_use(log, name)?;
        let model = self.model_told(log, name)?;
        check_may_use(log, &model.name)?;
        Ok(model)
    }

    /// [`Self::model`], whose refusal names no other model, however near, to a key that is held to some.
    fn model_told(&self, log: &RequestLog, name: &str) -> Result<Arc<ServedModel>, ApiError> {
        self.model(Some(name)).map_err(|error| match log.held_to() {
            Some(_) => ApiError::model_not_found(name, &[]),
            None => error,
        })
    }

    /// The only one there is of those that may be used.
    fn only_model(&self, may_use: impl Fn(&str) -> bool) -> Result<Arc<ServedModel>, ApiError> {
        let mut models = self.registry().list();
        // Those that come and go are named.
        models.retain(|model| may_use(&model.name) && !self.registry().is_on_demand(&model.name));
        match (models.pop(), models.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(ApiError::model_not_found("", &[])),
            (Some(_), false) => {
                Err(ApiError::invalid("model", "several models are served: name one in `model`"))
            }
        }
    }

    /// Room for prompts that come as vectors, until their answer is done: they are the one kind of prompt that is large beside
    /// the KV blocks that it takes.
    ///
    /// # Errors
    /// 429 while others take it.
    pub fn vector_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX).saturating_add(1).min(VECTORS_MIB_MAX);
        self.0.vectors.clone().try_acquire_many_owned(mib).map_err(|_| {
            ApiError::too_many(
                "prompts of others take the room that there is for `prompt_embeds`: retry later",
            )
        })
    }

    /// Run CPU-bound work on a blocking thread, a bounded number at a time.
    ///
    /// # Errors
    /// 500 if the work panicked.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        blocking(&self.0.text_work, work).await
    }
}

/// # Errors
/// 403 where the caller's key has a list of models that lacks this one.
pub fn check_may_use(log: &RequestLog, model: &str) -> Result<(), ApiError> {
    check_may_ask(log, model, model)
}

/// The same for a model that was asked for by an alias. The refusal does not say what it stands for.
///
/// # Errors
/// As [`check_may_use`].
pub fn check_may_ask(log: &RequestLog, asked: &str, model: &str) -> Result<(), ApiError> {
    match log.held_to() {
        Some(models) if !models.iter().any(|allowed| allowed == model) => {
            Err(ApiError::model_forbidden(asked, models))
        }
        _ => Ok(()),
    }
}

async fn blocking<T: Send + 'static>(
    permits: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let permit = permits.clone().acquire_owned().await.map_err(|_| ApiError::internal("shutting down"))?;
    // A client that hangs up drops this future and not the work: the permit goes with the work.
    let span = tracing::Span::current();
    let held = move || {
        let _permit = permit;
        span.in_scope(work)
    };
    tokio::task::spawn_blocking(held).await.map_err(ApiError::panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_whose_client_hung_up_keeps_its_permit() {
        let permits = Arc::new(Semaphore::new(1));
        let (started, has_started) = tokio::sync::oneshot::channel::<()>();
        let (finish, told_to_finish) = std::sync::mpsc::channel::<()>();
        let work = {
            let permits = permits.clone();
            tokio::spawn(async move {
                let work = move || {
                    let _ = started.send(());
                    let _ = told_to_finish.recv();
                };
                blocking(&permits, work).await
            })
        };
        has_started.await.unwrap();
        work.abort();
        assert!(work.await.unwrap_err().is_cancelled());
        assert_eq!(permits.available_permits(), 0);
        finish.send(()).unwrap();
        let freed = tokio::time::timeout(Duration::from_secs(10), permits.acquire()).await;
        assert!(freed.is_ok());
    }
}
