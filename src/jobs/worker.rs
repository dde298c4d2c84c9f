//! The worker: one loop owns execution. Claim, generate and score, write, until it is told to stop.
//!
//! Dropping the future of [`Worker::run`] is what a crash would be: all work ends where it is and its leases expire.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::error::JobError;
use super::generators::Generators;
use super::job::{Job, Preparation};
use super::sink::StoreSink;
use crate::eval::{ItemEnd, REFUSALS_MAX, ScorerOptions};
use crate::store::{Lease, RunStatus, Store, StoreError};

#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Names the worker in the store.
    pub name: String,
    /// Problems in flight at once.
    pub concurrency: usize,
    /// How long a task belongs to a worker that says nothing.
    pub lease: Duration,
    /// What judging finds on this machine.
    pub scorers: ScorerOptions,
    /// How often an idle worker looks for runs.
    pub poll: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            name: format!("{}-{}", std::process::id(), uuid::Uuid::new_v4().simple()),
            concurrency: 4,
            lease: Duration::from_secs(30),
            scorers: ScorerOptions::default(),
            poll: Duration::from_secs(1),
        }
    }
}

pub struct Worker {
    pub(super) store: Store,
    pub(super) options: WorkerOptions,
    generators: Generators,
    wake: Arc<Notify>,
}

/// Runs looked at in one round.
const RUNS_MAX: usize = 1000;

/// Workers that may end on one task before the task is taken to be what ends them.
const ATTEMPTS_MAX: i64 = 5;

/// A renewal also tells whether the run was paused or canceled, which nobody wants to wait for.
const RENEW_EVERY_MAX: Duration = Duration::from_secs(2);

/// Longest wait after an error of the store.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Runs this worker knows: `None` for those that are not its own.
type Jobs = HashMap<String, Option<Arc<Job>>>;

/// Why work on a task ended before the item did.
enum Halt {
    /// The worker is stopping, or the run is paused or at its end: the task goes back.
    Released,
    /// Another worker has the task, or nobody needs it any more.
    Lost,
}

impl Worker {
    /// `wake` ends an idle worker's wait early, when a run was made or resumed in this process.
    pub fn new(store: Store, generators: Generators, options: WorkerOptions, wake: Arc<Notify>) -> Self {
        Self { store, options, generators, wake }
    }

