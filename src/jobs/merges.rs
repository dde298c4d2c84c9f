//! Merges as jobs: one at a time in a process, resumed after a crash, canceled at any moment, served when they are done.

use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::error::JobError;
use super::spec::json_of;
use super::worker::stopped;
use crate::merge::{
    ExecuteOptions, FileOptions, MergeError, MergeJob, MergeProgress, MergedAmount, PlanOptions,
    PlannedTensor,
};
use crate::registry::{LoadSpec, Registry};
use crate::store::{JobRow, Store};

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
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        let output = Path::new(&self.output);
        if self.output.is_empty() || !output.components().all(plain) || self.output.len() > 200 {
            return Err("is no name of a folder below the models directory".to_owned());
        }
        // A link below the directory may lead out of it.
        let mut folder = root.canonicalize().map_err(|error| format!("the models directory: {error}"))?;
        for part in output.components() {
            folder.push(part);
            if folder.is_symlink() {
                return Err("leads over a link".to_owned());
            }
        }
        match std::fs::read_dir(&folder).map(|mut entries| entries.next().is_some()) {
            Ok(true) => Err("exists already: name another output".to_owned()),
            Ok(false) | Err(_) => Ok(folder),
        }
    }
}

/// A model below the models directory: a request may not read the rest of the disk, nor learn what is there.
fn locate(path: &str, revision: Option<&str>, root: &Path) -> Result<PathBuf, String> {
    if revision.is_some() {
        return Err("revisions are not pulled by the server: leave it out".to_owned());
    }
    let refused = || format!("there is no such model below the models directory ({})", root.display());
    let root = root.canonicalize().map_err(|_| refused())?;
    let path = root.join(path).canonicalize().map_err(|_| refused())?;
    if path.starts_with(&root) && path != root { Ok(path) } else { Err(refused()) }
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

/// Why a merge's thread was told to stop.
enum Ended {
    /// By itself.
    Done(Result<(), String>),
    /// It was canceled, or is another worker's.
    Unwanted,
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
        if job.attempts > ATTEMPTS_MAX {
            let message = "the processes that worked on it ended: look into their logs";
            return Ok(self.store.finish_job(job, &gauge.json(), Some(message)).await?);
        }
        let spec: MergeSpec = match serde_json::from_value(job.spec.clone()) {
            Ok(spec) => spec,
            Err(error) => {
                let message = format!("the merge's spec cannot be read: {error}");
                return Ok(self.store.finish_job(job, &gauge.json(), Some(&message)).await?);
            }
        };
        let halt = Arc::new(AtomicBool::new(false));
        let ended = self.watch(job, &spec, &gauge, &halt, stop).await?;
        match ended {
            Ended::Stopping => Ok(self.store.release_job(job).await?),
            Ended::Unwanted => {
                // Whoever cancels a merge does not want its half.
                if let Ok(folder) = spec.folder(self.registry.models_dir()) {
                    let _ = tokio::fs::remove_dir_all(partial_of(&folder)).await;
                }
                Ok(())
            }
            Ended::Done(Ok(())) => {
                let mut progress = gauge.json();
                let served = if spec.serve { self.serve(&spec).await.map(Some) } else { Ok(None) };
                match served {
                    Ok(model) => {
                        progress["model"] = json!(model);
                        Ok(self.store.finish_job(job, &progress, None).await?)
                    }
                    Err(error) => {
                        let message =
                            format!("the merge is in {}, but cannot be served: {error}", spec.output);
                        Ok(self.store.finish_job(job, &progress, Some(&message)).await?)
                    }
                }
            }
            Ended::Done(Err(message)) => {
                Ok(self.store.finish_job(job, &gauge.json(), Some(&message)).await?)
            }
        }
    }

    /// Run the merge on a thread of its own, and tell the store how it goes.
    async fn watch(
        &self,
        job: &JobRow,
        spec: &MergeSpec,
        gauge: &Arc<Gauge>,
        halt: &Arc<AtomicBool>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Ended, JobError> {
        let (root, spec) = (self.registry.models_dir().to_owned(), spec.clone());
        let (told, asked) = (gauge.clone(), halt.clone());
        let mut merging = tokio::task::spawn_blocking(move || merge(&spec, &root, &told, &asked));
        let mut why = None;
        loop {
            tokio::select! {
                done = &mut merging => {
                    let done = done.map_err(JobError::from)?;
                    return Ok(why.unwrap_or(Ended::Done(done)));
                }
                () = tokio::time::sleep(RENEW_EVERY), if why.is_none() => {
                    if self.store.renew_job(job, &gauge.json(), self.lease).await?.is_none() {
                        why = Some(Ended::Unwanted);
                    }
                }
                () = stopped(stop), if why.is_none() => why = Some(Ended::Stopping),
            }
            if why.is_some() {
                halt.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Serve the output under its name.
    async fn serve(&self, spec: &MergeSpec) -> Result<String, String> {
        let (registry, name) = (self.registry.clone(), spec.output.clone());
        let path = registry.models_dir().join(&name);
        let load = LoadSpec { name: name.clone(), path, options: registry.defaults().clone() };
        let loaded = tokio::task::spawn_blocking(move || registry.load(load)).await;
        loaded.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        Ok(name)
    }
}

fn partial_of(folder: &Path) -> PathBuf {
    folder.with_file_name(format!("{}.partial", folder.file_name().unwrap_or_default().to_string_lossy()))
}

fn merge(spec: &MergeSpec, root: &Path, gauge: &Gauge, stop: &AtomicBool) -> Result<(), String> {
    let folder = spec.folder(root).map_err(|problem| format!("output {}: {problem}", spec.output))?;
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
    }
    let job = spec.plan(root).map_err(|error| error.to_string())?;
    // Requests are answered meanwhile: a merge takes half of the cores.
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    let write =
        |resume| job.write(&folder, ExecuteOptions { threads, resume, stop }, FileOptions::default(), gauge);
    // What an earlier attempt left is gone on with, unless it is of another merge.
    match write(true) {
        Err(MergeError::Output { path, .. }) if path == partial_of(&folder) => write(false),
        outcome => outcome,
    }
    .map_err(|error| error.to_string())
}
