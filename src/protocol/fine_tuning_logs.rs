//! `/v1/fine_tuning/jobs/{id}/completions` and `../metrics`: what a training has logged, for curves and for whoever reads what is
//! learned.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a policy answered for one update, a page of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FineTuningCompletions {
    /// Always `list`.
    pub object: String,
    /// The update that learns from them first; null where the training logs none.
    pub step: Option<u64>,
    /// The nearest updates with completions before it and behind it.
    pub previous_step: Option<u64>,
    pub next_step: Option<u64>,
    pub data: Vec<FineTuningCompletion>,
    pub first_id: Option<String>,
    pub last_id: Option<String>,
    /// Whether more of the step follow: ask with `after` = `last_id`.
    pub has_more: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FineTuningCompletion {
    pub id: String,
    /// Always `fine_tuning.job.completion`.
    pub object: String,
    pub step: u64,
    /// The line of the prompt in its file, from 1 on: completions of one line are a group.
    pub example: u64,
    /// As the model read it.
    pub prompt: String,
    pub completion: String,
    pub tokens: u64,
    /// Whether it was cut by the limit.
    pub truncated: bool,
    pub reward: f64,
    /// The parts of the reward by name.
    pub rewards: BTreeMap<String, f64>,
    pub advantage: f64,
}

/// All logged metrics of a training as columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FineTuningMetrics {
    /// Always `fine_tuning.job.metrics`.
    pub object: String,
    pub job_id: String,
    pub updates: MetricColumns,
    pub evaluations: MetricColumns,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricColumns {
    /// So many lines of the log are one value: their mean; of `epoch`, `num_tokens` and `learning_rate` the last.
    pub lines_per_value: u64,
    /// Of the last line of each value.
    pub step: Vec<u64>,
    /// By the metrics' names in transformers and TRL; null where none of the lines has one.
    pub series: BTreeMap<String, Vec<Option<f64>>>,
}
