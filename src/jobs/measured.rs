//! What a run of the store was and what became of its problems, as comparisons and exports want it.

use std::collections::HashMap;

use super::briefs::RunBriefs;
use super::error::JobError;
use crate::eval::{ProblemTallies, RunFile};
use crate::language::Language;
use crate::store::{RunRow, Store};

pub struct MeasuredRun {
    /// What the first worker wrote down.
    pub file: RunFile,
    pub tallies: ProblemTallies,
    /// Where the items are, for the ids of output items.
    pub positions: HashMap<(Language, String), i64>,
}

impl MeasuredRun {
    /// # Errors
    /// `NothingYet` for a run that no worker has begun; `TooManySamples`; `Damaged`; of the store.
    pub async fn read(store: &Store, run: &RunRow) -> Result<Self, JobError> {
        let file = run_file(run)?;
        let briefs = RunBriefs::read(store, run).await?;
        let damaged = |message: String| JobError::Damaged { run: run.id.clone(), message };
        let mut positions = HashMap::with_capacity(briefs.tasks.len());
        let mut keys = HashMap::with_capacity(briefs.tasks.len());
        for task in briefs.tasks {
            let language: Language = task.language.parse().map_err(|_| {
                damaged(format!("the language of task {} is {}", task.position, task.language))
            })?;
            keys.insert(task.position, (language, task.problem.clone()));
            positions.insert((language, task.problem), task.position);
        }
        let mut tallies = ProblemTallies::new();
        for (key, brief) in briefs.samples {
            let problem = keys.get(&key.position);
            let problem = problem.ok_or_else(|| damaged(format!("there is no task {}", key.position)))?;
            tallies.entry(problem.clone()).or_default().add(brief.outcome, brief.following);
        }
        Ok(Self { file, tallies, positions })
    }
}

/// A run's run.json, with its results once it is complete.
///
/// # Errors
/// `NothingYet` for a run that no worker has begun; `Damaged`.
pub fn run_file(run: &RunRow) -> Result<RunFile, JobError> {
    let record = run.record.clone().ok_or_else(|| JobError::NothingYet { run: run.id.clone() })?;
    serde_json::from_value(record)
        .map_err(|error| JobError::Damaged { run: run.id.clone(), message: error.to_string() })
}
