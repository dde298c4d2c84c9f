//! A run as a worker holds it: planned, with its generator or the run whose completions it judges again, and known to be the same
//! measurement as its other workers'.

use std::sync::Arc;

use super::error::JobError;
use super::generators::Generators;
use super::measured::run_file;
use super::sink::{StoreSink, record_of};
use super::spec::{JobSpec, json_of};
use crate::eval::{
    ChoiceGenerator, Generator, ItemEnd, Lacking, Model, RunFile, RunPlan, SampleRecord, ScorerOptions, Task,
};
use crate::store::{ItemKey, ItemPage, Lease, RunRow, Store, StoreError};

pub(super) struct Job {
    pub run: String,
    pub plan: RunPlan,
    pub completions: Completions,
    /// What is on record of the run, written by its first worker.
    pub record: RunFile,
}

/// Where the completions of a run come from.
pub(super) enum Completions {
    Generator(Arc<dyn Generator>),
    /// They are those of a run, judged again.
    Run(String),
}

/// The same while the run is being prepared.
enum Origin {
    Model(Arc<dyn Model>),
    Run(String, Box<RunFile>),
}

/// What became of the attempt to take part in a run.
pub(super) enum Preparation {
    Ready(Arc<Job>),
    /// The model is not here; it may come.
    NotHere,
    /// Another worker's: the measurement would not be the same.
    Different,
    /// It cannot run anywhere as it is; the run is failed with the reason.
    Impossible(String),
}

impl Job {
    /// # Errors
    /// Of the store alone.
    pub async fn prepare(
        run: &RunRow,
        store: &Store,
        generators: &Generators,
        scorers: &ScorerOptions,
    ) -> Result<Preparation, JobError> {
        let JobSpec::EvalRun(spec) = match serde_json::from_value(run.spec.clone()) {
            Ok(spec) => spec,
            Err(error) => {
                return Ok(Preparation::Impossible(format!("the run's spec cannot be read: {error}")));
            }
        };
        // The model is not asked where completions are there.
        let origin = match &spec.completions_of {
            Some(source) => match judged_before(store, source).await? {
                Ok(file) => Origin::Run(source.clone(), Box::new(file)),
                Err(message) => return Ok(Preparation::Impossible(message)),
            },
            None => match generators.find(&run.model).await {
                None => return Ok(Preparation::NotHere),
                Some(Err(message)) => return Ok(Preparation::Impossible(message)),
                Some(Ok(model)) => Origin::Model(model),
            },
        };
        let scorers = scorers.clone();
        let plan = match tokio::task::spawn_blocking(move || spec.plan(&scorers)).await? {
            Ok(plan) => plan,
            Err(error) => return Ok(Preparation::Impossible(error.to_string())),
        };
        if let Err(error) = plan.reach().await {
            return Ok(Preparation::Impossible(error.to_string()));
        }
        let (completions, ours) = match origin {
            Origin::Model(model) => {
                let generator: Arc<dyn Generator> = match plan.config.suite.task {
                    Task::Loglikelihood => Arc::new(ChoiceGenerator::new(model, &plan.config.suite)),
                    _ => Arc::new(model),
                };
                let ours = plan.record(generator.identity());
                (Completions::Generator(generator), ours)
            }
            Origin::Run(source, file) => {
                let ours = plan.record(file.generator);
                if ours.suite.sha256 != file.suite.sha256 {
                    let name = &ours.suite.name;
                    let message = format!("the suite {name} is not what the run `{source}` was of any more");
                    return Ok(Preparation::Impossible(message));
                }
                (Completions::Run(source), ours)
            }
        };
        let record = store.start_run(&run.id, &json_of(&ours)?).await?;
        let record: RunFile = serde_json::from_value(record)
            .map_err(|error| JobError::Damaged { run: run.id.clone(), message: error.to_string() })?;
        if let Some((field, recorded, here)) = record.difference(&ours) {
            tracing::warn!(
                run = run.id,
                "left to other workers: its {field} is {recorded}, and would be {here} here"
            );
            return Ok(Preparation::Different);
        }
        Ok(Preparation::Ready(Arc::new(Self { run: run.id.clone(), plan, completions, record })))
    }

