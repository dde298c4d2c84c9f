//! Samples: written once each under a lease, read by key a page at a time. Lists leave completions out.

use std::time::Duration;

use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::error::StoreError;
use super::evals::json;
use super::lease::Lease;
use super::page::{Order, Paged, one_more};
use super::{Store, Writing};

#[derive(Debug, Clone, PartialEq)]
pub struct NewSample {
    pub sample: u32,
    pub status: SampleStatus,
    /// Everything but the completion.
    pub record: Value,
    /// The few bytes of it that a table shows.
    pub brief: Value,
    pub completion: String,
    pub completion_tokens: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleStatus {
    Passed,
    Failed,
    Errored,
}

impl SampleStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "pass",
            Self::Failed => "fail",
            Self::Errored => "error",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct SampleRow {
    pub key: ItemKey,
    pub language: String,
    pub problem: String,
    pub sequence: i64,
    pub created_ms: i64,
    /// `pass`, `fail` or `error`.
    pub status: String,
    pub record: Value,
    /// `None` where it was not asked for.
    pub completion: Option<String>,
}

/// A sample's place in its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemKey {
    pub position: i64,
    pub sample: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ItemPage {
    pub after: Option<ItemKey>,
    pub limit: usize,
    pub order: Order,
    pub status: Option<SampleStatus>,
    pub completions: bool,
}

const COLUMNS: &str =
    "s.position, s.sample, s.sequence, s.created_ms, s.status, s.record, t.language, t.problem";
const TABLES: &str = "samples s JOIN tasks t ON t.run = s.run AND t.position = s.position";

impl Store {
    /// Write samples of a leased task; gives how many were new. The lease is renewed with them.
    ///
    /// # Errors
    /// `LeaseLost`: nothing was written. `Full`.
    pub async fn add_samples(
        &self,
        lease: &Lease,
        duration: Duration,
        samples: &[NewSample],
    ) -> Result<usize, StoreError> {
        let (mut writing, run) = self.lock(&lease.run).await?;
        writing.fence(lease, duration).await?;
        let (mut added, mut of, mut tokens) = (0_i64, [0_i64; 3], 0_i64);
        for sample in samples {
            if writing.insert(lease, sample, run.sequence + added + 1).await? {
                added += 1;
                of[sample.status as usize] += 1;
                tokens += i64::try_from(sample.completion_tokens).unwrap_or(0);
            }
        }
        sqlx::query(
            "UPDATE runs SET sequence = sequence + $1, samples_done = samples_done + $1, passed = passed + $2, \
             failed = failed + $3, errored = errored + $4, completion_tokens = completion_tokens + $5 WHERE id = $6",
        )
        .bind(added)
        .bind(of[SampleStatus::Passed as usize])
        .bind(of[SampleStatus::Failed as usize])
        .bind(of[SampleStatus::Errored as usize])
        .bind(tokens)
        .bind(&lease.run)
        .execute(&mut *writing.transaction)
        .await?;
        writing.commit().await?;
        Ok(added as usize)
    }

