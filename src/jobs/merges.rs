//! Merges as jobs: one at a time in a process, resumed after a crash, canceled at any moment, served when they are done.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::error::JobError;
use super::spec::json_of;
use super::worker::stopped;
use crate::merge::{
    CONFIG_COPY, ExecuteOptions, FileOptions, MergeError, MergeJob, MergeProgress, MergedAmount, PlanOptions,
    PlannedTensor, discard,
};
use crate::registry::{LoadSpec, Registry, existing_below, new_below};
use crate::store::{JobRow, RunStatus, Store};

/// What the store calls these jobs.
pub const MERGE: &str = "merge";

/// A merge to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeSpec {
    /// The configuration's text.
    pub config: String,
    /// Folder below the models directory.
    pub output: String,
    pub seed: u64,
    pub allow_crimes: bool,
    /// Whether the result is served, under the output's name.
    pub serve: bool,
}

/// Makes the merges of a store.
pub struct Merger {
    store: Store,
    registry: Registry,
    name: String,
    lease: Duration,
    wake: Arc<Notify>,
}

/// How often a merge says how far it is, and asks whether it is still wanted.
const RENEW_EVERY: Duration = Duration::from_millis(500);

/// How often an idle process looks for merges that another one left.
const POLL: Duration = Duration::from_secs(5);

/// Processes that may end on one merge before the merge is taken to be what ends them.
const ATTEMPTS_MAX: i64 = 5;

impl MergeSpec {
    /// The merge's plan, with models below `root` alone. Reads headers: not for an async thread.
    ///
    /// # Errors
    /// What is wrong with the configuration or the models.
    pub fn plan(&self, root: &Path) -> Result<MergeJob, MergeError> {
        let locate = |path: &str, revision: Option<&str>| locate(path, revision, root);
        let options = PlanOptions { seed: self.seed, crimes: self.allow_crimes, ..PlanOptions::default() };
        MergeJob::plan(&self.config, &locate, &options)
    }

    /// Where the output goes.
    ///
    /// # Errors
    /// A name that leads out of the models directory, or one that is taken.
    pub fn folder(&self, root: &Path) -> Result<PathBuf, String> {
        let folder = new_below(root, &self.output)?;
        match std::fs::read_dir(&folder).map(|mut entries| entries.next().is_some()) {
            Ok(true) => Err("exists already: name another output".to_owned()),
            Ok(false) | Err(_) => Ok(folder),
        }
    }
}

fn locate(path: &str, revision: Option<&str>, root: &Path) -> Result<PathBuf, String> {
    let name = revision.map_or_else(|| path.to_owned(), |revision| format!("{path}@{revision}"));
    existing_below(root, &name)
        .ok_or_else(|| format!("there is no such model below the models directory ({})", root.display()))
}

/// Put a merge into the store.
///
/// # Errors
/// Of the store.
pub async fn submit_merge(store: &Store, spec: &MergeSpec) -> Result<JobRow, JobError> {
    Ok(store.create_job(MERGE, &json_of(spec)?).await?)
}

/// How far a merge is, as its thread says.
#[derive(Default)]
struct Gauge {
    total: Mutex<MergedAmount>,
    tensors: AtomicUsize,
    bytes: AtomicU64,
}

impl MergeProgress for Gauge {
    fn planned(&self, total: MergedAmount, done: MergedAmount) {
        *self.total.lock().unwrap_or_else(PoisonError::into_inner) = total;
        self.tensors.store(done.tensors, Ordering::Relaxed);
        self.bytes.store(done.bytes, Ordering::Relaxed);
    }

    fn tensor(&self, tensor: &PlannedTensor) {
        self.tensors.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(tensor.bytes(), Ordering::Relaxed);
    }
}

impl Gauge {
    fn json(&self) -> Value {
        let total = *self.total.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "tensors_done": self.tensors.load(Ordering::Relaxed),
            "tensors_total": total.tensors,
            "bytes_done": self.bytes.load(Ordering::Relaxed),
            "bytes_total": total.bytes,
        })
    }
}

/// How a merge's thread ended.
enum Ended {
    /// By itself.
    Done(Result<(), String>),
    /// It was canceled, or is another worker's; `written` tells whether the output was finished nevertheless.
    Unwanted { written: bool },
    /// The process stops.
    Stopping,
}

impl Merger {
    pub fn new(store: Store, registry: Registry, wake: Arc<Notify>) -> Self {
        let name = format!("{}-{}", std::process::id(), uuid::Uuid::new_v4().simple());
        Self { store, registry, name, lease: Duration::from_secs(30), wake }
    }

    /// Make merges until `stop` says true; one in progress is given back then.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            match self.store.claim_job(MERGE, &self.name, self.lease).await {
                Ok(Some(job)) => {
                    if let Err(error) = self.work(&job, &mut stop).await {
                        tracing::error!(merge = job.id, %error, "a merge could not go on");
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "merges cannot be looked for"),
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
        let fail = async |message: &str| {
            self.store.finish_job(job, &gauge.json(), Some(message)).await?;
            Ok(())
        };
        if job.attempts > ATTEMPTS_MAX {
            return fail("the processes that worked on it ended: look into their logs").await;
        }
        let spec: MergeSpec = match serde_json::from_value(job.spec.clone()) {
            Ok(spec) => spec,
            Err(error) => return fail(&format!("the merge's spec cannot be read: {error}")).await,
        };
        match self.watch(job, &spec, &gauge, stop).await? {
            Ended::Stopping => Ok(self.store.release_job(job).await?),
            Ended::Unwanted { written } => self.clear_away(job, &spec, written).await,
            Ended::Done(Err(message)) => fail(&message).await,
            Ended::Done(Ok(())) => {
                let mut progress = gauge.json();
                let (serving, error) = match self.serve(job, &spec, &progress).await? {
                    Served::Unwanted => return self.clear_away(job, &spec, true).await,
                    Served::Name(name) => (name, None),
                    Served::Failed(error) => (
                        None,
                        Some(format!("the merge is in {}, but cannot be served: {error}", spec.output)),
                    ),
                };
                progress["model"] = json!(serving);
                if !self.store.finish_job(job, &progress, error.as_deref()).await? {
                    tracing::warn!(
                        merge = job.id,
                        "the merge was canceled when it was done: its output stays"
                    );
                }
                Ok(())
            }
        }
    }

