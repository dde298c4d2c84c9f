//! A run judged again from its completions, as a run of its own: planned as the old one was, with another profile.

use super::error::JobError;
use super::measured::run_file;
use super::spec::{EvalRunSpec, JobSpec};
use crate::eval::ScorerOptions;
use crate::store::{RunRow, RunStatus};

/// What a run is that judges a complete one's completions by this profile, or by its own.
///
/// # Errors
/// `NotComplete`; `OtherSuite` where the suite is not what the run was of any more; `Eval` for what cannot be judged; `Damaged`.
pub async fn rescoring(
    run: &RunRow,
    profile: Option<String>,
    scorers: &ScorerOptions,
) -> Result<EvalRunSpec, JobError> {
    if run.status != RunStatus::Completed {
        return Err(JobError::NotComplete { run: run.id.clone(), status: run.status });
    }
    let recorded = run_file(run)?.suite;
    let JobSpec::EvalRun(spec) = serde_json::from_value(run.spec.clone())
        .map_err(|error| JobError::Damaged { run: run.id.clone(), message: error.to_string() })?;
    let spec =
        EvalRunSpec { profile: profile.or(spec.profile), completions_of: Some(run.id.clone()), ..spec };
    let (planned, scorers) = (spec.clone(), scorers.clone());
    let plan = tokio::task::spawn_blocking(move || planned.plan(&scorers)).await??;
    if plan.config.suite.sha256 != recorded.sha256 {
        return Err(JobError::OtherSuite { run: run.id.clone(), suite: recorded.name });
    }
    Ok(spec)
}
