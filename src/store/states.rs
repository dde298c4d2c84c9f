//! The life of a run: queued, in progress, paused and on again, and one of three ends.
//!
//! ```text
//! queued -> in_progress -> completed
//!    |  \        |    \
//!    |   `--> paused   `-> failed        pause and failure can be resumed; canceled and completed are ends
//!    `--------> canceled <-- (from paused and failed too)
//! ```

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};
use sqlx::Row;

use super::error::StoreError;
use super::events::append;
use super::runs::RunRow;
use super::{Store, Writing};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    Queued,
    InProgress,
    Paused,
    Completed,
    Failed,
    Canceled,
}

impl RunStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Whether workers work on such a run.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Queued | Self::InProgress)
    }

    /// Whether nothing will ever happen to such a run again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Canceled)
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RunStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all =
            [Self::Queued, Self::InProgress, Self::Paused, Self::Completed, Self::Failed, Self::Canceled];
        let found = all.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is not one of {}", all.map(Self::as_str).join(", ")))
    }
}

impl Store {
    /// A worker is about to work on a run: the first one writes down what it measures with; all get what is on record.
    ///
    /// # Errors
    /// `NotFound`; `WrongStatus`, if the run is not active (any more).
    pub async fn start_run(&self, id: &str, record: &Value) -> Result<Value, StoreError> {
        let (mut writing, run) = self.lock(id).await?;
        if !run.status.is_active() {
            return Err(wrong(&run, "worked on"));
        }
        if let (Some(known), RunStatus::InProgress) = (&run.record, run.status) {
            return Ok(known.clone());
        }
        let record = run.record.clone().unwrap_or_else(|| record.clone());
        sqlx::query("UPDATE runs SET record = $1, started_ms = COALESCE(started_ms, $2) WHERE id = $3")
            .bind(record.to_string())
            .bind(writing.now_ms)
            .bind(id)
            .execute(&mut *writing.transaction)
            .await?;
        writing.move_to(&run, RunStatus::InProgress, None).await?;
        writing.commit().await?;
        Ok(record)
    }

    /// # Errors
    /// `WrongStatus`, if it has come to its end.
    pub async fn pause_run(&self, id: &str) -> Result<RunRow, StoreError> {
        self.change(id, RunStatus::Paused, "paused", RunStatus::is_active).await
    }

    /// # Errors
    /// `WrongStatus`, if it has come to its end.
    pub async fn cancel_run(&self, id: &str) -> Result<RunRow, StoreError> {
        self.change(id, RunStatus::Canceled, "canceled", |status| !status.is_final()).await
    }

    /// Go on with a run that was paused or failed; what was refused is asked again.
    ///
    /// # Errors
    /// `WrongStatus`, if it has come to its end.
    pub async fn resume_run(&self, id: &str) -> Result<RunRow, StoreError> {
        let (mut writing, run) = self.lock(id).await?;
        if run.status.is_active() {
            return Ok(run);
        }
        if run.status.is_final() {
            return Err(wrong(&run, "resumed"));
        }
        sqlx::query(
            "UPDATE tasks SET state = 'open', attempts = 0, error = NULL WHERE run = $1 AND state <> 'done'",
        )
        .bind(id)
        .execute(&mut *writing.transaction)
        .await?;
        sqlx::query("UPDATE runs SET refusals = 0, error = NULL, finished_ms = NULL WHERE id = $1")
            .bind(id)
            .execute(&mut *writing.transaction)
            .await?;
        writing.move_to(&run, RunStatus::Queued, None).await?;
        writing.commit().await?;
        self.run(id).await
    }

    /// A run cannot go on by itself: `error` says why and what to do; false if it was not active any more.
    pub async fn fail_run(&self, id: &str, error: &str) -> Result<bool, StoreError> {
        let (mut writing, run) = self.lock(id).await?;
        if !run.status.is_active() {
            return Ok(false);
        }
        let error: String = error.chars().filter(|c| *c != '\0').take(ERROR_CHARACTERS_MAX).collect();
        sqlx::query("UPDATE runs SET error = $1, finished_ms = $2 WHERE id = $3")
            .bind(&error)
            .bind(writing.now_ms)
            .bind(id)
            .execute(&mut *writing.transaction)
            .await?;
        writing.move_to(&run, RunStatus::Failed, Some(&error)).await?;
        writing.commit().await?;
        Ok(true)
    }

    /// Every task is done: write the results down, and what lists show of them. False if that is not so, or another worker was
    /// first.
    pub async fn complete_run(
        &self,
        id: &str,
        record: &Value,
        results: &Value,
        scores: &Value,
    ) -> Result<bool, StoreError> {
        let (mut writing, run) = self.lock(id).await?;
        if run.status != RunStatus::InProgress || run.samples_done < run.samples_total {
            return Ok(false);
        }
        sqlx::query("UPDATE runs SET record = $1, results = $2, scores = $3, finished_ms = $4 WHERE id = $5")
            .bind(record.to_string())
            .bind(results.to_string())
            .bind(scores.to_string())
            .bind(writing.now_ms)
            .bind(id)
            .execute(&mut *writing.transaction)
            .await?;
        writing.move_to(&run, RunStatus::Completed, None).await?;
        writing.commit().await?;
        Ok(true)
    }

    async fn change(
        &self,
        id: &str,
        to: RunStatus,
        wanted: &'static str,
        may: fn(RunStatus) -> bool,
    ) -> Result<RunRow, StoreError> {
        let (mut writing, run) = self.lock(id).await?;
        if run.status == to {
            return Ok(run);
        }
        if !may(run.status) {
            return Err(wrong(&run, wanted));
        }
        if to.is_final() {
            sqlx::query("UPDATE runs SET finished_ms = $1 WHERE id = $2")
                .bind(writing.now_ms)
                .bind(id)
                .execute(&mut *writing.transaction)
                .await?;
        }
        writing.move_to(&run, to, None).await?;
        writing.commit().await?;
        self.run(id).await
    }

    /// A run under its lock. Whoever needs a run and its tasks takes the run first, so that nobody waits in a circle.
    pub(super) async fn lock(&self, id: &str) -> Result<(Writing, RunRow), StoreError> {
        let mut writing = self.begin().await?;
        let run = writing.lock(id).await?;
        Ok((writing, run))
    }
}

/// An error's text is shown whole; this keeps a server's page of HTML out.
const ERROR_CHARACTERS_MAX: usize = 4000;

fn wrong(run: &RunRow, wanted: &'static str) -> StoreError {
    StoreError::WrongStatus { id: run.id.clone(), status: run.status, wanted }
}

impl Writing {
    async fn lock(&mut self, id: &str) -> Result<RunRow, StoreError> {
        // An update locks the row on both databases.
        let row = sqlx::query("UPDATE runs SET updated_ms = $1 WHERE id = $2 RETURNING *")
            .bind(self.now_ms)
            .bind(id)
            .fetch_optional(&mut *self.transaction)
            .await?;
        RunRow::read(&row.ok_or_else(|| StoreError::not_found("run", id))?)
    }

    async fn move_to(&mut self, run: &RunRow, to: RunStatus, error: Option<&str>) -> Result<(), StoreError> {
        if run.status == to {
            return Ok(());
        }
        let row = sqlx::query(
            "UPDATE runs SET status = $1, sequence = sequence + 1 WHERE id = $2 RETURNING sequence",
        )
        .bind(to.as_str())
        .bind(&run.id)
        .fetch_one(&mut *self.transaction)
        .await?;
        append(self, &run.id, row.try_get("sequence")?, &json!({"status": to.as_str(), "error": error})).await
    }
}
