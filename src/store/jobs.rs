//! Jobs that one process does from beginning to end, such as merges: queued, claimed with a lease, renewed with their
//! progress, ended. A job whose worker died is claimed by the next one.

use std::time::Duration;

use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::backend::Backend;
use super::error::StoreError;
use super::evals::json;
use super::page::{Order, Page, Paged, before_all, one_more};
use super::states::RunStatus;
use super::{Store, new_id};

#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    pub id: String,
    pub kind: String,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub started_ms: Option<i64>,
    pub finished_ms: Option<i64>,
    pub status: RunStatus,
    pub spec: Value,
    pub progress: Value,
    pub error: Option<String>,
    /// How often it was claimed and neither ended nor given back.
    pub attempts: i64,
    /// Grows with every change.
    pub sequence: i64,
    token: i64,
}

const OLDEST: &str =
    "SELECT * FROM jobs WHERE kind = $1 AND (created_ms, id) > ($2, $3) ORDER BY created_ms, id LIMIT $4";
const NEWEST: &str = "SELECT * FROM jobs WHERE kind = $1 AND (created_ms, id) < ($2, $3) \
    ORDER BY created_ms DESC, id DESC LIMIT $4";
/// PostgreSQL has several writers, which must not wait for each other here, nor both take what one has taken.
const CLAIM_SQLITE: &str = "UPDATE jobs SET token = token + 1, attempts = attempts + 1, worker = $1, lease_until_ms = $2, \
    status = 'in_progress', started_ms = COALESCE(started_ms, $3), updated_ms = $3, sequence = sequence + 1 \
    WHERE id = (SELECT id FROM jobs WHERE kind = $4 AND status IN ('queued', 'in_progress') AND lease_until_ms <= $3 \
    ORDER BY created_ms, id LIMIT 1) RETURNING *";
const CLAIM_POSTGRES: &str = "UPDATE jobs SET token = token + 1, attempts = attempts + 1, worker = $1, lease_until_ms = $2, \
    status = 'in_progress', started_ms = COALESCE(started_ms, $3), updated_ms = $3, sequence = sequence + 1 \
    WHERE id = (SELECT id FROM jobs WHERE kind = $4 AND status IN ('queued', 'in_progress') AND lease_until_ms <= $3 \
    ORDER BY created_ms, id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *";

impl Store {
    pub async fn create_job(&self, kind: &str, spec: &Value) -> Result<JobRow, StoreError> {
        self.create_job_as(&new_id(kind), kind, spec).await
    }

    /// A job whose id its folder has already.
    pub async fn create_job_as(&self, id: &str, kind: &str, spec: &Value) -> Result<JobRow, StoreError> {
        let mut writing = self.begin().await?;
        sqlx::query(
            "INSERT INTO jobs (id, kind, created_ms, updated_ms, status, spec, progress) \
             VALUES ($1, $2, $3, $3, 'queued', $4, '{}')",
        )
        .bind(id)
        .bind(kind)
        .bind(writing.now_ms)
        .bind(spec.to_string())
        .execute(&mut *writing.transaction)
        .await?;
        writing.commit().await?;
        self.job(kind, id).await
    }

    /// # Errors
    /// `NotFound`.
    pub async fn job(&self, kind: &str, id: &str) -> Result<JobRow, StoreError> {
        let row = sqlx::query("SELECT * FROM jobs WHERE id = $1 AND kind = $2")
            .bind(id)
            .bind(kind)
            .fetch_optional(&self.pool)
            .await?;
        job_row(&row.ok_or_else(|| StoreError::NotFound { what: "job", id: id.chars().take(200).collect() })?)
    }

    /// Jobs of a kind by age.
    ///
    /// # Errors
    /// `NotFound`, if the page begins after one that is not there.
    pub async fn jobs(&self, kind: &str, page: &Page) -> Result<Paged<JobRow>, StoreError> {
        let (created_ms, id) = match &page.after {
            None => before_all(page.order),
            Some(id) => (self.job(kind, id).await?.created_ms, id.clone()),
        };
        let sql = if page.order == Order::Ascending { OLDEST } else { NEWEST };
        let query = sqlx::query(sql).bind(kind).bind(created_ms).bind(id).bind(one_more(page.limit));
        let rows = query.fetch_all(&self.pool).await?;
        Ok(Paged::of(rows.iter().map(job_row).collect::<Result<_, _>>()?, page.limit))
    }

    /// The oldest job of a kind that nobody works on, for `lease`.
    pub async fn claim_job(
        &self,
        kind: &str,
        worker: &str,
        lease: Duration,
    ) -> Result<Option<JobRow>, StoreError> {
        let mut writing = self.begin().await?;
        let sql = match self.backend {
            Backend::Sqlite => CLAIM_SQLITE,
            Backend::Postgres => CLAIM_POSTGRES,
        };
        let row = sqlx::query(sql)
            .bind(worker)
            .bind(writing.now_ms + lease.as_millis() as i64)
            .bind(writing.now_ms)
            .bind(kind)
            .fetch_optional(&mut *writing.transaction)
            .await?;
        let job = row.as_ref().map(job_row).transpose()?;
        writing.commit().await?;
        Ok(job)
    }

    /// Keep a job for `lease` from now, with its progress. `None` if it is not this worker's any more: canceled, or another
    /// one's.
    pub async fn renew_job(
        &self,
        job: &JobRow,
        progress: &Value,
        lease: Duration,
    ) -> Result<Option<()>, StoreError> {
        let mut writing = self.begin().await?;
        let done = sqlx::query(
            "UPDATE jobs SET progress = $1, lease_until_ms = $2, updated_ms = $3, sequence = sequence + 1 \
             WHERE id = $4 AND token = $5 AND status = 'in_progress'",
        )
        .bind(progress.to_string())
        .bind(writing.now_ms + lease.as_millis() as i64)
        .bind(writing.now_ms)
        .bind(&job.id)
        .bind(job.token)
        .execute(&mut *writing.transaction)
        .await?;
        writing.commit().await?;
        Ok((done.rows_affected() > 0).then_some(()))
    }

