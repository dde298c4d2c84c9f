//! Who works on what: claims of tasks that expire, are renewed, and cannot be used once lost.
//!
//! A claim takes the next free task and raises its token. Whoever writes for a task shows the token: a worker that was
//! thought dead and comes back finds another one there and can change nothing. Expiry is by the database's clock.

use std::time::Duration;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::backend::Backend;
use super::error::StoreError;
use super::states::RunStatus;
use super::{Store, Writing};

/// A claimed task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub run: String,
    pub position: i64,
    pub language: String,
    pub problem: String,
    /// Samples it has already, ascending.
    pub done: Vec<u32>,
    /// How often the task was claimed and neither finished nor given back: workers that died on it, and this one.
    pub attempts: i64,
    /// Of a refused task: what was said.
    pub error: Option<String>,
    pub(super) token: i64,
}

/// The one statement that differs: PostgreSQL has several writers, which must not wait for each other here.
const CLAIM_SQLITE: &str = "UPDATE tasks SET token = token + 1, attempts = attempts + 1, worker = $1, lease_until_ms = $2 \
    WHERE run = $3 AND position = (SELECT position FROM tasks WHERE run = $3 AND state <> 'done' AND state = $4 \
    AND position < $5 AND lease_until_ms <= $6 ORDER BY position LIMIT 1) RETURNING *";
const CLAIM_POSTGRES: &str = "UPDATE tasks SET token = token + 1, attempts = attempts + 1, worker = $1, lease_until_ms = $2 \
    WHERE run = $3 AND position = (SELECT position FROM tasks WHERE run = $3 AND state <> 'done' AND state = $4 \
    AND position < $5 AND lease_until_ms <= $6 ORDER BY position LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *";

impl Store {
    /// The first free task of a run, for `duration`; `None` if all are done, refused or leased.
    pub async fn claim(
        &self,
        run: &str,
        worker: &str,
        duration: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        self.claim_in("open", run, i64::MAX, worker, duration).await
    }

    /// The first refused task before a position.
    pub async fn claim_refused(
        &self,
        run: &str,
        before: i64,
        worker: &str,
        duration: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        self.claim_in("refused", run, before, worker, duration).await
    }

    async fn claim_in(
        &self,
        state: &str,
        run: &str,
        before: i64,
        worker: &str,
        duration: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        let mut writing = self.begin().await?;
        let sql = match self.backend {
            Backend::Sqlite => CLAIM_SQLITE,
            Backend::Postgres => CLAIM_POSTGRES,
        };
        let row = sqlx::query(sql)
            .bind(worker)
            .bind(writing.until(duration))
            .bind(run)
            .bind(state)
            .bind(before)
            .bind(writing.now_ms)
            .fetch_optional(&mut *writing.transaction)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let lease = writing.lease(&row).await?;
        writing.commit().await?;
        Ok(Some(lease))
    }

    /// Keep a task for `duration` from now; says how its run is, since nobody works on one that is paused.
    ///
    /// # Errors
    /// `LeaseLost`.
    pub async fn renew(&self, lease: &Lease, duration: Duration) -> Result<RunStatus, StoreError> {
        let mut writing = self.begin().await?;
        writing.fence(lease, duration).await?;
        let row = sqlx::query("SELECT status FROM runs WHERE id = $1")
            .bind(&lease.run)
            .fetch_one(&mut *writing.transaction)
            .await?;
        writing.commit().await?;
        let status: String = row.try_get("status")?;
        status.parse().map_err(|message| StoreError::Damaged {
            what: lease.run.clone(),
            field: "status",
            message,
        })
    }

    /// Give a task back unfinished, for others to go on with at once. Not an error if it is lost already.
    pub async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE tasks SET lease_until_ms = 0, worker = NULL, attempts = attempts - 1 \
             WHERE run = $1 AND position = $2 AND token = $3 AND state <> 'done'",
        )
        .bind(&lease.run)
        .bind(lease.position)
        .bind(lease.token)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

impl Writing {
    pub(super) fn until(&self, duration: Duration) -> i64 {
        self.now_ms.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }

    /// Hold the task's row and its lease, or find out that the lease is lost. One that has expired and that nobody
    /// took is still good: the token decides, not the time.
    pub(super) async fn fence(&mut self, lease: &Lease, duration: Duration) -> Result<(), StoreError> {
        let held = sqlx::query(
            "UPDATE tasks SET lease_until_ms = $1 WHERE run = $2 AND position = $3 AND token = $4 AND state <> 'done'",
        )
        .bind(self.until(duration))
        .bind(&lease.run)
        .bind(lease.position)
        .bind(lease.token)
        .execute(&mut *self.transaction)
        .await?;
        if held.rows_affected() == 1 {
            return Ok(());
        }
        Err(StoreError::LeaseLost { run: lease.run.clone(), position: lease.position })
    }

    async fn lease(&mut self, row: &AnyRow) -> Result<Lease, StoreError> {
        let (run, position): (String, i64) = (row.try_get("run")?, row.try_get("position")?);
        let samples =
            sqlx::query("SELECT sample FROM samples WHERE run = $1 AND position = $2 ORDER BY sample")
                .bind(&run)
                .bind(position)
                .fetch_all(&mut *self.transaction)
                .await?;
        let done = samples.iter().map(|row| Ok(row.try_get::<i64, _>("sample")? as u32));
        Ok(Lease {
            done: done.collect::<Result<_, StoreError>>()?,
            language: row.try_get("language")?,
            problem: row.try_get("problem")?,
            attempts: row.try_get("attempts")?,
            error: row.try_get("error")?,
            token: row.try_get("token")?,
            run,
            position,
        })
    }
}