    /// One sample with its completion.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn sample(&self, run: &str, key: ItemKey) -> Result<SampleRow, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS}, s.completion FROM {TABLES} WHERE s.run = $1 AND s.position = $2 AND s.sample = $3"
        );
        // Constants alone.
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(run)
            .bind(key.position)
            .bind(i64::from(key.sample))
            .fetch_optional(&self.pool)
            .await?;
        let id = format!("{}-{}", key.position, key.sample);
        sample_row(&row.ok_or_else(|| StoreError::not_found("sample", &id))?, true)
    }

    /// A page of a run's samples by task and number.
    pub async fn samples(&self, run: &str, page: &ItemPage) -> Result<Paged<SampleRow>, StoreError> {
        let (than, direction, start) = match page.order {
            Order::Ascending => (">", "", ItemKey { position: -1, sample: 0 }),
            Order::Descending => ("<", "DESC", ItemKey { position: i64::MAX, sample: 0 }),
        };
        let completion = if page.completions { ", s.completion" } else { "" };
        let status =
            page.status.map(|status| format!("AND s.status = '{}'", status.as_str())).unwrap_or_default();
        let sql = format!(
            "SELECT {COLUMNS}{completion} FROM {TABLES} WHERE s.run = $1 {status} \
             AND (s.position, s.sample) {than} ($2, $3) \
             ORDER BY s.position {direction}, s.sample {direction} LIMIT $4"
        );
        let after = page.after.unwrap_or(start);
        // Constants alone.
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(run)
            .bind(after.position)
            .bind(i64::from(after.sample))
            .bind(one_more(page.limit))
            .fetch_all(&self.pool)
            .await?;
        let rows = rows.iter().map(|row| sample_row(row, page.completions)).collect::<Result<_, _>>()?;
        Ok(Paged::of(rows, page.limit))
    }

    /// The briefs of a run's samples at these positions, from the index alone: texts of JSON arrays `[position, sample, brief]` that commas
    /// divide, in any order. A text holds those of many tasks, since a row costs more than what is in it. Those of older builds have
    /// no brief and are left out.
    pub async fn sample_briefs(
        &self,
        run: &str,
        positions: std::ops::Range<i64>,
    ) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query(
            "SELECT string_agg('[' || CAST(position AS TEXT) || ',' || CAST(sample AS TEXT) || ',' || brief || ']', ',') \
             AS briefs FROM samples WHERE run = $1 AND brief IS NOT NULL AND position >= $2 AND position < $3 \
             GROUP BY position / 64",
        )
        .bind(run)
        .bind(positions.start)
        .bind(positions.end)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Ok(row.try_get("briefs")?)).collect()
    }

    /// Samples that came after a number of the run's sequence, in that order, without completions.
    pub async fn samples_since(
        &self,
        run: &str,
        after: i64,
        limit: usize,
    ) -> Result<Vec<SampleRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {TABLES} WHERE s.run = $1 AND s.sequence > $2 ORDER BY s.sequence LIMIT $3"
        );
        // Constants alone.
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(run)
            .bind(after)
            .bind(limit as i64)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| sample_row(row, false)).collect()
    }
}

impl Writing {
    /// Whether the sample was new.
    async fn insert(&mut self, lease: &Lease, sample: &NewSample, sequence: i64) -> Result<bool, StoreError> {
        let inserted = sqlx::query(
            "INSERT INTO samples (run, position, sample, sequence, created_ms, status, record, completion, brief) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (run, position, sample) DO NOTHING",
        )
        .bind(&lease.run)
        .bind(lease.position)
        .bind(i64::from(sample.sample))
        .bind(sequence)
        .bind(self.now_ms)
        .bind(sample.status.as_str())
        .bind(sample.record.to_string())
        // As a JSON string: a model may write a NUL, which PostgreSQL takes in no text.
        .bind(Value::from(sample.completion.as_str()).to_string())
        .bind(sample.brief.to_string())
        .execute(&mut *self.transaction)
        .await?;
        Ok(inserted.rows_affected() == 1)
    }
}

fn sample_row(row: &AnyRow, completion: bool) -> Result<SampleRow, StoreError> {
    let key = ItemKey { position: row.try_get("position")?, sample: row.try_get::<i64, _>("sample")? as u32 };
    let what = format!("sample {}-{}", key.position, key.sample);
    let completion = if completion {
        let text = json(row, &what, "completion")?;
        Some(text.as_str().unwrap_or_default().to_owned())
    } else {
        None
    };
    Ok(SampleRow {
        key,
        language: row.try_get("language")?,
        problem: row.try_get("problem")?,
        sequence: row.try_get("sequence")?,
        created_ms: row.try_get("created_ms")?,
        status: row.try_get("status")?,
        record: json(row, &what, "record")?,
        completion,
    })
}
