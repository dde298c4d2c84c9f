//! The scores of runs in lists.

use super::error::JobError;
use crate::eval::{Results, RunFile, run_scores};
use crate::protocol::eval_tables::RunScores;
use crate::store::{RunRow, RunStatus, Store};

/// What a list shows of a run's results; `None` before it is complete.
///
/// # Errors
/// `Damaged`; of the store.
pub async fn listed_scores(store: &Store, run: &RunRow) -> Result<Option<RunScores>, JobError> {
    let damaged =
        |error: serde_json::Error| JobError::Damaged { run: run.id.clone(), message: error.to_string() };
    if let Some(scores) = &run.scores {
        return Ok(Some(serde_json::from_value(scores.clone()).map_err(damaged)?));
    }
    if run.status != RunStatus::Completed {
        return Ok(None);
    }
    // An older build completed it: the long columns, which lists leave out, have them.
    let whole = store.run(&run.id).await?;
    let (Some(record), Some(results)) = (whole.record, whole.results) else { return Ok(None) };
    let record: RunFile = serde_json::from_value(record).map_err(damaged)?;
    let results: Results = serde_json::from_value(results).map_err(damaged)?;
    Ok(Some(run_scores(&record, &results)))
}
