//! Rows of the store in the shapes of the API.

use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::eval::{Finish, SampleRecord};
use crate::jobs::{EvalRunSpec, JobSpec, Snapshot, record_of};
use crate::protocol::eval_tables::{RunScores, RunSummary};
use crate::protocol::evals::{
    CriteriaResult, DataSourceConfig, Eval, EvalApiError, ModelUsage, OutputItem, OutputItemResult,
    OutputItemSample, ResultCounts, Run, RunDataSource, RunProgress, RunSampling, SUITE_SOURCE,
    TestingCriterion,
};
use crate::store::{EvalRow, ItemKey, ListedRun, RunRow, SampleRow};

pub fn eval(row: EvalRow) -> Eval {
    let suite = suite_of(&row);
    Eval {
        id: row.id,
        object: "eval".to_owned(),
        created_at: seconds(row.created_ms),
        name: row.name,
        testing_criteria: vec![TestingCriterion { kind: SUITE_SOURCE.to_owned(), name: Some(suite.clone()) }],
        data_source_config: DataSourceConfig { kind: SUITE_SOURCE.to_owned(), suite },
        metadata: row.metadata,
    }
}

/// The suite that an eval measures on.
pub fn suite_of(row: &EvalRow) -> String {
    row.spec["suite"].as_str().unwrap_or_default().to_owned()
}

/// The spec of an eval that measures on this suite.
pub fn eval_spec(suite: &str) -> Value {
    json!({"suite": suite})
}

/// A run in the list of those of all evals.
///
/// # Errors
/// 500 for a run that cannot be read.
pub fn summary(listed: ListedRun, scores: Option<RunScores>) -> Result<RunSummary, ApiError> {
    let ListedRun { run: row, eval_name } = listed;
    let spec = spec_of(&row)?;
    Ok(RunSummary {
        object: "eval.run.summary".to_owned(),
        eval_name,
        suite: spec.suite,
        n: spec.n,
        profile: spec.profile,
        completions_of: spec.completions_of,
        status: row.status.as_str().to_owned(),
        error: row.error,
        created_at: seconds(row.created_ms),
        started_at: row.started_ms.map(seconds),
        finished_at: row.finished_ms.map(seconds),
        samples_done: count(row.samples_done),
        samples_total: count(row.samples_total),
        result_counts: ResultCounts {
            total: count(row.samples_done),
            passed: count(row.passed),
            failed: count(row.failed),
            errored: count(row.errored),
        },
        completion_tokens: count(row.completion_tokens),
        prompt_tokens: count(row.prompt_tokens),
        sequence: count(row.sequence),
        scores,
        id: row.id,
        eval_id: row.eval,
        name: row.name,
        model: row.model,
    })
}

/// A run; without a snapshot as lists show it.
///
/// # Errors
/// 500 for a run that cannot be read.
pub fn run(row: RunRow, snapshot: Option<&Snapshot>, whole: bool) -> Result<Run, ApiError> {
    let spec = spec_of(&row)?;
    let scores = snapshot.map(|snapshot| json!(*snapshot.results));
    Ok(Run {
        object: "eval.run".to_owned(),
        created_at: seconds(row.created_ms),
        status: row.status.as_str().to_owned(),
        error: row.error.map(|message| EvalApiError { code: "run_failed".to_owned(), message }),
        per_model_usage: vec![ModelUsage {
            model_name: row.model.clone(),
            invocation_count: count(row.samples_done),
            completion_tokens: count(row.completion_tokens),
            prompt_tokens: count(row.prompt_tokens),
            cached_tokens: 0,
            total_tokens: count(row.prompt_tokens + row.completion_tokens),
        }],
        per_testing_criteria_results: vec![CriteriaResult {
            testing_criteria: spec.suite.clone(),
            passed: count(row.passed),
            failed: count(row.failed),
        }],
        result_counts: ResultCounts {
            total: count(row.samples_done),
            passed: count(row.passed),
            failed: count(row.failed),
            errored: count(row.errored),
        },
        report_url: format!("/v1/evals/{}/runs/{}", row.eval, row.id),
        xenoglot: RunProgress {
            started_at: row.started_ms.map(seconds),
            finished_at: row.finished_ms.map(seconds),
            samples_done: count(row.samples_done),
            samples_total: count(row.samples_total),
            sequence: count(row.sequence),
            completions_of: spec.completions_of.clone(),
            scores_samples: snapshot.map_or(0, |snapshot| snapshot.samples as u64),
            scores,
            provenance: if whole { row.record.map(without_results) } else { None },
        },
        data_source: data_source(spec, row.model.clone()),
        id: row.id,
        eval_id: row.eval,
        name: row.name,
        model: row.model,
        metadata: row.metadata,
    })
}