    /// Generate and judge what a task lacks, or judge again what another run has of it.
    pub async fn work(&self, position: usize, missing: &[u32], sink: &StoreSink<'_>) -> ItemEnd<JobError> {
        let source = match &self.completions {
            Completions::Generator(generator) => {
                return match self.lacking(sink.store, position, missing).await {
                    Ok(lacking) => self.plan.run_item(position, &lacking, &**generator, sink).await,
                    Err(error) => ItemEnd::Sink(error),
                };
            }
            Completions::Run(source) => source,
        };
        match samples_of(sink.store, source, (position as i64, missing), true).await {
            Ok(samples) if samples.len() == missing.len() => {
                self.plan.judge_item(position, samples, sink).await
            }
            Ok(_) => ItemEnd::Unavailable { message: format!("the run `{source}` lacks samples by now") },
            Err(error) => ItemEnd::Sink(error),
        }
    }

    /// The samples that a task lacks, and how the others were drawn.
    async fn lacking(&self, store: &Store, position: usize, missing: &[u32]) -> Result<Lacking, JobError> {
        let mut lacking = Lacking::all(self.plan.config.n);
        let done: Vec<u32> =
            lacking.samples.iter().copied().filter(|sample| !missing.contains(sample)).collect();
        if !done.is_empty() {
            let kept = samples_of(store, &self.run, (position as i64, &done), false).await?;
            for record in &kept {
                lacking.keep(record);
            }
        }
        Ok(lacking)
    }

    /// The task's place in the plan, and the samples it lacks.
    ///
    /// # Errors
    /// `Damaged`, if the plan has something else there.
    pub fn missing(&self, lease: &Lease) -> Result<(usize, Vec<u32>), JobError> {
        let position = usize::try_from(lease.position).unwrap_or(usize::MAX);
        let same = self
            .plan
            .item(position)
            .is_some_and(|(language, problem)| language.code() == lease.language && problem == lease.problem);
        if !same {
            let message = format!("its task {position} is not that of the suite");
            return Err(JobError::Damaged { run: self.run.clone(), message });
        }
        let missing = (0..self.plan.config.n).filter(|sample| !lease.done.contains(sample)).collect();
        Ok((position, missing))
    }
}

/// What a run that is judged again was; an error says why it cannot be.
async fn judged_before(store: &Store, source: &str) -> Result<Result<RunFile, String>, JobError> {
    match store.run(source).await {
        Ok(row) => Ok(run_file(&row).map_err(|error| error.to_string())),
        Err(StoreError::NotFound { .. }) => {
            Ok(Err(format!("the run `{source}`, whose completions are judged, is not there any more")))
        }
        Err(error) => Err(error.into()),
    }
}

/// These samples of the task at a position of a run.
async fn samples_of(
    store: &Store,
    run: &str,
    (position, numbers): (i64, &[u32]),
    completions: bool,
) -> Result<Vec<SampleRecord>, JobError> {
    let (mut found, mut after) = (Vec::new(), ItemKey { position: position - 1, sample: u32::MAX });
    loop {
        let page =
            ItemPage { after: Some(after), limit: SAMPLES_AT_ONCE, completions, ..ItemPage::default() };
        let page = store.samples(run, &page).await?;
        let of_task = page.rows.iter().take_while(|row| row.key.position == position).count();
        let is_last = !page.has_more || of_task < page.rows.len();
        for row in page.rows.into_iter().take(of_task) {
            after = row.key;
            if numbers.contains(&row.key.sample) {
                found.push(record_of(run, row)?);
            }
        }
        if is_last {
            return Ok(found);
        }
    }
}

/// With their completions.
const SAMPLES_AT_ONCE: usize = 100;
