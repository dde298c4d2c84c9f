//! `/v1/eval_suites`: what runs can measure on, and with what.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All that a run's `data_source` may name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvalSuites {
    /// Always `list`.
    pub object: String,
    /// By name.
    pub data: Vec<EvalSuite>,
    pub presets: Vec<EvalPreset>,
    /// How answers are found and compared: what `profile` may name.
    pub profiles: Vec<String>,
    /// Servers of the settings that are measured as models are, those that the key may use.
    pub endpoints: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvalSuite {
    /// Always `eval_suite`.
    pub object: String,
    pub name: String,
    pub version: String,
    pub revision: String,
    pub description: String,
    pub licence: String,
    /// `math`, `text`, `choice`, `loglikelihood`, `instructions`, `code`, `judge` or `language`.
    pub task: String,
    /// What judges a completion, in the manifest's names.
    pub scorers: Vec<String>,
    /// The shared set of prompts; null where the suite has its own.
    pub prompts: Option<String>,
    /// Variants of the prompts that a run may apply.
    pub variants: Vec<String>,
    /// All that the suite has, here or not.
    pub languages: Vec<EvalSuiteLanguage>,
    /// `built_in`, `present` (data by reference that are in the data directory, of some language at least) or `missing`.
    pub data: String,
    /// How to get data that are missing, or what is wrong with those that are there.
    pub data_message: Option<String>,
    /// Digest of the suite with all languages that are here, as a run of them records it. Null in the list for data by reference, which
    /// it does not read.
    pub sha256: Option<String>,
    /// What a run takes where neither request nor preset says otherwise.
    pub defaults: EvalProtocol,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvalSuiteLanguage {
    /// BCP 47.
    pub language: String,
    /// In English.
    pub name: String,
    /// Whether its problems are here.
    pub is_present: bool,
    /// Null where it is not here, and in the list for data by reference.
    pub problems: Option<u64>,
}

/// How a run is made; of a preset null where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvalProtocol {
    pub n: Option<u32>,
    /// The k of pass@k that are reported.
    pub k: Vec<u32>,
    pub shots: Option<u32>,
    pub thinking_prefix: Option<bool>,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<u32>,
    pub min_p: Option<f32>,
    pub max_completion_tokens: Option<u32>,
}

/// The protocol of a paper, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvalPreset {
    pub name: String,
    pub description: String,
    /// The shared set of prompts that takes the place of the suite's.
    pub prompts: Option<String>,
    pub protocol: EvalProtocol,
}
