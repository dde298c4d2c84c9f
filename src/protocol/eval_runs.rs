//! `/v1/evals/{id}/runs`: a model measured on an eval's suite.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::evals::{check_metadata, check_source};
use super::parse::{BadRequest, RequestBody};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CreateRunRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub data_source: RunDataSource,
    /// At most 16 pairs, keys of at most 64 characters, values of at most 512.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

/// What is measured, and how samples are drawn.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunDataSource {
    /// `xenoglot_suite`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The eval's suite, which is also the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// A served model, or a server by its name in the settings (`eval_endpoints`). May be left out where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The protocol of a paper: `budget-alignment`, `mindmerger` or `maet`. What the request says itself wins over it, and
    /// it over the suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// A shared set of prompts in place of the suite's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<String>,
    /// Variants of the suite's prompts to apply, such as `ja-halfwidth`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variants: Option<Vec<String>>,
    /// Language codes; by default all of the suite's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub languages: Option<Vec<String>>,
    /// The first so many problems of each language; by default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Worked examples shown before each problem; by default the preset's or the suite's, else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shots: Option<u32>,
    /// Begin every trace with the prompts' thinking prefix; by default as the preset or the suite says, else false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_prefix: Option<bool>,
    /// How answers are found and compared: `default`, or another harness' way (docs/scoring.md).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Samples a problem; by default the preset's or the suite's, else 1. Every pass@k up to n is reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling_params: Option<RunSampling>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunSampling {
    /// By default the preset's or the suite's, else 0.6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// By default the preset's or the suite's, else 0.95.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// 0 is off, the default where neither preset nor suite says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// 0 is off, the default where neither preset nor suite says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Longest completion in tokens; by default the preset's or the suite's, else 2048.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<u32>,
    /// The same seed draws the same samples; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl RequestBody for CreateRunRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    fn check(&self) -> Result<(), BadRequest> {
        check_source("data_source.type", &self.data_source.kind)?;
        check_metadata(self.metadata.as_ref())
    }
}

/// How a run's completions are judged again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RescoreRunRequest {
    /// By default the old run's name and what is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How answers are found and compared, as in `data_source`; by default the old run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// At most 16 pairs, keys of at most 64 characters, values of at most 512.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for RescoreRunRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    fn check(&self) -> Result<(), BadRequest> {
        check_metadata(self.metadata.as_ref())
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    pub id: String,
    /// Always `eval.run`.
    pub object: String,
    pub eval_id: String,
    /// Seconds since 1970.
    pub created_at: u64,
    pub name: String,
    pub model: String,
    /// `queued`, `in_progress`, `paused`, `completed`, `failed` or `canceled`.
    pub status: String,
    /// As asked, with the defaults filled in.
    pub data_source: RunDataSource,
    /// Why the run failed, and what to do; a failed run can be resumed.
    pub error: Option<EvalApiError>,
    #[schema(value_type = Object)]
    pub metadata: Value,
    pub per_model_usage: Vec<ModelUsage>,
    pub per_testing_criteria_results: Vec<CriteriaResult>,
    pub result_counts: ResultCounts,
    /// There is no page for it: the address of the run itself.
    pub report_url: String,
    pub xenoglot: RunProgress,
}

/// What OpenAI's shape has no place for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunProgress {
    /// Seconds since 1970; null before the first worker came.
    pub started_at: Option<u64>,
    /// Seconds since 1970; null while it may go on.
    pub finished_at: Option<u64>,
    pub samples_done: u64,
    pub samples_total: u64,
    /// Number of the last thing that happened, as the ids of `events`.
    pub sequence: u64,
    /// The run whose completions it judges again; null where it generates its own.
    pub completions_of: Option<String>,
    /// Samples that `scores` are over; they may be a moment behind `samples_done`.
    pub scores_samples: u64,
    /// The results so far, with intervals, as `results` in docs/formats.md; null before the first sample and in lists.
    #[schema(value_type = Option<Object>)]
    pub scores: Option<Value>,
    /// What was measured with what: suite and digest, generator, sampling, scorer. Null until a worker began, and in lists.
    #[schema(value_type = Option<Object>)]
    pub provenance: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvalApiError {
    pub code: String,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelUsage {
    pub model_name: String,
    /// Samples drawn.
    pub invocation_count: u64,
    /// Of the samples that are there.
    pub completion_tokens: u64,
    /// A request's samples share its prompt. Of tasks that have ended or were given back.
    pub prompt_tokens: u64,
    /// Not counted: 0.
    pub cached_tokens: u64,
    pub total_tokens: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CriteriaResult {
    pub testing_criteria: String,
    pub passed: u64,
    pub failed: u64,
}

/// Samples by how they ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResultCounts {
    pub total: u64,
    pub passed: u64,
    /// Everything that is not correct: wrong, truncated, without a box, undecided.
    pub failed: u64,
    /// The model refused the prompt.
    pub errored: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeletedRun {
    pub run_id: String,
    /// Always `eval.run.deleted`.
    pub object: String,
    pub deleted: bool,
}
