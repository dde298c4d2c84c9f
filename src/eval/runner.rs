//! A run in a directory, by one process: what is missing, generated, scored, written, until nothing is missing.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use tokio::sync::watch;

use super::directory::RunDirectory;
use super::error::EvalError;
use super::generator::Generator;
use super::item::{ItemEnd, Lacking, SampleSink};
use super::plan::{RunConfig, RunPlan, now};
use super::progress::{Plan, Progress};
use super::record::{RunFile, SampleRecord};
use super::report::Results;
use super::tally::Tally;

/// A finished run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunReport {
    pub run: RunFile,
    pub results: Results,
    /// Samples found finished when the run was opened.
    pub resumed: usize,
}

/// Run, or go on with, an evaluation. Setting `stop` to true ends it cleanly with `Interrupted`.
///
/// # Errors
/// See [`EvalError`]; whatever was finished before stays in the directory.
pub async fn run(
    config: RunConfig,
    generator: &dyn Generator,
    progress: &dyn Progress,
    stop: watch::Receiver<bool>,
) -> Result<RunReport, EvalError> {
    let plan = RunPlan::new(config)?;
    let mut file = plan.record(generator.identity());
    let mut directory = RunDirectory::open(&plan.config.out, &mut file)?;
    let (lacking, tally) = recover(&mut directory, &plan)?;
    let (resumed, total) = (tally.len(), plan.samples());
    if file.complete && resumed < total {
        // Samples of a finished run were taken away: what it said of them all does not hold.
        (file.finished, file.complete, file.results) = (None, false, None);
        directory.write_run(&file)?;
    }
    progress.planned(Plan { total, done: resumed });
    plan.reach().await?;
    let kept = Mutex::new(Kept { directory, tally });
    let sink = DirectorySink { kept, progress, stop: stop.clone(), total };
    generate(&plan, lacking, generator, &sink, stop).await?;
    let kept = sink.kept();
    let results = plan.results(&kept.tally);
    file.finished = file.finished.or(Some(now()));
    file.complete = true;
    file.results = Some(results.clone());
    kept.directory.write_run(&file)?;
    drop(kept);
    Ok(RunReport { run: file, results, resumed })
}

/// What each item lacks, and what is known of the samples that are there.
fn recover(directory: &mut RunDirectory, plan: &RunPlan) -> Result<(Vec<Lacking>, Tally), EvalError> {
    let positions = plan.positions();
    let mut lacking = vec![Lacking::all(plan.config.n); plan.len()];
    let mut tally = Tally::default();
    directory.recover(|record| {
        if let Some(at) = positions.get(&(record.language, record.problem.as_str())) {
            lacking[*at].keep(&record);
            tally.add(&record);
        }
    })?;
    Ok((lacking, tally))
}

async fn generate(
    plan: &RunPlan,
    lacking: Vec<Lacking>,
    generator: &dyn Generator,
    sink: &DirectorySink<'_>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), EvalError> {
    let pending = lacking.into_iter().enumerate().filter(|(_, lacking)| !lacking.samples.is_empty());
    let requests = pending.map(|(position, lacking)| async move {
        (position, plan.run_item(position, &lacking, generator, sink).await)
    });
    let mut running = futures::stream::iter(requests).buffer_unordered(plan.config.concurrency.max(1));
    let mut refusals = Refusals { plan, sink, open: Vec::new() };
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return Err(sink.interrupted()),
            done = running.next() => match done {
                None => break,
                Some((position, end)) => refusals.close(position, end)?,
            }
        }
    }
    if sink.kept().tally.is_empty() && !refusals.open.is_empty() {
        return Err(refusals.error());
    }
    refusals.write(plan.len())
}

/// The directory with what is known of its samples, and who watches.
struct DirectorySink<'a> {
    kept: Mutex<Kept>,
    progress: &'a dyn Progress,
    stop: watch::Receiver<bool>,
    total: usize,
}

struct Kept {
    directory: RunDirectory,
    tally: Tally,
}

impl SampleSink for DirectorySink<'_> {
    type Error = EvalError;

    fn tokens(&self, count: u64) {
        self.progress.tokens(count);
    }

    async fn keep(&self, record: SampleRecord) -> Result<(), EvalError> {
        if *self.stop.borrow() {
            return Err(self.interrupted());
        }
        self.write(&record)
    }
}

impl DirectorySink<'_> {
    fn write(&self, record: &SampleRecord) -> Result<(), EvalError> {
        let mut kept = self.kept();
        kept.directory.append(record)?;
        kept.tally.add(record);
        drop(kept);
        self.progress.sample(record);
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic elsewhere leaves the file as a kill would.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self) -> usize {
        self.kept().tally.len()
    }

    fn interrupted(&self) -> EvalError {
        let directory = self.kept().directory.path().to_owned();
        EvalError::Interrupted { directory, done: self.done(), total: self.total }
    }
}

/// Refusals without a success after which the set-up is taken to be at fault, on top of those that one long problem
/// brings in all its languages and that come while the requests of other slots are still being served.
pub const REFUSALS_MAX: usize = 10;

/// Items refused of which no later one succeeded: either these prompts are at fault or the whole set-up is, and nothing
/// is written before it is known which.
struct Refusals<'a> {
    plan: &'a RunPlan,
    sink: &'a DirectorySink<'a>,
    open: Vec<Refusal>,
}

struct Refusal {
    position: usize,
    message: String,
    left: Vec<u32>,
}

impl Refusals<'_> {
    fn close(&mut self, position: usize, end: ItemEnd<EvalError>) -> Result<(), EvalError> {
        let (done, total) = (self.sink.done(), self.sink.total);
        match end {
            // Requests start in order: the set-up was well after those before this one were refused.
            ItemEnd::Done => self.write(position),
            ItemEnd::Refused { message, left } => {
                self.open.push(Refusal { position, message, left });
                let allowed =
                    (REFUSALS_MAX + self.plan.languages.len()).saturating_add(self.plan.config.concurrency);
                if self.open.len() >= allowed { Err(self.error()) } else { Ok(()) }
            }
            ItemEnd::Unavailable { message } => Err(EvalError::Generator { message, done, total }),
            ItemEnd::Sink(error) => Err(error),
            ItemEnd::Scoring { message } => Err(EvalError::Scoring { message }),
        }
    }

    /// Write the refusals of the items before this one.
    fn write(&mut self, before: usize) -> Result<(), EvalError> {
        let (final_ones, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.open).into_iter().partition(|refusal| refusal.position < before);
        self.open = open;
        for Refusal { position, message, left } in final_ones {
            for record in self.plan.refused(position, &left, &message) {
                self.sink.write(&record)?;
            }
        }
        Ok(())
    }

    fn error(&self) -> EvalError {
        let message = self.open.first().map(|refusal| refusal.message.clone()).unwrap_or_default();
        EvalError::Refused { count: self.open.len(), message, done: self.sink.done(), total: self.sink.total }
    }
}

/// Resolves when the caller asks to stop; never, if it can no longer ask.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
