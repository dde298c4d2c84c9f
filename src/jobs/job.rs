//! A run as a worker holds it: planned, with its generator, and known to be the same measurement as its other workers'.

use std::sync::Arc;

use super::error::JobError;
use super::generators::Generators;
use super::spec::{JobSpec, json_of};
use crate::eval::{ChoiceGenerator, Generator, RunFile, RunPlan, ScorerOptions, Task};
use crate::store::{Lease, RunRow, Store};

pub(super) struct Job {
    pub run: String,
    pub plan: RunPlan,
    pub generator: Arc<dyn Generator>,
    /// What is on record of the run, written by its first worker.
    pub record: RunFile,
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
        let model = match generators.find(&run.model).await {
            None => return Ok(Preparation::NotHere),
            Some(Err(message)) => return Ok(Preparation::Impossible(message)),
            Some(Ok(model)) => model,
        };
        let JobSpec::EvalRun(spec) = match serde_json::from_value(run.spec.clone()) {
            Ok(spec) => spec,
            Err(error) => {
                return Ok(Preparation::Impossible(format!("the run's spec cannot be read: {error}")));
            }
        };
        let scorers = scorers.clone();
        let plan = match tokio::task::spawn_blocking(move || spec.plan(&scorers)).await? {
            Ok(plan) => plan,
            Err(error) => return Ok(Preparation::Impossible(error.to_string())),
        };
        if let Err(error) = plan.reach().await {
            return Ok(Preparation::Impossible(error.to_string()));
        }
        let generator: Arc<dyn Generator> = match plan.config.suite.task {
            Task::Loglikelihood => Arc::new(ChoiceGenerator::new(model, &plan.config.suite)),
            _ => Arc::new(model),
        };
        let ours = plan.record(generator.identity());
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
        Ok(Preparation::Ready(Arc::new(Self { run: run.id.clone(), plan, generator, record })))
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
