//! Rows of the store as OpenAI's clients see them.

use serde_json::Value;

use crate::api::error::ApiError;
use crate::jobs::{Progress, TrainingSpec};
use crate::protocol::fine_tuning_jobs::{
    FineTuningCheckpoint, FineTuningEvent, FineTuningJob, TrainingProgress,
};
use crate::store::{JobEvent, JobRow, RunStatus};
use crate::train::seed_of;

pub fn job(row: JobRow) -> Result<FineTuningJob, ApiError> {
    let unreadable = |error: serde_json::Error| {
        tracing::error!(%error, "a training cannot be read");
        ApiError::internal("the training cannot be read; the log says why")
    };
    let TrainingSpec { request, .. } = serde_json::from_value(row.spec).map_err(unreadable)?;
    let progress: Progress = serde_json::from_value(row.progress).map_err(unreadable)?;
    let seed = seed_of(&request);
    let is = |status| row.status == status;
    Ok(FineTuningJob {
        object: "fine_tuning.job".to_owned(),
        created_at: seconds(row.created_ms),
        started_at: row.started_ms.map(seconds),
        finished_at: row.finished_ms.map(seconds),
        estimated_finish: progress.estimated_finish.filter(|_| is(RunStatus::InProgress)),
        status: status(row.status, &progress).to_owned(),
        hyperparameters: request.hyperparameters(),
        method: request.method.unwrap_or_default(),
        model: request.model,
        fine_tuned_model: progress.fine_tuned_model.filter(|_| is(RunStatus::Completed)),
        training_file: request.training_file,
        validation_file: request.validation_file,
        seed: Some(seed),
        suffix: request.suffix,
        metadata: request.metadata,
        trained_tokens: is(RunStatus::Completed).then_some(progress.tokens),
        progress: TrainingProgress {
            steps_done: progress.steps_done,
            steps_total: progress.steps_total,
            tokens: progress.tokens,
        },
        error: progress.error.filter(|_| is(RunStatus::Failed)),
        result_files: if is(RunStatus::Completed) { progress.result_files } else { Vec::new() },
        organization_id: String::new(),
        id: row.id,
    })
}

/// OpenAI's word.
fn status(status: RunStatus, progress: &Progress) -> &'static str {
    match status {
        RunStatus::Queued => "queued",
        RunStatus::InProgress if progress.steps_total.is_none() => "validating_files",
        RunStatus::InProgress => "running",
        RunStatus::Paused => "paused",
        RunStatus::Completed => "succeeded",
        RunStatus::Failed => "failed",
        RunStatus::Canceled => "cancelled",
    }
}

pub fn event(job: &str, event: JobEvent) -> FineTuningEvent {
    FineTuningEvent {
        id: event_id(EVENT, job, event.sequence),
        object: "fine_tuning.job.event".to_owned(),
        created_at: seconds(event.created_ms),
        level: event.level,
        message: event.message,
        kind: event.kind,
        data: event.data,
    }
}

pub fn checkpoint(job: &str, event: JobEvent) -> FineTuningCheckpoint {
    FineTuningCheckpoint {
        id: event_id(CHECKPOINT, job, event.sequence),
        object: "fine_tuning.job.checkpoint".to_owned(),
        created_at: seconds(event.created_ms),
        fine_tuning_job_id: job.to_owned(),
        fine_tuned_model_checkpoint: None,
        step_number: event.data["step"].as_u64().unwrap_or_default(),
        metrics: match event.data {
            Value::Object(metrics) => Value::Object(metrics),
            _ => Value::Object(serde_json::Map::new()),
        },
    }
}

pub const EVENT: &str = "ftevent";
pub const CHECKPOINT: &str = "ftckpt";

/// Of a job's event; the number at its end says where it stands.
fn event_id(prefix: &str, job: &str, sequence: i64) -> String {
    format!("{prefix}-{}-{sequence}", job.rsplit('-').next().unwrap_or_default())
}

/// Where the event of an id stands in its job, `None` if it is of another job or none.
pub fn sequence_of(prefix: &str, job: &str, id: &str) -> Option<i64> {
    let sequence: i64 = id.rsplit('-').next()?.parse().ok()?;
    (event_id(prefix, job, sequence) == id).then_some(sequence)
}

const COMPLETION: &str = "ftcompletion";

/// Of a completion: its step, and where it stands among those of the step.
pub fn completion_id(job: &str, step: u64, at: usize) -> String {
    format!("{COMPLETION}-{}-{step}-{at}", job.rsplit('-').next().unwrap_or_default())
}

/// The step and the place in an id, `None` if it is of another job or none.
pub fn completion_place(job: &str, id: &str) -> Option<(u64, usize)> {
    let mut parts = id.rsplit('-');
    let (at, step) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (completion_id(job, step, at) == id).then_some((step, at))
}

fn seconds(milliseconds: i64) -> u64 {
    (milliseconds / 1000).max(0) as u64
}
