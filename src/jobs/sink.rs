//! Records into the store and back: the completion apart, so that lists need not read it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::error::JobError;
use super::spec::json_of;
use crate::eval::{Outcome, SampleBrief, SampleRecord, SampleSink, Usage};
use crate::store::{Lease, NewSample, SampleRow, SampleStatus, Store};

const COMPLETION: &str = "completion";

/// Keeps the samples of one leased task.
pub(super) struct StoreSink<'a> {
    pub store: &'a Store,
    lease: &'a Lease,
    duration: Duration,
    prompt_tokens: AtomicU64,
}

impl<'a> StoreSink<'a> {
    pub fn new(store: &'a Store, lease: &'a Lease, duration: Duration) -> Self {
        Self { store, lease, duration, prompt_tokens: AtomicU64::new(0) }
    }

    /// What the prompts took so far.
    pub fn prompt_tokens(&self) -> u64 {
        self.prompt_tokens.load(Ordering::Relaxed)
    }
}

impl SampleSink for StoreSink<'_> {
    type Error = JobError;

    fn tokens(&self, _count: u64) {}

    fn usage(&self, usage: Usage) {
        self.prompt_tokens.fetch_add(usage.prompt_tokens, Ordering::Relaxed);
    }

    async fn keep(&self, record: SampleRecord) -> Result<(), JobError> {
        let sample = sample_of(&record)?;
        self.store.add_samples(self.lease, self.duration, &[sample]).await?;
        Ok(())
    }
}

/// A record as the store takes it.
///
/// # Errors
/// `Internal`, if it makes no JSON.
pub fn sample_of(record: &SampleRecord) -> Result<NewSample, JobError> {
    let mut json = json_of(record)?;
    if let Some(fields) = json.as_object_mut() {
        fields.shift_remove(COMPLETION);
    }
    let status = match record.outcome {
        Outcome::Correct => SampleStatus::Passed,
        Outcome::Error => SampleStatus::Errored,
        _ => SampleStatus::Failed,
    };
    Ok(NewSample {
        sample: record.sample,
        status,
        record: json,
        brief: json_of(&SampleBrief::from(record))?,
        completion: record.completion.clone(),
        completion_tokens: record.completion_tokens.unwrap_or(0),
    })
}

/// The record in a row; without its completion, where the row was read without.
///
/// # Errors
/// `Damaged`.
pub fn record_of(run: &str, row: SampleRow) -> Result<SampleRecord, JobError> {
    let mut json = row.record;
    if let Some(fields) = json.as_object_mut() {
        fields.insert(COMPLETION.to_owned(), Value::String(row.completion.unwrap_or_default()));
    }
    serde_json::from_value(json).map_err(|error| JobError::Damaged {
        run: run.to_owned(),
        message: format!("sample {} of {} in {}: {error}", row.key.sample, row.problem, row.language),
    })
}
