//! All samples of a run in brief, for tables and comparisons: read a piece at a time, texts left where they are.

use super::error::JobError;
use super::sink::record_of;
use crate::eval::SampleBrief;
use crate::store::{ItemKey, ItemPage, RunRow, Store, TaskRow};

/// The problems of a run and what became of its samples.
#[derive(Debug, Clone, Default)]
pub struct RunBriefs {
    /// By position.
    pub tasks: Vec<TaskRow>,
    /// By position and number.
    pub samples: Vec<(ItemKey, SampleBrief)>,
}

/// Samples that are read for one answer; those of a larger run are paged.
pub const BRIEFS_MAX: i64 = 500_000;

/// Rows of one query.
const PIECE: usize = 5000;

impl RunBriefs {
    /// Of a run as it is now, which may be newer than its row.
    ///
    /// # Errors
    /// `TooManySamples`; `Damaged`; of the store.
    pub async fn read(store: &Store, run: &RunRow) -> Result<Self, JobError> {
        if run.samples_total > BRIEFS_MAX {
            let samples = run.samples_total;
            return Err(JobError::TooManySamples { run: run.id.clone(), samples, most: BRIEFS_MAX });
        }
        let mut tasks: Vec<TaskRow> = Vec::new();
        loop {
            let more = store.tasks(&run.id, tasks.last().map(|task| task.position), PIECE).await?;
            let has_more = more.len() == PIECE;
            tasks.extend(more);
            if !has_more {
                break;
            }
        }
        let mut rows = Vec::new();
        loop {
            let more = store.sample_briefs(&run.id, rows.last().map(|(key, _)| *key), PIECE).await?;
            let has_more = more.len() == PIECE;
            rows.extend(more.into_iter().map(|row| (row.key, row.brief)));
            if !has_more {
                break;
            }
        }
        if (rows.len() as i64) < run.samples_done {
            return Ok(Self { tasks, samples: from_records(store, &run.id).await? });
        }
        let id = run.id.clone();
        let samples = tokio::task::spawn_blocking(move || {
            let read = |(key, brief): (ItemKey, String)| match serde_json::from_str(&brief) {
                Ok(brief) => Ok((key, brief)),
                Err(error) => Err(JobError::Damaged { run: id.clone(), message: error.to_string() }),
            };
            rows.into_iter().map(read).collect::<Result<_, _>>()
        });
        Ok(Self { tasks, samples: samples.await?? })
    }
}

/// Of a run with samples that an older build wrote, which have no briefs.
async fn from_records(store: &Store, run: &str) -> Result<Vec<(ItemKey, SampleBrief)>, JobError> {
    let mut samples: Vec<(ItemKey, SampleBrief)> = Vec::new();
    loop {
        let after = samples.last().map(|(key, _)| *key);
        let page = store.samples(run, &ItemPage { after, limit: PIECE, ..ItemPage::default() }).await?;
        for row in page.rows {
            let key = row.key;
            samples.push((key, SampleBrief::from(&record_of(run, row)?)));
        }
        if !page.has_more {
            return Ok(samples);
        }
    }
}
