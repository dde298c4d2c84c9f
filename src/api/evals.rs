//! What the evals routes share: the store, the current scores, the worker of this process, and the word to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;

use super::error::ApiError;
use crate::eval::ScorerOptions;
use crate::jobs::{
    BatchWorker, Endpoint, Generators, LineService, Merger, Scoreboard, TrainingWorker, Worker, WorkerOptions,
};
use crate::registry::Registry;
use crate::store::Store;

/// How this process takes part in evaluations.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    pub store: Store,
    /// Problems that this process works on at once; 0: it leaves the work to others.
    pub workers: usize,
    /// Servers that clients may name as models.
    pub endpoints: Vec<Endpoint>,
    pub scorers: ScorerOptions,
    pub data: DataOptions,
}

/// Where files and trainings are.
#[derive(Debug, Clone)]
pub struct DataOptions {
    pub folder: PathBuf,
    /// Of one uploaded file.
    pub file_bytes_max: u64,
}

pub struct Evals {
    pub store: Store,
    pub scores: Scoreboard,
    pub endpoints: Vec<Endpoint>,
    pub scorers: ScorerOptions,
    pub data: DataOptions,
    workers: usize,
    wake: Arc<Notify>,
    wake_merger: Arc<Notify>,
    wake_trainer: Arc<Notify>,
    wake_batches: Arc<Notify>,
    /// Runs that are read whole at the same time: each may be a hundred megabytes.
    reading: Arc<Semaphore>,
    /// Held from counting a key's runs until one more is there.
    pub counting: tokio::sync::Mutex<()>,
    stop: watch::Sender<bool>,
}

const READING_MAX: usize = 4;

impl Evals {
    pub fn new(options: EvalOptions) -> Self {
        Self {
            scores: Scoreboard::new(options.store.clone()),
            store: options.store,
            endpoints: options.endpoints,
            scorers: options.scorers,
            data: options.data,
            workers: options.workers,
            wake: Arc::new(Notify::new()),
            wake_merger: Arc::new(Notify::new()),
            wake_trainer: Arc::new(Notify::new()),
            wake_batches: Arc::new(Notify::new()),
            reading: Arc::new(Semaphore::new(READING_MAX)),
            counting: tokio::sync::Mutex::default(),
            stop: watch::channel(false).0,
        }
    }

    /// Leave to read a run whole; others wait their turn until it is dropped.
    ///
    /// # Errors
    /// Never, while the server runs.
    pub async fn turn_to_read(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.reading.clone().acquire_owned().await.map_err(|_| ApiError::internal("shutting down"))
    }

    /// There is something to do: do not wait for the next look.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// There is a merge to make.
    pub fn wake_merger(&self) {
        self.wake_merger.notify_one();
    }

    /// There is a training to do.
    pub fn wake_trainer(&self) {
        self.wake_trainer.notify_one();
    }

    /// There is a batch to answer.
    pub fn wake_batches(&self) {
        self.wake_batches.notify_one();
    }

    /// Start this process's workers: those of merges, trainings and batches, whose lines `lines` answers, and that of evaluation runs if it is to have one.
    pub fn start(&self, registry: &Registry, lines: Arc<dyn LineService>) -> Vec<JoinHandle<()>> {
        let merger = Merger::new(self.store.clone(), registry.clone(), self.wake_merger.clone());
        let mut workers = vec![tokio::spawn(merger.run(self.stop.subscribe()))];
        let trainer = TrainingWorker::new(
            self.store.clone(),
            registry.clone(),
            self.data.folder.clone(),
            self.wake_trainer.clone(),
        );
        workers.push(tokio::spawn(trainer.run(self.stop.subscribe())));
        let batches = BatchWorker::new(
            self.store.clone(),
            registry.clone(),
            self.data.folder.clone(),
            lines,
            self.wake_batches.clone(),
        );
        workers.push(tokio::spawn(batches.run(self.stop.subscribe())));
        workers.extend(self.start_evaluating(registry));
        workers
    }

    fn start_evaluating(&self, registry: &Registry) -> Option<JoinHandle<()>> {
        if self.workers == 0 {
            return None;
        }
        let generators = Generators::new(registry.clone(), self.endpoints.clone());
        let scorers = self.scorers.clone();
        let options = WorkerOptions { concurrency: self.workers, scorers, ..WorkerOptions::default() };
        let worker = Arc::new(Worker::new(self.store.clone(), generators, options, self.wake.clone()));
        Some(tokio::spawn(worker.run(self.stop.subscribe())))
    }

    /// Ends the workers, whose tasks go back, and the event streams.
    pub async fn stop(&self, workers: Vec<JoinHandle<()>>) {
        self.stop.send_replace(true);
        let all = futures::future::join_all(workers);
        if tokio::time::timeout(STOP_TIMEOUT, all).await.is_err() {
            tracing::error!("a worker did not stop in time; its leases will expire");
        }
    }

    /// Says when the process stops.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }
}

/// Giving tasks back takes a statement each.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The routes are there and the store is not.
pub fn unavailable() -> ApiError {
    ApiError::unavailable("this server has no store for evaluations: set `store` to a URL that works")
}