pub fn spec_of(row: &RunRow) -> Result<EvalRunSpec, ApiError> {
    let JobSpec::EvalRun(spec) = serde_json::from_value(row.spec.clone()).map_err(|error| {
        tracing::error!(run = row.id, %error, "a run's spec cannot be read");
        ApiError::internal(format!("the run `{}` cannot be read", row.id))
    })?;
    Ok(spec)
}

fn data_source(spec: EvalRunSpec, model: String) -> RunDataSource {
    RunDataSource {
        kind: SUITE_SOURCE.to_owned(),
        suite: Some(spec.suite),
        preset: None,
        prompts: spec.prompts,
        thinking_prefix: Some(spec.thinking_prefix),
        profile: spec.profile,
        variants: (!spec.variants.is_empty()).then_some(spec.variants),
        model: Some(model),
        languages: spec.languages.map(|all| all.iter().map(|one| one.code().to_owned()).collect()),
        limit: spec.limit.map(|limit| limit as u32),
        shots: Some(spec.shots as u32),
        n: Some(spec.n),
        sampling_params: Some(RunSampling {
            temperature: Some(spec.sampling.temperature),
            top_p: Some(spec.sampling.top_p),
            top_k: Some(spec.sampling.top_k),
            min_p: Some(spec.sampling.min_p),
            max_completion_tokens: Some(spec.sampling.max_tokens as u32),
            seed: Some(spec.seed),
        }),
    }
}

/// The results stand beside it.
fn without_results(mut record: Value) -> Value {
    if let Some(fields) = record.as_object_mut() {
        fields.shift_remove("results");
    }
    record
}

pub fn item_id(key: ItemKey) -> String {
    format!("outputitem_{}_{}", key.position, key.sample)
}

/// The key in an id; `None` if it is none.
pub fn item_key(id: &str) -> Option<ItemKey> {
    let (position, sample) = id.strip_prefix("outputitem_")?.split_once('_')?;
    Some(ItemKey { position: position.parse().ok()?, sample: sample.parse().ok()? })
}

/// A sample; `input` are the messages it was asked with.
///
/// # Errors
/// 500 for a sample that cannot be read.
pub fn item(
    run: &RunRow,
    spec: &EvalRunSpec,
    row: SampleRow,
    input: Vec<Value>,
) -> Result<OutputItem, ApiError> {
    let (key, record) = (row.key, row.record.clone());
    let (created_at, status, has_output) =
        (seconds(row.created_ms), row.status.clone(), row.completion.is_some());
    let sample = record_of(&run.id, row)?;
    let passed = status == "pass";
    let datasource_item = json!({
        "problem": sample.problem, "language": sample.language, "gold": sample.gold, "sample": sample.sample,
    });
    Ok(OutputItem {
        id: item_id(key),
        object: "eval.run.output_item".to_owned(),
        created_at,
        eval_id: run.eval.clone(),
        run_id: run.id.clone(),
        status,
        datasource_item_id: count(key.position),
        datasource_item,
        results: vec![OutputItemResult {
            name: spec.suite.clone(),
            kind: SUITE_SOURCE.to_owned(),
            passed,
            score: if passed { 1.0 } else { 0.0 },
        }],
        sample: output(run, spec, sample, has_output, input),
        xenoglot: record,
    })
}

fn output(
    run: &RunRow,
    spec: &EvalRunSpec,
    sample: SampleRecord,
    has_output: bool,
    input: Vec<Value>,
) -> OutputItemSample {
    let finish_reason = match sample.finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ContentFilter => "content_filter",
        Finish::Error => "error",
    };
    let tokens = sample.completion_tokens.unwrap_or(0);
    OutputItemSample {
        input,
        output: if has_output && sample.error.is_none() {
            vec![json!({"role": "assistant", "content": sample.completion})]
        } else {
            Vec::new()
        },
        finish_reason: finish_reason.to_owned(),
        model: run.model.clone(),
        error: sample.error.map(|message| EvalApiError { code: "refused".to_owned(), message }),
        temperature: spec.sampling.temperature,
        top_p: spec.sampling.top_p,
        max_completion_tokens: spec.sampling.max_tokens as u64,
        seed: sample.seed,
        usage: json!({"completion_tokens": tokens, "prompt_tokens": 0, "cached_tokens": 0, "total_tokens": tokens}),
    }
}

pub fn seconds(ms: i64) -> u64 {
    count(ms / 1000)
}

pub fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
