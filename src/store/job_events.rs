//! What a job tells of itself: messages, metrics and checkpoints, in order, numbered from 1.

use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::error::StoreError;
use super::evals::json;
use super::page::{Order, Paged, one_more};
use super::{Store, Writing};

/// Something to be told of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJobEvent {
    pub kind: JobEventKind,
    pub level: &'static str,
    pub message: String,
    pub data: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEventKind {
    Message,
    Metrics,
    /// In a list of its own.
    Checkpoint,
}

#[derive(Debug, Clone, PartialEq)]
pub struct JobEvent {
    pub sequence: i64,
    pub created_ms: i64,
    /// `message`, `metrics` or `checkpoint`.
    pub kind: String,
    pub level: String,
    pub message: String,
    pub data: Value,
}

/// Which events of a job, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobEventPage {
    pub checkpoints: bool,
    /// The number that the page begins after.
    pub after: Option<i64>,
    pub limit: usize,
    pub order: Order,
}

const OLDEST: &str = "SELECT * FROM job_events WHERE job = $1 AND is_checkpoint = $2 AND sequence > $3 \
    ORDER BY sequence LIMIT $4";
const NEWEST: &str = "SELECT * FROM job_events WHERE job = $1 AND is_checkpoint = $2 AND sequence < $3 \
    ORDER BY sequence DESC LIMIT $4";

impl JobEventKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Metrics => "metrics",
            Self::Checkpoint => "checkpoint",
        }
    }
}

impl Store {
    /// Write down what happened to a job. A checkpoint is progress: the job has then not failed whoever worked on it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn tell_job(&self, id: &str, events: &[NewJobEvent]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let has_progress = events.iter().any(|event| event.kind == JobEventKind::Checkpoint);
        let mut writing = self.begin().await?;
        // The update locks the row, so that two writers take their numbers in turn.
        let done = sqlx::query(
            "UPDATE jobs SET updated_ms = $1, sequence = sequence + 1, \
             attempts = CASE WHEN $2 = 1 AND attempts > 1 THEN 1 ELSE attempts END WHERE id = $3",
        )
        .bind(writing.now_ms)
        .bind(i64::from(has_progress))
        .bind(id)
        .execute(&mut *writing.transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::not_found("job", id));
        }
        for event in events {
            append(&mut writing, id, event).await?;
        }
        writing.commit().await
    }

    pub async fn job_events(&self, job: &str, page: JobEventPage) -> Result<Paged<JobEvent>, StoreError> {
        let (sql, start) = match page.order {
            Order::Ascending => (OLDEST, 0),
            Order::Descending => (NEWEST, i64::MAX),
        };
        let query = sqlx::query(sql).bind(job).bind(i64::from(page.checkpoints));
        let query = query.bind(page.after.unwrap_or(start)).bind(one_more(page.limit));
        let rows = query.fetch_all(&self.pool).await?;
        let read = rows.iter().map(|row| event_of(row, job)).collect::<Result<_, _>>()?;
        Ok(Paged::of(read, page.limit))
    }
}

async fn append(writing: &mut Writing, job: &str, event: &NewJobEvent) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO job_events (job, sequence, created_ms, is_checkpoint, kind, level, message, data) \
         SELECT $1, COALESCE(MAX(sequence), 0) + 1, $2, $3, $4, $5, $6, $7 FROM job_events WHERE job = $1",
    )
    .bind(job)
    .bind(writing.now_ms)
    .bind(i64::from(event.kind == JobEventKind::Checkpoint))
    .bind(event.kind.as_str())
    .bind(event.level)
    // PostgreSQL takes no NUL in a text.
    .bind(event.message.replace('\0', ""))
    .bind(event.data.to_string())
    .execute(&mut *writing.transaction)
    .await?;
    Ok(())
}

fn event_of(row: &AnyRow, job: &str) -> Result<JobEvent, StoreError> {
    Ok(JobEvent {
        sequence: row.try_get("sequence")?,
        created_ms: row.try_get("created_ms")?,
        kind: row.try_get("kind")?,
        level: row.try_get("level")?,
        message: row.try_get("message")?,
        data: json(row, job, "data")?,
    })
}
