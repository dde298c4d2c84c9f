//! The current scores of runs that are still going, cheap enough to be asked for by every poll of a dashboard.
//!
//! Samples are read once each, as they come. The intervals cost more than a sample, so they are computed again when
//! there are new samples and a while has passed that grows with what they cost; until then the last ones stand, and
//! say over how many samples they are.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::JobError;
use super::settle::read_more;
use crate::eval::{Results, RunFile, Tally};
use crate::store::{RunRow, Store};

/// Scores at a moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Number of the last sample they hold.
    pub sequence: i64,
    pub samples: usize,
    pub results: Arc<Results>,
}

/// The scores of the runs that were asked for last.
pub struct Scoreboard {
    store: Store,
    /// Most recently used last.
    entries: Mutex<Vec<(String, Arc<Entry>)>>,
}

/// Runs whose samples are kept in mind.
const ENTRIES_MAX: usize = 32;

/// Scores are not computed more often than this, nor for more than a part in so many of the time.
const AGE_MIN: Duration = Duration::from_secs(1);
const TIME_SHARE: u32 = 20;

#[derive(Default)]
struct Entry {
    /// Held while samples are read and scores computed: one caller does it for all.
    tally: tokio::sync::Mutex<Counted>,
    latest: Mutex<Option<Computed>>,
}

#[derive(Default)]
struct Counted {
    tally: Tally,
    sequence: i64,
}

#[derive(Clone)]
struct Computed {
    snapshot: Snapshot,
    at: Instant,
    took: Duration,
}

impl Scoreboard {
    pub fn new(store: Store) -> Self {
        Self { store, entries: Mutex::default() }
    }

    /// The scores so far; `None` before the first sample.
    ///
    /// # Errors
    /// Of the store, or of records that cannot be read.
    pub async fn current(&self, run: &RunRow) -> Result<Option<Snapshot>, JobError> {
        let Some(record) = &run.record else { return Ok(None) };
        if run.samples_done == 0 {
            return Ok(None);
        }
        let damaged =
            |error: serde_json::Error| JobError::Damaged { run: run.id.clone(), message: error.to_string() };
        let entry = self.entry(&run.id);
        if let Some(fresh) = entry.latest().filter(|latest| latest.holds(run)) {
            return Ok(Some(fresh.snapshot));
        }
        if let Some(results) = &run.results {
            let results = Arc::new(serde_json::from_value(results.clone()).map_err(damaged)?);
            let samples = usize::try_from(run.samples_done).unwrap_or_default();
            let snapshot = Snapshot { sequence: run.sequence, samples, results };
            entry.set(&Computed { snapshot: snapshot.clone(), at: Instant::now(), took: Duration::ZERO });
            return Ok(Some(snapshot));
        }
        let mut counted = match (entry.latest(), entry.tally.try_lock()) {
            (_, Ok(counted)) => counted,
            // Somebody computes newer ones: these will do until then.
            (Some(latest), Err(_)) => return Ok(Some(latest.snapshot)),
            (None, Err(_)) => entry.tally.lock().await,
        };
        if let Some(fresh) = entry.latest().filter(|latest| latest.holds(run)) {
            return Ok(Some(fresh.snapshot));
        }
        let file: RunFile = serde_json::from_value(record.clone()).map_err(damaged)?;
        let computed = self.compute(&run.id, file, &mut counted).await?;
        entry.set(&computed);
        Ok(Some(computed.snapshot))
    }

    async fn compute(&self, run: &str, file: RunFile, counted: &mut Counted) -> Result<Computed, JobError> {
        while let Some(last) = read_more(&self.store, run, counted.sequence, &mut counted.tally).await? {
            counted.sequence = last;
        }
        let (started, sequence, samples) = (Instant::now(), counted.sequence, counted.tally.len());
        let tally = std::mem::take(&mut counted.tally);
        let (tally, results) = tokio::task::spawn_blocking(move || {
            let results = tally.results_of(&file);
            (tally, results)
        })
        .await
        .inspect_err(|_| counted.sequence = 0)?;
        counted.tally = tally;
        let snapshot = Snapshot { sequence, samples, results: Arc::new(results) };
        Ok(Computed { snapshot, at: Instant::now(), took: started.elapsed() })
    }

    fn entry(&self, run: &str) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let known = entries.iter().position(|(id, _)| id == run).map(|at| entries.remove(at));
        let (id, entry) = known.unwrap_or_else(|| (run.to_owned(), Arc::default()));
        entries.push((id, entry.clone()));
        if entries.len() > ENTRIES_MAX {
            entries.remove(0);
        }
        entry
    }
}

impl Entry {
    fn set(&self, computed: &Computed) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(computed.clone());
    }

    fn latest(&self) -> Option<Computed> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Computed {
    /// Whether they need no second computing.
    fn holds(&self, run: &RunRow) -> bool {
        let age_max = AGE_MIN.max(self.took * TIME_SHARE);
        // What a run ended with stands beside it, and is waited for by nobody.
        self.snapshot.sequence >= run.sequence || (run.results.is_none() && self.at.elapsed() < age_max)
    }
}
