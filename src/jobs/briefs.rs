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

/// Tasks whose briefs are read by one query.
const POSITIONS: usize = 8192;

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
        let end = tasks.last().map_or(0, |task| task.position + 1);
        let mut texts = Vec::new();
        for start in (0..end).step_by(POSITIONS) {
            texts.extend(store.sample_briefs(&run.id, start..start + POSITIONS as i64).await?);
        }
        let parsed = tokio::task::spawn_blocking(move || parsed(&texts)).await?;
        let samples =
            parsed.map_err(|error| JobError::Damaged { run: run.id.clone(), message: error.to_string() })?;
        if (samples.len() as i64) < run.samples_done {
            return Ok(Self { tasks, samples: from_records(store, &run.id).await? });
        }
        Ok(Self { tasks, samples })
    }
}

/// In the order of their keys.
fn parsed(texts: &[String]) -> Result<Vec<(ItemKey, SampleBrief)>, serde_json::Error> {
    let mut samples = Vec::new();
    for text in texts {
        let briefs: Vec<(i64, u32, SampleBrief)> = serde_json::from_str(&format!("[{text}]"))?;
        let keyed = briefs.into_iter().map(|(position, sample, brief)| (ItemKey { position, sample }, brief));
        samples.extend(keyed);
    }
    samples.sort_unstable_by_key(|(key, _)| *key);
    Ok(samples)
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
