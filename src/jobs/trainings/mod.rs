//! Trainings as jobs: one at a time in a process, paused, resumed and cancelled, taken up after a crash from their checkpoints,
//! served when they are done.

mod curves;
mod gauge;
mod results;
mod run;
mod spec;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::error::JobError;
use super::spec::json_of;
use super::worker::stopped;
use crate::protocol::fine_tuning_jobs::FineTuningError;
use crate::registry::Registry;
use crate::store::{JobEventKind, JobRow, NewJobEvent, Order, Page, Paged, RunStatus, Store};
use crate::train::{Finished, MODEL_FOLDER};

pub use curves::training_curves;
pub use gauge::Progress;
pub use spec::{TrainingSpec, WrongTraining, file_path, files_of, training_folder};

use gauge::Gauge;
use run::{LOCKED, fault, serve, served_name, train, withdraw};

/// What the store calls these jobs.
pub const TRAINING: &str = "training";

/// Does the trainings of a store.
pub struct TrainingWorker {
    store: Store,
    registry: Registry,
    data: PathBuf,
    name: String,
    lease: Duration,
    wake: Arc<Notify>,
}

/// How often a training says how far it is, and asks whether it is still wanted.
const RENEW_EVERY: Duration = Duration::from_millis(500);

/// How often an idle process looks for trainings that another one left.
const POLL: Duration = Duration::from_secs(5);

/// After so long without a word from a process, another one goes on.
const LEASE: Duration = Duration::from_secs(10);

/// Processes that may end on one training without a checkpoint before the training is taken to be what ends them.
const ATTEMPTS_MAX: i64 = 5;

/// Put a training into the store, whose files are in its folder.
///
/// # Errors
/// Of the store.
pub async fn submit_training(store: &Store, id: &str, spec: &TrainingSpec) -> Result<JobRow, JobError> {
    let row = store.create_job_as(id, TRAINING, &json_of(spec)?).await?;
    store.tell_job(id, &[told("info", "the training waits for its turn")]).await?;
    Ok(row)
}

/// A message.
pub fn told(level: &'static str, message: impl Into<String>) -> NewJobEvent {
    let (message, data) = (message.into(), serde_json::json!({}));
    NewJobEvent { kind: JobEventKind::Message, level, message, data }
}

/// How a training's thread ended.
enum Ended {
    /// By itself.
    Done(Result<Finished, FineTuningError>),
    /// It was paused or cancelled, or is another worker's.
    Unwanted,
    /// The process stops.
    Stopping,
}

impl TrainingWorker {
    pub fn new(store: Store, registry: Registry, data: PathBuf, wake: Arc<Notify>) -> Self {
        let name = format!("{}-{}", std::process::id(), uuid::Uuid::new_v4().simple());
        Self { store, registry, data, name, lease: LEASE, wake }
    }

