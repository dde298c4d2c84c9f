//! Batches as jobs: a file of requests answered one by one, taken up after a crash where it stopped, no line lost or doubled.

mod lines;
mod results;
mod run;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};

use super::error::JobError;
use super::spec::json_of;
use super::worker::stopped;
use crate::registry::Registry;
use crate::store::{JobRow, RunStatus, Store};

pub use results::ResultFiles;

/// What the store calls these jobs.
pub const BATCH: &str = "batch";

/// What the lines of a batch may ask.
pub const ENDPOINTS: [&str; 4] =
    ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"];

/// A batch to be answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchSpec {
    pub input_file_id: String,
    /// One of [`ENDPOINTS`]; every line asks it.
    pub endpoint: String,
    pub completion_window: String,
    pub metadata: Map<String, Value>,
}

/// How far a batch is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchProgress {
    /// Lines of the file.
    pub total: u64,
    /// Answered with 200.
    pub completed: u64,
    /// Answered with anything else, or no request at all.
    pub failed: u64,
}

/// Answers one request of a batch, as if it had come over HTTP.
pub trait LineService: Send + Sync {
    /// Status and body.
    fn answer(&self, request_id: String, url: &str, body: Vec<u8>) -> BoxFuture<'static, (u16, Value)>;
}

/// Answers the batches of a store.
pub struct BatchWorker {
    store: Store,
    data: PathBuf,
    service: Arc<dyn LineService>,
    /// Asked how much the engines take at once.
    registry: Registry,
    name: String,
    wake: Arc<Notify>,
}

/// How often a batch says how far it is, and asks whether it is still wanted.
const RENEW_EVERY: Duration = Duration::from_millis(500);

/// How often an idle process looks for batches that another one left.
const POLL: Duration = Duration::from_secs(5);

/// After so long without a word from a process, another one goes on.
const LEASE: Duration = Duration::from_secs(10);

/// Processes that may end on one batch before the batch is taken to be what ends them.
const ATTEMPTS_MAX: i64 = 20;

/// Lines in the air at once. The engine's queue holds them; a share of it is left to others.
const LINES_AT_ONCE: usize = 128;

/// Put a batch into the store.
///
/// # Errors
/// Of the store.
pub async fn submit_batch(store: &Store, spec: &BatchSpec) -> Result<JobRow, JobError> {
    let id = format!("batch_{}", uuid::Uuid::new_v4().simple());
    Ok(store.create_job_as(&id, BATCH, &json_of(spec)?).await?)
}

/// Where a batch keeps what it has answered.
pub fn batch_folder(data: &Path, id: &str) -> PathBuf {
    data.join("batches").join(id)
}

/// Counters that lines in the air share with the watch over the lease.
#[derive(Default)]
struct Gauge {
    total: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
}

