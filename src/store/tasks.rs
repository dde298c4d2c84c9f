//! How a task ends: done with all its samples, or refused until it is known whether the task or the set-up is at fault.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::error::StoreError;
use super::lease::Lease;
use super::{Store, Writing};

/// Tasks of a run that are not done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Undone {
    /// Free or leased.
    pub open: i64,
    pub refused: i64,
}

/// One problem in one language, as a run has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    pub position: i64,
    pub language: String,
    pub problem: String,
}

impl Store {
    /// A run's tasks behind a position, in their order.
    pub async fn tasks(
        &self,
        run: &str,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<TaskRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT position, language, problem FROM tasks WHERE run = $1 AND position > $2 \
             ORDER BY position LIMIT $3",
        )
        .bind(run)
        .bind(after.unwrap_or(-1))
        .bind(limit as i64)
        .fetch_all(&self.pool)
        .await?;
        let read = |row: &AnyRow| {
            Ok(TaskRow {
                position: row.try_get("position")?,
                language: row.try_get("language")?,
                problem: row.try_get("problem")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// A task has all its samples. `served` says that the model answered, so that what it refused before, it meant.
    ///
    /// # Errors
    /// `LeaseLost`; `Invalid`, if samples are missing.
    pub async fn finish_task(&self, lease: &Lease, served: bool) -> Result<(), StoreError> {
        let (mut writing, run) = self.lock(&lease.run).await?;
        let samples: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM samples WHERE run = $1 AND position = $2")
                .bind(&lease.run)
                .bind(lease.position)
                .fetch_one(&mut *writing.transaction)
                .await?;
        if samples != run.samples_per_task {
            let message = format!("task {} has {samples} of {}", lease.position, run.samples_per_task);
            return Err(StoreError::Invalid { field: "samples", message });
        }
        writing.end(lease, "done", None).await?;
        if served {
            sqlx::query("UPDATE runs SET refusals = 0 WHERE id = $1")
                .bind(&lease.run)
                .execute(&mut *writing.transaction)
                .await?;
        }
        writing.commit().await
    }

    /// The model refused a task. Gives the tasks refused since one was served.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub async fn refuse_task(&self, lease: &Lease, error: &str) -> Result<i64, StoreError> {
        let (mut writing, run) = self.lock(&lease.run).await?;
        writing.end(lease, "refused", Some(error)).await?;
        sqlx::query("UPDATE runs SET refusals = refusals + 1 WHERE id = $1")
            .bind(&lease.run)
            .execute(&mut *writing.transaction)
            .await?;
        writing.commit().await?;
        Ok(run.refusals + 1)
    }

    pub async fn undone(&self, run: &str) -> Result<Undone, StoreError> {
        let rows = sqlx::query(
            "SELECT state, COUNT(*) AS tasks FROM tasks WHERE run = $1 AND state <> 'done' GROUP BY state",
        )
        .bind(run)
        .fetch_all(&self.pool)
        .await?;
        let mut undone = Undone::default();
        for row in rows {
            let (state, tasks): (String, i64) = (row.try_get("state")?, row.try_get("tasks")?);
            if state == "refused" { undone.refused = tasks } else { undone.open = tasks }
        }
        Ok(undone)
    }
}

impl Writing {
    async fn end(
        &mut self,
        lease: &Lease,
        state: &'static str,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        let error: Option<String> =
            error.map(|text| text.chars().filter(|c| *c != '\0').take(4000).collect());
        let ended = sqlx::query(
            "UPDATE tasks SET state = $1, error = $2, lease_until_ms = 0 \
             WHERE run = $3 AND position = $4 AND token = $5 AND state <> 'done'",
        )
        .bind(state)
        .bind(error)
        .bind(&lease.run)
        .bind(lease.position)
        .bind(lease.token)
        .execute(&mut *self.transaction)
        .await?;
        if ended.rows_affected() == 1 {
            return Ok(());
        }
        Err(StoreError::LeaseLost { run: lease.run.clone(), position: lease.position })
    }
}