    /// Do trainings until `stop` says true; one in progress is given back then, with a checkpoint.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        if let Err(error) = self.serve_again().await {
            tracing::error!(%error, "the adapters of earlier trainings cannot be looked for");
        }
        while !*stop.borrow() {
            match self.store.claim_job(TRAINING, &self.name, self.lease).await {
                Ok(Some(job)) => {
                    if let Err(error) = self.work(&job, &mut stop).await {
                        tracing::error!(training = job.id, %error, "a training could not go on");
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "trainings cannot be looked for"),
            }
            tokio::select! {
                () = stopped(&mut stop) => break,
                () = tokio::time::sleep(POLL) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Serves the adapters that another process trained, beside their bases. Whole models are as large as what is served, and
    /// which of them to have in memory is for whoever starts the server to say.
    async fn serve_again(&self) -> Result<(), JobError> {
        let mut page = Page { after: None, limit: 1000, order: Order::Descending };
        loop {
            let Paged { rows, has_more } = self.store.jobs(TRAINING, &page).await?;
            page.after = rows.last().map(|job| job.id.clone());
            for job in rows.into_iter().filter(|job| job.status == RunStatus::Completed) {
                let Ok(progress) = serde_json::from_value::<Progress>(job.progress) else { continue };
                let Ok(spec) = serde_json::from_value::<TrainingSpec>(job.spec) else { continue };
                let name = progress.fine_tuned_model.unwrap_or_else(|| served_name(&spec, &job.id));
                let model = training_folder(&self.data, &job.id).join(MODEL_FOLDER);
                if spec.request.lora().is_none() {
                    let folder = model.display();
                    tracing::info!(
                        model = name,
                        "a trained model is in {folder}: `xenoglot serve` takes it by that path"
                    );
                    continue;
                }
                let (registry, served) = (self.registry.clone(), name.clone());
                let loaded =
                    tokio::task::spawn_blocking(move || serve(&registry, &spec, &served, &model)).await?;
                match loaded {
                    Ok(()) => tracing::info!(adapter = name, "a trained adapter is served"),
                    Err(problem) => {
                        tracing::warn!(adapter = name, problem, "a trained adapter is not served");
                    }
                }
            }
            if !has_more {
                return Ok(());
            }
        }
    }

    async fn work(&self, job: &JobRow, stop: &mut watch::Receiver<bool>) -> Result<(), JobError> {
        let gauge = Arc::new(Gauge::default());
        if job.attempts > ATTEMPTS_MAX {
            let message = "the processes that worked on it ended: look into their logs";
            return self.fail(job, &gauge, fault("server_error", None, message)).await;
        }
        let spec: TrainingSpec = match serde_json::from_value(job.spec.clone()) {
            Ok(spec) => spec,
            Err(error) => {
                let message = format!("the training's spec cannot be read: {error}");
                return self.fail(job, &gauge, fault("server_error", None, message)).await;
            }
        };
        tracing::info!(training = job.id, model = spec.request.model, "a training begins");
        let ended = self.watch(job, &spec, &gauge, stop).await;
        match ended? {
            Ended::Stopping => {
                self.tell(job, &gauge).await;
                self.store.release_job(job).await?;
                Ok(self.store.free_job(job).await?)
            }
            Ended::Unwanted => self.let_go(job, &gauge).await,
            Ended::Done(Err(error)) if error.code == LOCKED => {
                tracing::info!(training = job.id, "the process that had the training has not ended yet");
                self.store.release_job(job).await?;
                tokio::select! {
                    () = stopped(stop) => {}
                    () = tokio::time::sleep(POLL) => {}
                }
                Ok(())
            }
            Ended::Done(Err(error)) => self.fail(job, &gauge, error).await,
            Ended::Done(Ok(finished)) => self.finish(job, &spec, &gauge, finished).await,
        }
    }

    /// Run the training on a thread of its own, and tell the store how it goes. The thread has ended when this returns.
    async fn watch(
        &self,
        job: &JobRow,
        spec: &TrainingSpec,
        gauge: &Arc<Gauge>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Ended, JobError> {
        let halt = Arc::new(AtomicBool::new(false));
        let (spec, folder) = (spec.clone(), training_folder(&self.data, &job.id));
        let (registry, observed, asked) = (self.registry.clone(), gauge.clone(), halt.clone());
        let mut training =
            tokio::task::spawn_blocking(move || train(&spec, &folder, &registry, &observed, &asked));
        let (mut stopping, mut unwanted) = (false, false);
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                done = &mut training => {
                    let done = done.map_err(JobError::from)?;
                    return Ok(match done {
                        _ if unwanted => Ended::Unwanted,
                        _ if stopping => Ended::Stopping,
                        done => Ended::Done(done),
                    });
                }
                () = tokio::time::sleep(RENEW_EVERY), if !unwanted => {
                    self.tell(job, gauge).await;
                    match self.store.renew_job(job, &gauge.progress().json(), self.lease).await {
                        Ok(Some(())) => renewed = Instant::now(),
                        Ok(None) => unwanted = true,
                        // Others may take it when the lease is over: nobody else writes until then.
                        Err(error) => {
                            tracing::warn!(training = job.id, %error, "the training's lease cannot be renewed");
                            unwanted = renewed.elapsed() + RENEW_EVERY * 4 > self.lease;
                        }
                    }
                }
                () = stopped(stop), if !stopping => stopping = true,
            }
            if stopping || unwanted {
                halt.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Tell the store what has happened; what it does not take is told later.
    async fn tell(&self, job: &JobRow, gauge: &Gauge) {
        let events = gauge.take();
        if let Err(error) = self.store.tell_job(&job.id, &events).await {
            tracing::warn!(training = job.id, %error, "the store takes no events");
            gauge.put_back(events);
        }
    }

    async fn fail(&self, job: &JobRow, gauge: &Gauge, error: FineTuningError) -> Result<(), JobError> {
        tracing::warn!(training = job.id, error = error.message, "a training failed");
        gauge.say("error", error.message.clone());
        self.tell(job, gauge).await;
        let message = error.message.clone();
        let progress = Progress { error: Some(error), estimated_finish: None, ..gauge.progress() };
        if !self.store.finish_job(job, &progress.json(), Some(&message)).await? {
            return self.let_go(job, gauge).await;
        }
        Ok(())
    }

    /// A paused one has a checkpoint; whoever cancels one wants nothing of it. Another worker's is left alone.
    async fn let_go(&self, job: &JobRow, gauge: &Gauge) -> Result<(), JobError> {
        match self.store.job(TRAINING, &job.id).await?.status {
            RunStatus::Canceled => self.clear_away(&job.id).await,
            RunStatus::Paused => {
                gauge.say(
                    "info",
                    format!("the training stands still after step {}", gauge.progress().steps_done),
                );
            }
            _ => {}
        }
        self.tell(job, gauge).await;
        Ok(self.store.free_job(job).await?)
    }

    async fn clear_away(&self, id: &str) {
        let folder = training_folder(&self.data, id);
        let cleared = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(&folder)).await;
        if let Ok(Err(error)) = cleared
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!(training = id, %error, "what a cancelled training wrote could not be removed");
        }
    }

    async fn finish(
        &self,
        job: &JobRow,
        spec: &TrainingSpec,
        gauge: &Gauge,
        finished: Finished,
    ) -> Result<(), JobError> {
        let Some(model) = finished.model else {
            // Nobody asked it to stop: the next one goes on.
            return Ok(self.store.release_job(job).await?);
        };
        let mut progress = gauge.progress();
        (progress.steps_done, progress.tokens) = (finished.outcome.steps, finished.outcome.tokens);
        progress.estimated_finish = None;
        if self.store.renew_job(job, &progress.json(), self.lease).await?.is_none() {
            return self.let_go(job, gauge).await;
        }
        let name = served_name(spec, &job.id);
        match self.serve(job, spec, &name, &model, &progress).await? {
            Ok(()) => {
                gauge.say("info", format!("the training has succeeded; the model is served as {name}"));
                progress.fine_tuned_model = Some(name);
            }
            Err(problem) => {
                let shown = model.display();
                gauge.say(
                    "warn",
                    format!(
                        "the training has succeeded; its result is in {shown} and is not served: {problem}"
                    ),
                );
            }
        }
        let folder = training_folder(&self.data, &job.id);
        match results::publish(&self.store, &self.data, &folder, &job.id).await {
            Ok(file) => progress.result_files = vec![file],
            Err(error) => gauge.say("warn", format!("the file of its metrics cannot be made: {error}")),
        }
        self.tell(job, gauge).await;
        if !self.store.finish_job(job, &progress.json(), None).await? {
            tracing::warn!(training = job.id, "the training was paused or cancelled when it was done");
            if let Some(name) = progress.fine_tuned_model {
                let registry = self.registry.clone();
                tokio::task::spawn_blocking(move || withdraw(&registry, &name)).await?;
            }
            for file in progress.result_files {
                let _ = self.store.delete_file(&file).await;
                let _ = tokio::fs::remove_file(file_path(&self.data, &file)).await;
            }
            return self.let_go(job, gauge).await;
        }
        tracing::info!(training = job.id, steps = progress.steps_done, "a training has succeeded");
        Ok(())
    }

    /// Serve the result, keeping the lease meanwhile.
    async fn serve(
        &self,
        job: &JobRow,
        spec: &TrainingSpec,
        name: &str,
        model: &std::path::Path,
        progress: &Progress,
    ) -> Result<Result<(), String>, JobError> {
        let (registry, spec, name, model) =
            (self.registry.clone(), spec.clone(), name.to_owned(), model.to_owned());
        let mut loading = tokio::task::spawn_blocking(move || serve(&registry, &spec, &name, &model));
        loop {
            tokio::select! {
                loaded = &mut loading => return loaded.map_err(JobError::from),
                () = tokio::time::sleep(RENEW_EVERY) => {
                    if let Err(error) = self.store.renew_job(job, &progress.json(), self.lease).await {
                        tracing::warn!(training = job.id, %error, "the training's lease cannot be renewed");
                    }
                }
            }
        }
    }
}
