//! What happened to a run, in order and without gaps: samples and changes of state, numbered by one sequence, so that a
//! reader who knows the last number it saw misses nothing.

use serde_json::Value;
use sqlx::Row;

use super::error::StoreError;
use super::evals::json;
use super::samples::SampleRow;
use super::{Store, Writing};

#[derive(Debug, Clone, PartialEq)]
pub struct Happening {
    pub sequence: i64,
    pub created_ms: i64,
    pub kind: HappeningKind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum HappeningKind {
    Sample(Box<SampleRow>),
    /// `{"status", "error"}`
    Status(Value),
}

impl Store {
    /// What happened after a number of the run's sequence, at most `limit` of each kind.
    pub async fn happenings(
        &self,
        run: &str,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Happening>, StoreError> {
        let limit = limit.max(1);
        // Samples last: they may be newer than the changes read, and what is beyond either list is cut off below.
        let changes = self.changes(run, after, limit).await?;
        let samples = self.samples_since(run, after, limit).await?;
        let mut all: Vec<Happening> = samples
            .into_iter()
            .map(|row| Happening {
                sequence: row.sequence,
                created_ms: row.created_ms,
                kind: HappeningKind::Sample(Box::new(row)),
            })
            .chain(changes)
            .collect();
        all.sort_by_key(|happening| happening.sequence);
        // The sequence has no gaps: the first one is where a list was cut, or where one was not yet read.
        let whole =
            all.iter().zip(after + 1..).take_while(|(happening, next)| happening.sequence == *next).count();
        all.truncate(whole);
        Ok(all)
    }

    async fn changes(&self, run: &str, after: i64, limit: usize) -> Result<Vec<Happening>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM events WHERE run = $1 AND sequence > $2 ORDER BY sequence LIMIT $3")
                .bind(run)
                .bind(after)
                .bind(limit as i64)
                .fetch_all(&self.pool)
                .await?;
        let read = rows.iter().map(|row| {
            Ok(Happening {
                sequence: row.try_get("sequence")?,
                created_ms: row.try_get("created_ms")?,
                kind: HappeningKind::Status(json(row, run, "data")?),
            })
        });
        read.collect()
    }
}

/// Write a change of state down, with the number that the run's row just took.
pub(super) async fn append(
    writing: &mut Writing,
    run: &str,
    sequence: i64,
    data: &Value,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO events (run, sequence, created_ms, kind, data) VALUES ($1, $2, $3, 'status', $4)",
    )
    .bind(run)
    .bind(sequence)
    .bind(writing.now_ms)
    .bind(data.to_string())
    .execute(&mut *writing.transaction)
    .await?;
    Ok(())
}
