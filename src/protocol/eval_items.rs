//! `/v1/evals/{id}/runs/{run}/output_items`: the samples of a run.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::eval_runs::EvalApiError;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OutputItem {
    pub id: String,
    /// Always `eval.run.output_item`.
    pub object: String,
    /// Seconds since 1970.
    pub created_at: u64,
    pub eval_id: String,
    pub run_id: String,
    /// `pass`, `fail` or `error`.
    pub status: String,
    /// The problem's place in the run, a language at a time within each problem.
    pub datasource_item_id: u64,
    /// `problem` (its id), `language`, `gold` and the number of the `sample`.
    #[schema(value_type = Object)]
    pub datasource_item: Value,
    pub results: Vec<OutputItemResult>,
    pub sample: OutputItemSample,
    /// The whole record of the sample without its completion, as in docs/formats.md.
    #[schema(value_type = Object)]
    pub xenoglot: Value,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OutputItemResult {
    /// The suite's name.
    pub name: String,
    /// `xenoglot_suite`.
    #[serde(rename = "type")]
    pub kind: String,
    pub passed: bool,
    /// 1 for a correct answer, otherwise 0.
    pub score: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OutputItemSample {
    /// The messages sent; in lists empty.
    #[schema(value_type = Vec<Object>)]
    pub input: Vec<Value>,
    /// The completion as a message; empty in lists, unless `include=output` asks for it.
    #[schema(value_type = Vec<Object>)]
    pub output: Vec<Value>,
    pub finish_reason: String,
    pub model: String,
    pub error: Option<EvalApiError>,
    pub temperature: f32,
    pub top_p: f32,
    pub max_completion_tokens: u64,
    pub seed: u64,
    /// `completion_tokens` and, not counted, `prompt_tokens`, `cached_tokens` and `total_tokens`.
    #[schema(value_type = Object)]
    pub usage: Value,
}
