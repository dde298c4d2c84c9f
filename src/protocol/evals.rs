//! `/v1/evals`: evaluations and their runs in OpenAI's shape, with suites in place of uploaded data.
//!
//! What OpenAI has no word for stands in `xenoglot` objects of responses, and in fields of `data_source`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::parse::{BadRequest, RequestBody, Unsupported};

pub use super::eval_items::{OutputItem, OutputItemResult, OutputItemSample};
pub use super::eval_runs::{
    CreateRunRequest, CriteriaResult, DeletedRun, EvalApiError, ModelUsage, RescoreRunRequest, ResultCounts,
    Run, RunDataSource, RunProgress, RunSampling,
};

/// The one type of data source: a suite that the server knows.
pub const SUITE_SOURCE: &str = "xenoglot_suite";

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CreateEvalRequest {
    /// By default the suite's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub data_source_config: DataSourceConfig,
    /// The suite brings its own scorer: leave this out, empty, or name that one criterion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub testing_criteria: Option<Vec<TestingCriterion>>,
    /// At most 16 pairs, keys of at most 64 characters, values of at most 512.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

/// Which problems an eval measures on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSourceConfig {
    /// `xenoglot_suite`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A suite's name; `xenoglot eval suites` lists them.
    pub suite: String,
}

/// How completions are judged: by the suite's own scorer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestingCriterion {
    /// `xenoglot_suite`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl RequestBody for CreateEvalRequest {
    const UNSUPPORTED: &'static [Unsupported] = &[Unsupported { name: "share_with_openai", harmless: &[] }];

    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    fn check(&self) -> Result<(), BadRequest> {
        check_source("data_source_config.type", &self.data_source_config.kind)?;
        for (at, criterion) in self.testing_criteria.iter().flatten().enumerate() {
            check_source(&format!("testing_criteria.{at}.type"), &criterion.kind)?;
        }
        check_metadata(self.metadata.as_ref())
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UpdateEvalRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Takes the place of the old one as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for UpdateEvalRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    fn check(&self) -> Result<(), BadRequest> {
        check_metadata(self.metadata.as_ref())
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Eval {
    pub id: String,
    /// Always `eval`.
    pub object: String,
    /// Seconds since 1970.
    pub created_at: u64,
    pub name: String,
    pub data_source_config: DataSourceConfig,
    pub testing_criteria: Vec<TestingCriterion>,
    #[schema(value_type = Object)]
    pub metadata: Value,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeletedEval {
    pub eval_id: String,
    /// Always `eval.deleted`.
    pub object: String,
    pub deleted: bool,
}

/// Uploaded data, stored completions and graders of other kinds are not taken.
pub(super) fn check_source(param: &str, kind: &str) -> Result<(), BadRequest> {
    if kind == SUITE_SOURCE {
        return Ok(());
    }
    let message = format!("`{param}`: only `{SUITE_SOURCE}` is supported, with the name of a suite");
    Err(BadRequest { message, param: Some(param.to_owned()), code: Some("invalid_value") })
}

const PAIRS_MAX: usize = 16;
const KEY_CHARACTERS_MAX: usize = 64;
const VALUE_CHARACTERS_MAX: usize = 512;

pub(super) fn check_metadata(metadata: Option<&Map<String, Value>>) -> Result<(), BadRequest> {
    let Some(metadata) = metadata else { return Ok(()) };
    if metadata.len() > PAIRS_MAX {
        return Err(BadRequest::invalid("metadata", format!("`metadata` holds at most {PAIRS_MAX} pairs")));
    }
    for (key, value) in metadata {
        let param = || "metadata".to_owned();
        if key.chars().count() > KEY_CHARACTERS_MAX {
            let message = format!("`metadata`: a key has at most {KEY_CHARACTERS_MAX} characters");
            return Err(BadRequest::invalid(param(), message));
        }
        let fits = value.as_str().is_some_and(|text| text.chars().count() <= VALUE_CHARACTERS_MAX);
        if !fits {
            let message =
                format!("`metadata.{key}` must be a text of at most {VALUE_CHARACTERS_MAX} characters");
            return Err(BadRequest::invalid(format!("metadata.{key}"), message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::parse::parse_request;
    use super::*;

    #[test]
    fn requests_are_strict() {
        let source = json!({"type": SUITE_SOURCE, "suite": "mgsm"});
        let check = |body: Value, expected: Option<&str>| {
            let read = parse_request::<CreateEvalRequest>(body.to_string().as_bytes(), 16);
            assert_eq!(
                read.err().map(|error| error.param.unwrap_or_default()).as_deref(),
                expected,
                "{body}"
            );
        };
        check(json!({"data_source_config": source}), None);
        check(json!({"data_source_config": source, "testing_criteria": [], "metadata": {"a": "b"}}), None);
        check(
            json!({"data_source_config": source, "testing_criteria": [{"type": SUITE_SOURCE, "name": "x"}]}),
            None,
        );
        check(json!({}), Some("data_source_config"));
        check(json!({"data_source_config": {"type": SUITE_SOURCE}}), Some("data_source_config.suite"));
        check(
            json!({"data_source_config": {"type": "custom", "suite": "x"}}),
            Some("data_source_config.type"),
        );
        check(
            json!({"data_source_config": {"type": SUITE_SOURCE, "suite": "x", "url": "y"}}),
            Some("data_source_config.url"),
        );
        check(
            json!({"data_source_config": source, "testing_criteria": [{"type": "string_check"}]}),
            Some("testing_criteria.0.type"),
        );
        check(json!({"data_source_config": source, "naem": "x"}), Some("naem"));
        check(json!({"data_source_config": source, "metadata": {"a": 1}}), Some("metadata.a"));
        check(json!({"data_source_config": source, "metadata": {"a": "x".repeat(513)}}), Some("metadata.a"));
    }
}
