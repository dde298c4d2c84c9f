//! What a job is, as the store keeps it: enough to plan the same run in any process.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::JobError;
use crate::eval::{EvalError, OpenOptions, RunConfig, RunPlan, Sampling, ScorerOptions, Suite};
use crate::language::Language;
use crate::score::Profile;
use crate::store::{NewRun, NewTask, RunRow, Store};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobSpec {
    EvalRun(EvalRunSpec),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalRunSpec {
    /// Name of a suite.
    pub suite: String,
    /// A shared set of prompts in place of the suite's.
    #[serde(default)]
    pub prompts: Option<String>,
    /// Variants of its prompts to apply.
    #[serde(default)]
    pub variants: Vec<String>,
    /// `None`: all of the suite's.
    pub languages: Option<Vec<Language>>,
    pub limit: Option<usize>,
    pub shots: usize,
    pub n: u32,
    pub sampling: Sampling,
    #[serde(default)]
    pub thinking_prefix: bool,
    /// How answers are found and compared; `None`: the default profile.
    #[serde(default)]
    pub profile: Option<String>,
    pub seed: u64,
    /// The run whose completions are judged again, where none are generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completions_of: Option<String>,
}

impl EvalRunSpec {
    /// The run's plan, judged with this process's scorers. Reads the suite: not for an async thread.
    ///
    /// # Errors
    /// What is wrong with the suite or the settings.
    pub fn plan(&self, scorers: &ScorerOptions) -> Result<RunPlan, EvalError> {
        let options = OpenOptions {
            languages: self.languages.clone(),
            prompts: self.prompts.clone(),
            variants: self.variants.clone(),
            examples: self.shots > 0,
            ..OpenOptions::default()
        };
        RunPlan::new(RunConfig {
            suite: Suite::open_with(&self.suite, &options)?,
            languages: self.languages.clone(),
            limit: self.limit,
            shots: self.shots,
            n: self.n,
            sampling: self.sampling.clone(),
            thinking_prefix: self.thinking_prefix,
            seed: self.seed,
            // Both are the worker's: it has tasks in place of a directory.
            concurrency: 1,
            out: PathBuf::new(),
            scorers: ScorerOptions { profile: self.profile()?, ..scorers.clone() },
        })
    }
}

impl EvalRunSpec {
    fn profile(&self) -> Result<Profile, EvalError> {
        let Some(name) = &self.profile else { return Ok(Profile::Default) };
        Profile::named(name).ok_or_else(|| EvalError::InvalidSetting {
            field: "profile",
            message: format!("{name:?} is none; known: {}", Profile::NAMES.join(", ")),
        })
    }
}

/// A run to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    pub eval: String,
    pub name: String,
    /// Workers that have it may work on the run.
    pub model: String,
    pub metadata: Value,
    /// By what its maker's key is known.
    pub owner: Option<String>,
    pub spec: EvalRunSpec,
}

/// Plan a run and put it into the store, for workers to find.
///
/// # Errors
/// `Eval` for what cannot be run; `Store`.
pub async fn submit(
    store: &Store,
    submission: Submission,
    scorers: &ScorerOptions,
) -> Result<RunRow, JobError> {
    let Submission { eval, name, model, metadata, owner, spec } = submission;
    let (planned, scorers) = (spec.clone(), scorers.clone());
    let tasks = tokio::task::spawn_blocking(move || {
        let plan = planned.plan(&scorers)?;
        let task = |(language, problem): (Language, &str)| NewTask {
            language: language.code().to_owned(),
            problem: problem.to_owned(),
        };
        Ok::<_, EvalError>((0..plan.len()).filter_map(|at| plan.item(at)).map(task).collect())
    })
    .await??;
    let samples_per_task = spec.n;
    let spec = json_of(&JobSpec::EvalRun(spec))?;
    let new = NewRun { eval, name, model, spec, metadata, owner, tasks, samples_per_task };
    Ok(store.create_run(new).await?)
}

/// One of our own types as JSON.
pub(super) fn json_of<T: Serialize>(value: &T) -> Result<Value, JobError> {
    serde_json::to_value(value).map_err(|error| JobError::Internal { message: error.to_string() })
}
