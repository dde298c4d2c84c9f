//! `/v1/fine_tuning/alpha/graders`: OpenAI's bodies for trying a grader before it is trained on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::graders::Grader;
use super::parse::{BadRequest, RequestBody};

/// A grader, and what it is to grade.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunGrader {
    #[schema(value_type = Grader)]
    pub grader: Value,
    /// The model's output, trace and tags included.
    pub model_sample: String,
    /// The line of data that the prompt was made of; `{}` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub item: Option<Map<String, Value>>,
    /// Ours: tokens of the output, which `length` reads; 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<u32>,
    /// Ours: `length` if the output was cut off; `stop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Ours: the prompt ended with `<think>`; false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_opened: Option<bool>,
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for RunGrader {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    fn check(&self) -> Result<(), BadRequest> {
        let reason = self.finish_reason.as_deref();
        match reason.filter(|reason| !["stop", "length"].contains(reason)) {
            None => Ok(()),
            Some(reason) => {
                let message = format!("finish_reason: {reason:?} is neither `stop` nor `length`");
                Err(BadRequest::invalid("finish_reason", message))
            }
        }
    }
}

/// A grader that is to be looked at.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ValidateGrader {
    #[schema(value_type = Grader)]
    pub grader: Value,
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for ValidateGrader {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}

/// The grader as it was read.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ValidatedGrader {
    pub grader: Grader,
}

/// What a grader says of an output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GraderRun {
    pub reward: f64,
    pub metadata: GraderRunMetadata,
    /// Of a `multi`: the scores by its names.
    pub sub_rewards: BTreeMap<String, f64>,
    /// Always empty: no model is asked.
    #[schema(value_type = Object)]
    pub model_grader_token_usage_per_model: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GraderRunMetadata {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub errors: GraderRunErrors,
    /// Seconds.
    pub execution_time: f64,
    /// The scores by the graders' names.
    pub scores: BTreeMap<String, f64>,
    /// Ours: why the scores are what they are.
    pub reasons: BTreeMap<String, String>,
    /// Ours: scores that nothing decides; they are 0.
    pub undecided: Vec<String>,
    pub token_usage: Option<u32>,
    pub sampled_model_name: Option<String>,
}

/// OpenAI's list; those of graders that are not taken are always false.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GraderRunErrors {
    pub formula_parse_error: bool,
    pub sample_parse_error: bool,
    pub truncated_observation_error: bool,
    pub unresponsive_reward_error: bool,
    /// The item lacks what a grader reads.
    pub invalid_variable_error: bool,
    /// The formula has no value.
    pub other_error: bool,
    pub python_grader_server_error: bool,
    pub python_grader_server_error_type: Option<String>,
    pub python_grader_runtime_error: bool,
    pub python_grader_runtime_error_details: Option<String>,
    pub model_grader_server_error: bool,
    pub model_grader_refusal_error: bool,
    pub model_grader_parse_error: bool,
    pub model_grader_server_error_details: Option<String>,
    /// Ours: the error in words.
    pub details: Option<String>,
}