impl Gauge {
    fn progress(&self) -> BatchProgress {
        BatchProgress {
            total: self.total.load(Ordering::Relaxed),
            completed: self.completed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    fn count(&self, ok: bool) {
        let counter = if ok { &self.completed } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Why the answering of a batch stopped before its end.
enum Stopped {
    /// Another process still writes its answers.
    Locked,
    Failed(String),
}

impl From<String> for Stopped {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

/// How the answering of a batch ended.
enum Ended {
    Done(Result<(), Stopped>),
    /// It was canceled, or is another worker's.
    Unwanted,
    /// The process stops.
    Stopping,
}

impl BatchWorker {
    pub fn new(
        store: Store,
        registry: Registry,
        data: PathBuf,
        service: Arc<dyn LineService>,
        wake: Arc<Notify>,
    ) -> Self {
        let name = format!("{}-{}", std::process::id(), uuid::Uuid::new_v4().simple());
        Self { store, data, service, registry, name, wake }
    }

    /// Answer batches, one after the other, until `stop` says true; one in progress is given back then.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            if let Err(error) = self.end_canceled().await {
                tracing::error!(%error, "canceled batches cannot be ended");
            }
            match self.store.claim_job(BATCH, &self.name, LEASE).await {
                Ok(Some(job)) => {
                    if let Err(error) = self.work(&job, &mut stop).await {
                        tracing::error!(batch = job.id, %error, "a batch could not go on");
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "batches cannot be looked for"),
            }
            tokio::select! {
                () = stopped(&mut stop) => break,
                () = tokio::time::sleep(POLL) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    async fn work(&self, job: &JobRow, stop: &mut watch::Receiver<bool>) -> Result<(), JobError> {
        let gauge = Arc::new(Gauge::default());
        if job.attempts > ATTEMPTS_MAX {
            let message = "the processes that worked on it ended: look into their logs";
            return self.end(job, &gauge, Some(message)).await;
        }
        let spec: BatchSpec = match serde_json::from_value(job.spec.clone()) {
            Ok(spec) => spec,
            Err(error) => {
                let message = format!("the batch's spec cannot be read: {error}");
                return self.end(job, &gauge, Some(&message)).await;
            }
        };
        match self.watch(job, &spec, &gauge, stop).await? {
            Ended::Stopping => Ok(self.store.release_job(job).await?),
            Ended::Unwanted => self.let_go(job).await,
            Ended::Done(Err(Stopped::Locked)) => {
                tracing::info!(batch = job.id, "the process that had the batch has not ended yet");
                self.store.release_job(job).await?;
                tokio::select! {
                    () = stopped(stop) => {}
                    () = tokio::time::sleep(POLL) => {}
                }
                Ok(())
            }
            Ended::Done(Err(Stopped::Failed(message))) => self.end(job, &gauge, Some(&message)).await,
            Ended::Done(Ok(())) => self.end(job, &gauge, None).await,
        }
    }

    /// What was answered is the client's, also where something went wrong then; nothing of it is removed before it is in the files.
    async fn end(&self, job: &JobRow, gauge: &Gauge, error: Option<&str>) -> Result<(), JobError> {
        let published = self.publish(&job.id).await;
        if let Err(problem) = &published
            && job.attempts <= ATTEMPTS_MAX
        {
            tracing::error!(batch = job.id, error = %problem, "the files of a batch could not be made: tried again");
            tokio::time::sleep(POLL).await;
            return published.map(drop);
        }
        let progress = match &published {
            Ok(counts) => BatchProgress { total: gauge.progress().total.max(counts.total), ..*counts },
            Err(_) => gauge.progress(),
        };
        if !self.store.finish_job(job, &json!(progress), error).await? {
            return self.let_go(job).await;
        }
        let BatchProgress { completed, failed, .. } = progress;
        tracing::info!(batch = job.id, completed, failed, error, "a batch has ended");
        if published.is_ok() {
            self.clear_away(&job.id).await;
        }
        Ok(())
    }

    /// Whoever cancels a batch keeps what was answered. Another worker's is left alone.
    async fn let_go(&self, job: &JobRow) -> Result<(), JobError> {
        if self.store.job(BATCH, &job.id).await?.status == RunStatus::Canceled {
            self.publish(&job.id).await?;
            self.clear_away(&job.id).await;
        }
        Ok(())
    }

    /// Batches that were canceled while nobody worked on them. One whose answers another process still writes is left to that.
    async fn end_canceled(&self) -> Result<(), JobError> {
        let Ok(mut folders) = tokio::fs::read_dir(self.data.join("batches")).await else { return Ok(()) };
        while let Ok(Some(folder)) = folders.next_entry().await {
            let id = folder.file_name().to_string_lossy().into_owned();
            let canceled =
                self.store.job(BATCH, &id).await.is_ok_and(|job| job.status == RunStatus::Canceled);
            let path = folder.path();
            let free = canceled && tokio::task::spawn_blocking(move || results::is_free(&path)).await?;
            if free {
                self.publish(&id).await?;
                self.clear_away(&id).await;
            }
        }
        Ok(())
    }

    /// What is published is not needed twice.
    async fn clear_away(&self, id: &str) {
        if let Err(error) = tokio::fs::remove_dir_all(batch_folder(&self.data, id)).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(batch = id, %error, "the folder of a batch could not be removed");
        }
    }

    /// Makes files of what was answered, in the order of the input, and says how much that is.
    async fn publish(&self, id: &str) -> Result<BatchProgress, JobError> {
        let (folder, data, files) = (batch_folder(&self.data, id), self.data.clone(), ResultFiles::of(id));
        let written = tokio::task::spawn_blocking(move || results::write(&folder, &data, &files)).await?;
        let (written, counts) = written.map_err(|error| JobError::Files { message: error.to_string() })?;
        for file in written {
            if self.store.file(&file.id).await.is_err() {
                let name = format!("{id}_{}.jsonl", file.kind);
                self.store.create_file(&file.id, &name, "batch_output", file.bytes).await?;
            }
        }
        Ok(counts)
    }

    /// Answer the lines in a task, and tell the store how it goes. The task has ended when this returns.
    async fn watch(
        &self,
        job: &JobRow,
        spec: &BatchSpec,
        gauge: &Arc<Gauge>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Ended, JobError> {
        let halt = Arc::new(AtomicBool::new(false));
        let run = run::Run {
            id: job.id.clone(),
            input: super::file_path(&self.data, &spec.input_file_id),
            folder: batch_folder(&self.data, &job.id),
            endpoint: spec.endpoint.clone(),
            service: Arc::clone(&self.service),
            at_once: self.at_once(),
            gauge: Arc::clone(gauge),
            halt: Arc::clone(&halt),
        };
        let mut answering = tokio::spawn(run.answer());
        let (mut stopping, mut unwanted) = (false, false);
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                done = &mut answering => {
                    return Ok(match done {
                        _ if unwanted => Ended::Unwanted,
                        done => match done.map_err(JobError::from)? {
                            _ if stopping => Ended::Stopping,
                            done => Ended::Done(done),
                        },
                    });
                }
                () = tokio::time::sleep(RENEW_EVERY), if !unwanted => {
                    match self.store.renew_job(job, &json!(gauge.progress()), LEASE).await {
                        Ok(Some(())) => renewed = Instant::now(),
                        Ok(None) => unwanted = true,
                        // Others may take it when the lease is over: nobody else writes until then.
                        Err(error) => {
                            tracing::warn!(batch = job.id, %error, "the batch's lease cannot be renewed");
                            unwanted = renewed.elapsed() + RENEW_EVERY * 4 > LEASE;
                        }
                    }
                }
                () = stopped(stop), if !stopping => stopping = true,
            }
            if stopping || unwanted {
                halt.store(true, Ordering::Relaxed);
            }
            if unwanted {
                // Others may write from now on: what is in the air is let go of.
                answering.abort();
            }
        }
    }

    /// A quarter of the smallest queue, so that clients are served beside a batch.
    fn at_once(&self) -> usize {
        let queues = self.registry.list();
        let smallest = queues.iter().map(|model| model.handle.info().max_waiting).min();
        smallest.map_or(LINES_AT_ONCE, |queue| (queue / 4).clamp(1, LINES_AT_ONCE))
    }
}
