//! `/v1/fine_tuning/jobs`: what a training is seen as, in OpenAI's shape. What one is made of: `fine_tuning`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::fine_tuning::{Files, Hyperparameters, Method};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FineTuningJob {
    pub id: String,
    /// Always `fine_tuning.job`.
    pub object: String,
    /// Seconds since 1970.
    pub created_at: u64,
    pub started_at: Option<u64>,
    pub finished_at: Option<u64>,
    /// While it runs: when it is likely to end, at the speed so far.
    pub estimated_finish: Option<u64>,
    /// `queued`, `validating_files`, `running`, `paused`, `succeeded`, `failed` or `cancelled`.
    pub status: String,
    /// What is trained.
    pub model: String,
    /// Under which name the result is served; null before that, and where it cannot be served: an event says why.
    pub fine_tuned_model: Option<String>,
    #[schema(value_type = Object)]
    pub training_file: Files,
    #[schema(value_type = Option<Object>)]
    pub validation_file: Option<Files>,
    /// As asked for.
    pub hyperparameters: Hyperparameters,
    pub method: Method,
    pub seed: Option<u64>,
    /// Ends the result's name.
    pub suffix: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// Tokens that went through the model; null until it has succeeded.
    pub trained_tokens: Option<u64>,
    pub progress: TrainingProgress,
    pub error: Option<FineTuningError>,
    /// Of a training that has succeeded: a table of its metrics, `step_metrics.csv`.
    pub result_files: Vec<String>,
    /// Always empty.
    pub organization_id: String,
}

/// How far a training is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TrainingProgress {
    /// Updates made.
    pub steps_done: u64,
    /// Of all; null while the data are read.
    pub steps_total: Option<u64>,
    pub tokens: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FineTuningError {
    pub code: String,
    pub message: String,
    /// The field of the request that is at fault.
    pub param: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FineTuningEvent {
    pub id: String,
    /// Always `fine_tuning.job.event`.
    pub object: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// `info`, `warn` or `error`.
    pub level: String,
    pub message: String,
    /// `message` or `metrics`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of `metrics`: their names in transformers and TRL.
    #[schema(value_type = Object)]
    pub data: Value,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FineTuningCheckpoint {
    pub id: String,
    /// Always `fine_tuning.job.checkpoint`.
    pub object: String,
    /// Seconds since 1970.
    pub created_at: u64,
    pub fine_tuning_job_id: String,
    /// Always null: checkpoints are what a training goes on from, and are not served.
    pub fine_tuned_model_checkpoint: Option<String>,
    pub step_number: u64,
    /// `step`, `train_loss` and, once the validation data were read, `full_valid_loss`.
    #[schema(value_type = Object)]
    pub metrics: Value,
}
