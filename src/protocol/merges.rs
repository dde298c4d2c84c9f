//! `/v1/merges`: merges of models on the server's disk, as jobs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::parse::{BadRequest, RequestBody};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CreateMergeRequest {
    /// A configuration as mergekit has it: the YAML's text, or the same as an object. Models are paths below the models
    /// directory.
    #[schema(value_type = Object)]
    pub config: Value,
    /// The folder to make below the models directory, and the name the result is served under.
    pub output: String,
    /// Of the random methods; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Merge what does not go together; false by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_crimes: Option<bool>,
    /// Serve the result; true by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<bool>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for CreateMergeRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    fn check(&self) -> Result<(), BadRequest> {
        check_config(&self.config)
    }
}

pub(super) fn check_config(config: &Value) -> Result<(), BadRequest> {
    match config {
        Value::String(_) | Value::Object(_) => Ok(()),
        _ => Err(BadRequest::invalid("config", "`config` must be the text of a configuration or an object")),
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Merge {
    pub id: String,
    /// Always `merge`.
    pub object: String,
    /// Seconds since 1970.
    pub created_at: u64,
    pub started_at: Option<u64>,
    pub finished_at: Option<u64>,
    /// `queued`, `in_progress`, `completed`, `failed` or `canceled`.
    pub status: String,
    pub output: String,
    pub seed: u64,
    /// The configuration's text.
    pub config: String,
    /// Under which name the result is served; null before that, and where it was not asked for.
    pub model: Option<String>,
    pub progress: MergeAmounts,
    pub error: Option<String>,
}

/// How far a merge is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergeAmounts {
    pub tensors_done: u64,
    pub tensors_total: u64,
    pub bytes_done: u64,
    pub bytes_total: u64,
}