    /// End a claimed job, completed or, with an error, failed. `false` and nothing if it is not this worker's any more.
    pub async fn finish_job(
        &self,
        job: &JobRow,
        progress: &Value,
        error: Option<&str>,
    ) -> Result<bool, StoreError> {
        let status = if error.is_some() { RunStatus::Failed } else { RunStatus::Completed };
        let mut writing = self.begin().await?;
        let done = sqlx::query(
            "UPDATE jobs SET status = $1, error = $2, progress = $3, finished_ms = $4, updated_ms = $4, \
             lease_until_ms = 0, sequence = sequence + 1 WHERE id = $5 AND token = $6 AND status = 'in_progress'",
        )
        .bind(status.as_str())
        .bind(error)
        .bind(progress.to_string())
        .bind(writing.now_ms)
        .bind(&job.id)
        .bind(job.token)
        .execute(&mut *writing.transaction)
        .await?;
        writing.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Give a claimed job back unfinished, for the next worker to go on with at once.
    pub async fn release_job(&self, job: &JobRow) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE jobs SET status = 'queued', lease_until_ms = 0, attempts = attempts - 1, sequence = sequence + 1 \
             WHERE id = $1 AND token = $2 AND status = 'in_progress'",
        )
        .bind(&job.id)
        .bind(job.token)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Let a job stand still. Its worker keeps the lease until it has stopped and calls [`Self::free_job`].
    ///
    /// # Errors
    /// `NotFound`; `WrongStatus` for one that has come to an end.
    pub async fn pause_job(&self, kind: &str, id: &str) -> Result<JobRow, StoreError> {
        let mut writing = self.begin().await?;
        sqlx::query(
            "UPDATE jobs SET status = 'paused', updated_ms = $1, sequence = sequence + 1 \
             WHERE id = $2 AND kind = $3 AND status IN ('queued', 'in_progress')",
        )
        .bind(writing.now_ms)
        .bind(id)
        .bind(kind)
        .execute(&mut *writing.transaction)
        .await?;
        writing.commit().await?;
        let job = self.job(kind, id).await?;
        match job.status {
            RunStatus::Paused => Ok(job),
            status => Err(StoreError::WrongStatus { id: job.id, status, wanted: "paused" }),
        }
    }

    /// Go on with a job that was paused or failed, when whoever works on it still has stopped.
    ///
    /// # Errors
    /// `NotFound`; `WrongStatus` for one that has come to its end.
    pub async fn resume_job(&self, kind: &str, id: &str) -> Result<JobRow, StoreError> {
        let mut writing = self.begin().await?;
        sqlx::query(
            "UPDATE jobs SET status = 'queued', error = NULL, finished_ms = NULL, attempts = 0, updated_ms = $1, \
             sequence = sequence + 1 WHERE id = $2 AND kind = $3 AND status IN ('paused', 'failed')",
        )
        .bind(writing.now_ms)
        .bind(id)
        .bind(kind)
        .execute(&mut *writing.transaction)
        .await?;
        writing.commit().await?;
        let job = self.job(kind, id).await?;
        if job.status.is_active() {
            return Ok(job);
        }
        Err(StoreError::WrongStatus { id: job.id, status: job.status, wanted: "resumed" })
    }

    /// Nobody works on a job any more: whoever is to go on with it may do so at once.
    pub async fn free_job(&self, job: &JobRow) -> Result<(), StoreError> {
        sqlx::query("UPDATE jobs SET lease_until_ms = 0 WHERE id = $1 AND token = $2")
            .bind(&job.id)
            .bind(job.token)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// End a job for good. One that is canceled already stays so.
    ///
    /// # Errors
    /// `NotFound`; `WrongStatus` for one that came to another end.
    pub async fn cancel_job(&self, kind: &str, id: &str) -> Result<JobRow, StoreError> {
        let mut writing = self.begin().await?;
        sqlx::query(
            "UPDATE jobs SET status = 'canceled', finished_ms = $1, updated_ms = $1, sequence = sequence + 1 \
             WHERE id = $2 AND kind = $3 AND status IN ('queued', 'in_progress', 'paused')",
        )
        .bind(writing.now_ms)
        .bind(id)
        .bind(kind)
        .execute(&mut *writing.transaction)
        .await?;
        writing.commit().await?;
        let job = self.job(kind, id).await?;
        match job.status {
            RunStatus::Canceled => Ok(job),
            status => Err(StoreError::WrongStatus { id: job.id, status, wanted: "canceled" }),
        }
    }
}

fn job_row(row: &AnyRow) -> Result<JobRow, StoreError> {
    let id: String = row.try_get("id")?;
    let status: String = row.try_get("status")?;
    Ok(JobRow {
        kind: row.try_get("kind")?,
        created_ms: row.try_get("created_ms")?,
        updated_ms: row.try_get("updated_ms")?,
        started_ms: row.try_get("started_ms")?,
        finished_ms: row.try_get("finished_ms")?,
        status: status.parse().map_err(|message| StoreError::Damaged {
            what: id.clone(),
            field: "status",
            message,
        })?,
        spec: json(row, &id, "spec")?,
        progress: json(row, &id, "progress")?,
        error: row.try_get("error")?,
        attempts: row.try_get("attempts")?,
        sequence: row.try_get("sequence")?,
        token: row.try_get("token")?,
        id,
    })
}