    /// Whoever cancels a merge wants neither its half nor its whole. Another worker's is left alone.
    async fn clear_away(&self, job: &JobRow, spec: &MergeSpec, written: bool) -> Result<(), JobError> {
        if self.store.job(MERGE, &job.id).await?.status != RunStatus::Canceled {
            return Ok(());
        }
        let folder = self.registry.models_dir().join(&spec.output);
        let cleared = tokio::task::spawn_blocking(move || {
            if written {
                std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
            }
            discard(&folder).map_err(|error| error.to_string())
        });
        if let Err(error) = cleared.await? {
            tracing::error!(merge = job.id, error, "what a canceled merge wrote could not be removed");
        }
        Ok(())
    }

    /// Run the merge on a thread of its own, and tell the store how it goes. The thread has ended when this returns.
    async fn watch(
        &self,
        job: &JobRow,
        spec: &MergeSpec,
        gauge: &Arc<Gauge>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Ended, JobError> {
        let halt = Arc::new(AtomicBool::new(false));
        let (root, spec) = (self.registry.models_dir().to_owned(), spec.clone());
        let (told, asked) = (gauge.clone(), halt.clone());
        let mut merging = tokio::task::spawn_blocking(move || merge(&spec, &root, &told, &asked));
        let (mut stopping, mut unwanted) = (false, false);
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                done = &mut merging => {
                    let done = done.map_err(JobError::from)?;
                    return Ok(match done {
                        done if unwanted => Ended::Unwanted { written: done.is_ok() },
                        Err(_) if stopping => Ended::Stopping,
                        done => Ended::Done(done),
                    });
                }
                () = tokio::time::sleep(RENEW_EVERY), if !unwanted => {
                    match self.store.renew_job(job, &gauge.json(), self.lease).await {
                        Ok(Some(())) => renewed = Instant::now(),
                        Ok(None) => unwanted = true,
                        // Others may take it when the lease is over: nobody else writes until then.
                        Err(error) => {
                            tracing::warn!(merge = job.id, %error, "the merge's lease cannot be renewed");
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

    /// Serve the output under its name, if that is asked for, keeping the lease meanwhile.
    async fn serve(&self, job: &JobRow, spec: &MergeSpec, progress: &Value) -> Result<Served, JobError> {
        if self.store.renew_job(job, progress, self.lease).await?.is_none() {
            return Ok(Served::Unwanted);
        }
        if !spec.serve {
            return Ok(Served::Name(None));
        }
        let (registry, name) = (self.registry.clone(), spec.output.clone());
        let path = registry.models_dir().join(&name);
        let load = LoadSpec { name: name.clone(), path, options: registry.defaults().clone() };
        let mut loading = tokio::task::spawn_blocking(move || registry.load(load));
        loop {
            tokio::select! {
                loaded = &mut loading => {
                    return Ok(match loaded.map_err(JobError::from)? {
                        Ok(_) => Served::Name(Some(name)),
                        Err(error) => Served::Failed(error.to_string()),
                    });
                }
                () = tokio::time::sleep(RENEW_EVERY) => {
                    if let Err(error) = self.store.renew_job(job, progress, self.lease).await {
                        tracing::warn!(merge = job.id, %error, "the merge's lease cannot be renewed");
                    }
                }
            }
        }
    }
}

/// What became of serving an output.
enum Served {
    /// Under which name, if it was asked for.
    Name(Option<String>),
    Failed(String),
    /// It was canceled, or is another worker's.
    Unwanted,
}

fn partial_of(folder: &Path) -> PathBuf {
    folder.with_file_name(format!("{}.partial", folder.file_name().unwrap_or_default().to_string_lossy()))
}

/// Memory that a merge on a server may take beside what serves.
const MEMORY_MAX: u64 = 1 << 30;

fn merge(spec: &MergeSpec, root: &Path, gauge: &Gauge, stop: &AtomicBool) -> Result<(), String> {
    // An earlier attempt that ended between the last byte and the word of it.
    let finished = root.join(&spec.output).join(CONFIG_COPY);
    if std::fs::read_to_string(&finished).is_ok_and(|text| text == spec.config) {
        return Ok(());
    }
    let folder = spec.folder(root).map_err(|problem| format!("output {}: {problem}", spec.output))?;
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
    }
    let job = spec.plan(root).map_err(|error| error.to_string())?;
    // Requests are answered meanwhile: a merge takes half of the cores.
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    let threads = job.plan.threads_within(threads, MEMORY_MAX).map_err(|error| error.to_string())?;
    let write =
        |resume| job.write(&folder, ExecuteOptions { threads, resume, stop }, FileOptions::default(), gauge);
    // What an earlier attempt left is gone on with, unless it is of another merge.
    match write(true) {
        Err(MergeError::Output { path, .. }) if path == partial_of(&folder) => write(false),
        outcome => outcome,
    }
    .map_err(|error| error.to_string())
}
