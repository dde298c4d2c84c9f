//! The end of a run: refusals that are final become samples, and the results are written down once.

use super::error::JobError;
use super::job::Job;
use super::sink::{record_of, sample_of};
use super::spec::json_of;
use super::worker::Worker;
use crate::eval::{Tally, run_scores};
use crate::store::{Store, StoreError};

/// Samples read at once.
const PAGE: usize = 1000;

impl Worker {
    /// Bring a run to its end if no task is open any more. Several workers may try; each step is done by one.
    pub(super) async fn settle(&self, job: &Job) -> Result<(), JobError> {
        let undone = self.store.undone(&job.run).await?;
        if undone.open > 0 || !self.is_active(&job.run).await? {
            return Ok(());
        }
        if undone.refused > 0 {
            if self.store.run(&job.run).await?.samples_done == 0 {
                return self.all_refused(job, undone.refused).await;
            }
            self.write_refusals(job, i64::MAX).await?;
        }
        if self.store.undone(&job.run).await? == crate::store::Undone::default() {
            self.complete(job).await?;
        }
        Ok(())
    }

    /// Write the samples of refused tasks before a position, as errors.
    pub(super) async fn write_refusals(&self, job: &Job, before: i64) -> Result<(), JobError> {
        let (name, duration) = (&self.options.name, self.options.lease);
        while let Some(lease) = self.store.claim_refused(&job.run, before, name, duration).await? {
            let (position, missing) = job.missing(&lease)?;
            let message = lease.error.as_deref().unwrap_or("refused");
            let records = job.plan.refused(position, &missing, message);
            let samples = records.iter().map(sample_of).collect::<Result<Vec<_>, _>>()?;
            let written = match self.store.add_samples(&lease, duration, &samples).await {
                Ok(_) => self.store.finish_task(&lease, false).await,
                Err(error) => Err(error),
            };
            match written {
                Ok(()) | Err(StoreError::LeaseLost { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn all_refused(&self, job: &Job, count: i64) -> Result<(), JobError> {
        let lease =
            self.store.claim_refused(&job.run, i64::MAX, &self.options.name, self.options.lease).await?;
        let Some(lease) = lease else { return Ok(()) };
        self.store.release(&lease).await?;
        let first = lease.error.unwrap_or_default();
        let message =
            format!("all {count} requests were refused, the first with: {first}; nothing is written of them");
        self.fail(&job.run, &message).await
    }

    async fn complete(&self, job: &Job) -> Result<(), JobError> {
        let mut tally = Tally::default();
        let mut last = 0;
        while let Some(sequence) = read_more(&self.store, &job.run, last, &mut tally).await? {
            last = sequence;
        }
        let mut record = job.record.clone();
        let for_results = record.clone();
        // The bootstrap takes a moment: not on the async threads.
        let results = tokio::task::spawn_blocking(move || tally.results_of(&for_results)).await?;
        record.finished = Some(seconds_now());
        record.complete = true;
        let (written, scores) = (json_of(&results)?, json_of(&run_scores(&record, &results))?);
        record.results = Some(results);
        if self.store.complete_run(&job.run, &json_of(&record)?, &written, &scores).await? {
            tracing::info!(run = job.run, "an evaluation run is complete");
        }
        Ok(())
    }
}

/// Add the samples after a number of the run's sequence to a tally; gives the last number, `None` when there was none.
pub(super) async fn read_more(
    store: &Store,
    run: &str,
    after: i64,
    tally: &mut Tally,
) -> Result<Option<i64>, JobError> {
    let mut last = None;
    for row in store.samples_since(run, after, PAGE).await? {
        last = Some(row.sequence);
        tally.add(&record_of(run, row)?);
    }
    Ok(last)
}

fn seconds_now() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