    /// Work until `stop` says true; tasks in progress are given back then.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        tracing::info!(worker = self.options.name, "working on evaluation runs");
        let (mut jobs, mut running) = (Jobs::new(), JoinSet::new());
        let mut backoff = Duration::ZERO;
        while !*stop.borrow() {
            let claimed = self.fill(&mut jobs, &mut running, &stop).await;
            backoff = self.wait_after(claimed.map(drop), backoff);
            let pause = self.options.poll.max(backoff);
            tokio::select! {
                () = stopped(&mut stop) => break,
                Some(done) = running.join_next() => {
                    let ended = done.map_err(JobError::from).and_then(|(run, outcome)| {
                        // Whatever stopped it, the next attempt looks at the run and the model anew.
                        if outcome.is_err() { jobs.remove(&run); }
                        outcome
                    });
                    backoff = self.wait_after(ended, backoff);
                    if !backoff.is_zero() { tokio::time::sleep(backoff).await; }
                }
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
            }
        }
        while running.join_next().await.is_some() {}
        tracing::info!(worker = self.options.name, "stopped working on evaluation runs");
    }

    /// Errors of the store are waited out, longer each time.
    fn wait_after(&self, outcome: Result<(), JobError>, backoff: Duration) -> Duration {
        match outcome {
            Ok(()) => Duration::ZERO,
            Err(error) => {
                tracing::error!(worker = self.options.name, %error, "a job could not go on");
                (backoff * 2).clamp(Duration::from_millis(500), BACKOFF_MAX)
            }
        }
    }

    /// Claim tasks until every slot has one or none is free.
    async fn fill(
        self: &Arc<Self>,
        jobs: &mut Jobs,
        running: &mut JoinSet<(String, Result<(), JobError>)>,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), JobError> {
        while running.len() < self.options.concurrency.max(1) {
            let Some((job, lease)) = self.claim(jobs).await? else { return Ok(()) };
            let (worker, stop) = (self.clone(), stop.clone());
            running.spawn(async move {
                let outcome = worker.work(&job, &lease, stop).await;
                (lease.run, outcome)
            });
        }
        Ok(())
    }

    /// The next task of the oldest run that has one for this worker.
    async fn claim(&self, jobs: &mut Jobs) -> Result<Option<(Arc<Job>, Lease)>, JobError> {
        let runs = self.store.active_runs(RUNS_MAX).await?;
        jobs.retain(|id, _| runs.iter().any(|run| run.id == *id));
        for run in &runs {
            // New, or resumed: it has to be started, and its model may be another one by now.
            if run.status == RunStatus::Queued {
                jobs.remove(&run.id);
            }
            if !jobs.contains_key(&run.id) {
                match Job::prepare(run, &self.store, &self.generators, &self.options.scorers).await {
                    Ok(Preparation::Ready(job)) => drop(jobs.insert(run.id.clone(), Some(job))),
                    Ok(Preparation::Different) => drop(jobs.insert(run.id.clone(), None)),
                    // Asked again next time; it costs a look into the registry.
                    Ok(Preparation::NotHere) => continue,
                    Ok(Preparation::Impossible(message)) => {
                        self.fail(&run.id, &message).await?;
                        continue;
                    }
                    // It was paused, canceled or deleted meanwhile.
                    Err(JobError::Store(StoreError::WrongStatus { .. } | StoreError::NotFound { .. })) => {
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            let Some(Some(job)) = jobs.get(&run.id) else { continue };
            match self.store.claim(&run.id, &self.options.name, self.options.lease).await? {
                Some(lease) if lease.attempts > ATTEMPTS_MAX => self.give_up(&lease).await?,
                Some(lease) => return Ok(Some((job.clone(), lease))),
                // The worker that did its last task may have died before it said so.
                None => self.settle(job).await?,
            }
        }
        Ok(None)
    }

    async fn give_up(&self, lease: &Lease) -> Result<(), JobError> {
        self.store.release(lease).await?;
        let message = format!(
            "{} workers ended while they worked on problem {} in {}: look into their logs, then resume the run",
            lease.attempts - 1,
            lease.problem,
            lease.language
        );
        self.fail(&lease.run, &message).await
    }

    /// Generate, score and write what a task lacks.
    async fn work(&self, job: &Job, lease: &Lease, mut stop: watch::Receiver<bool>) -> Result<(), JobError> {
        let (position, missing) = match job.missing(lease) {
            Ok(found) => found,
            Err(error) => return self.fail(&lease.run, &error.to_string()).await,
        };
        if missing.is_empty() {
            // Only the word was missing that it is done.
            return self.conclude(job, lease, ItemEnd::Done).await;
        }
        let sink = StoreSink::new(&self.store, lease, self.options.lease);
        let ended = tokio::select! {
            end = job.work(position, &missing, &sink) => Ok(end),
            halt = self.hold(lease) => Err(halt),
            () = stopped(&mut stop) => Err(Halt::Released),
        };
        // Before the task is given up, so that a run that is complete has all of it.
        self.count_prompts(&lease.run, sink.prompt_tokens()).await;
        match ended {
            Ok(end) => self.conclude(job, lease, end).await,
            Err(Halt::Released) => Ok(self.store.release(lease).await?),
            Err(Halt::Lost) => Ok(()),
        }
    }

    /// A run is not worse for a count that is not on file.
    async fn count_prompts(&self, run: &str, tokens: u64) {
        if tokens == 0 {
            return;
        }
        if let Err(error) = self.store.add_prompt_tokens(run, tokens).await {
            tracing::warn!(run, %error, "the tokens of a task's prompts are not on file");
        }
    }

    /// Renew the lease until there is a reason not to work on.
    async fn hold(&self, lease: &Lease) -> Halt {
        loop {
            tokio::time::sleep((self.options.lease / 3).min(RENEW_EVERY_MAX)).await;
            match self.store.renew(lease, self.options.lease).await {
                Ok(status) if status.is_active() => {}
                Ok(_) => return Halt::Released,
                Err(StoreError::LeaseLost { .. } | StoreError::NotFound { .. }) => return Halt::Lost,
                // Each sample renews it too; if nobody can reach the store, nobody takes the task.
                Err(error) => tracing::warn!(run = lease.run, %error, "a lease could not be renewed"),
            }
        }
    }

    async fn conclude(&self, job: &Job, lease: &Lease, end: ItemEnd<JobError>) -> Result<(), JobError> {
        let concluded = match end {
            ItemEnd::Done => self.done(job, lease).await,
            ItemEnd::Refused { message, .. } => self.refused(job, lease, &message).await,
            ItemEnd::Unavailable { message } => {
                self.store.release(lease).await?;
                // An engine that drains says so to the runs of a server that is going down, too: those go on elsewhere.
                self.fail(
                    &lease.run,
                    &format!("generation stopped: {message}; its samples are kept, and a resume goes on"),
                )
                .await
            }
            ItemEnd::Scoring { message } => {
                self.store.release(lease).await?;
                self.fail(&lease.run, &format!("scoring failed: {message}")).await
            }
            ItemEnd::Sink(error) => {
                // If the store is the reason this fails too, and the lease expires.
                let _ = self.store.release(lease).await;
                Err(error)
            }
        };
        match concluded {
            // Paused, canceled or deleted, or taken by another worker: nothing of it is ours any more.
            Err(JobError::Store(StoreError::LeaseLost { .. } | StoreError::NotFound { .. })) => Ok(()),
            concluded => concluded,
        }
    }

    async fn done(&self, job: &Job, lease: &Lease) -> Result<(), JobError> {
        self.store.finish_task(lease, true).await?;
        // Tasks are claimed in order: the set-up was well after those before this one were refused.
        self.write_refusals(job, lease.position).await?;
        self.settle(job).await
    }

    async fn refused(&self, job: &Job, lease: &Lease, message: &str) -> Result<(), JobError> {
        let count = self.store.refuse_task(lease, message).await?;
        let allowed = REFUSALS_MAX + job.plan.languages.len() + 2 * self.options.concurrency;
        if count >= allowed as i64 {
            let message = format!(
                "{count} requests were refused and none served meanwhile, the last with: {message}; nothing is \
                 written of them, and a resumed run asks again"
            );
            return self.fail(&lease.run, &message).await;
        }
        self.settle(job).await
    }

    /// Stop a run for a reason that waiting does not mend.
    pub(super) async fn fail(&self, run: &str, message: &str) -> Result<(), JobError> {
        match self.store.fail_run(run, message).await {
            Ok(failed) => {
                if failed {
                    tracing::error!(run, message, "an evaluation run failed");
                }
                Ok(())
            }
            Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a run is still worked on.
    pub(super) async fn is_active(&self, run: &str) -> Result<bool, JobError> {
        match self.store.run(run).await {
            Ok(row) => Ok(row.status == RunStatus::InProgress),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Resolves when the worker is told to stop; never, if nobody can tell it any more.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
