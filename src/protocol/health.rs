//! `/health`, `/load` and `/version`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, or `unhealthy` when one model is not (the status is then 503).
    pub status: String,
    pub models: Vec<ModelHealth>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelHealth {
    pub name: String,
    pub healthy: bool,
    /// What is wrong, for an unhealthy model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    pub version: String,
}

/// vLLM's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServerLoad {
    /// Requests that are computed or wait, of all models.
    pub server_load: u64,
}
