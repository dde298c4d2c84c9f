//! What every route sees: the models, the options, the metrics.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::auth::{ApiKeys, AuthOptions};
use super::error::ApiError;
use super::limits::Limits;
use super::metrics::{Metrics, MetricsError};
use crate::registry::{Registry, RegistryError, ServedModel};
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
}

impl From<&Settings> for ApiOptions {
    fn from(settings: &Settings) -> Self {
        let inference = ApiKeys::new(&settings.api_keys);
        let admin = ApiKeys::new(&settings.admin_keys);
        Self {
            auth: AuthOptions { inference, admin, metrics: ApiKeys::default() },
            limits: Limits::from(settings),
            metrics_prefix: settings.metrics_prefix.clone(),
            drain_timeout: Duration::from_secs(settings.drain_timeout_seconds),
            watchdog: Duration::from_secs(settings.watchdog_timeout_seconds),
        }
    }
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self::from(&Settings::default())
    }
}

#[derive(Clone)]
pub struct AppState(Arc<Inner>);

struct Inner {
    registry: Registry,
    options: ApiOptions,
    metrics: Arc<Metrics>,
    /// Templates, tokenisers and large bodies keep a core busy: as many at once as there are cores.
    text_work: Semaphore,
}

impl AppState {
    /// # Errors
    /// A metrics prefix that makes no name.
    pub fn new(registry: Registry, options: ApiOptions) -> Result<Self, MetricsError> {
        let metrics = Arc::new(Metrics::new(&options.metrics_prefix)?);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self(Arc::new(Inner { registry, options, metrics, text_work: Semaphore::new(cores) })))
    }

    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub fn options(&self) -> &ApiOptions {
        &self.0.options
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// The model a request names; without a name the only one there is.
    ///
    /// # Errors
    /// 404 `model_not_found`, or 400 when several models leave the choice open.
    pub fn model(&self, name: Option<&str>) -> Result<Arc<ServedModel>, ApiError> {
        if let Some(name) = name {
            return self.registry().get(name).map_err(|error| match error {
                RegistryError::UnknownModel { known, .. } => ApiError::model_not_found(name, &known),
                other => other.into(),
            });
        }
        let mut models = self.registry().list();
        match (models.pop(), models.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(ApiError::model_not_found("", &[])),
            (Some(_), false) => {
                Err(ApiError::invalid("model", "several models are served: name one in `model`"))
            }
        }
    }

    /// Run CPU-bound work on a blocking thread, a bounded number at a time.
    ///
    /// # Errors
    /// 500 if the work panicked.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let _permit = self.0.text_work.acquire().await.map_err(|_| ApiError::internal("shutting down"))?;
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "text work panicked");
            ApiError::internal("the server failed to prepare this request; its log says why")
        })
    }
}
