//! The metrics of a training: from its log where that is, else from what it told the store, which is an update a second at most.

use std::path::Path;

use super::spec::training_folder;
use crate::jobs::error::JobError;
use crate::store::{JobEventPage, Order, Store};
use crate::train::Curves;

/// Events of one query.
const PAGE: usize = 1000;

/// Events that are looked through: two days of them.
const EVENTS_MAX: usize = 200_000;

/// The metrics behind a step, at most so many values of each.
///
/// # Errors
/// Of the store and the disk.
pub async fn training_curves(
    store: &Store,
    data: &Path,
    job: &str,
    after_step: Option<u64>,
    points_max: usize,
) -> Result<Curves, JobError> {
    let folder = training_folder(data, job);
    let read = tokio::task::spawn_blocking(move || Curves::read(&folder, after_step, points_max)).await?;
    if let Some(curves) = read.map_err(|error| JobError::Files { message: error.to_string() })? {
        return Ok(curves);
    }
    let (mut curves, mut after) = (Curves::new(points_max), None);
    for _ in 0..EVENTS_MAX / PAGE {
        let page = JobEventPage { checkpoints: false, after, limit: PAGE, order: Order::Ascending };
        let page = store.job_events(job, page).await?;
        after = page.rows.last().map(|event| event.sequence);
        let metrics = page.rows.iter().filter(|event| event.kind == "metrics").map(|event| &event.data);
        let is_later = |step: Option<u64>| after_step.is_none_or(|after| step > Some(after));
        metrics.filter(|data| is_later(data["step"].as_u64())).for_each(|data| curves.add(data));
        if !page.has_more {
            break;
        }
    }
    Ok(curves)
}
