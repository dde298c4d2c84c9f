//! The tables, in versions. Each version is applied once, whole or not at all, with its digest on record, so that a
//! database that another build changed is refused by name and not half understood.

use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::backend::Backend;
use super::error::StoreError;
use super::{Store, Writing};

/// Every version, oldest first; what is released here never changes.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_evals.sql"),
    include_str!("migrations/0002_jobs.sql"),
    include_str!("migrations/0003_trainings.sql"),
    include_str!("migrations/0004_owners.sql"),
    include_str!("migrations/0005_briefs.sql"),
    include_str!("migrations/0006_usage.sql"),
];

/// Any number that no other program locks.
const LOCK: &str = "SELECT pg_advisory_xact_lock(8390052384)";

const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS store_versions (
    version BIGINT PRIMARY KEY, sha256 TEXT NOT NULL, applied_ms BIGINT NOT NULL)";

impl Store {
    /// Bring the tables up to date; processes that start together take turns.
    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let mut writing = self.begin().await?;
        if self.backend == Backend::Postgres {
            sqlx::raw_sql(LOCK).execute(&mut *writing.transaction).await?;
        }
        sqlx::raw_sql(VERSIONS).execute(&mut *writing.transaction).await?;
        let applied = applied(&mut writing).await?;
        check(&applied)?;
        for (version, sql) in MIGRATIONS.iter().enumerate().skip(applied.len()) {
            sqlx::raw_sql(*sql).execute(&mut *writing.transaction).await?;
            sqlx::query("INSERT INTO store_versions (version, sha256, applied_ms) VALUES ($1, $2, $3)")
                .bind(version as i64 + 1)
                .bind(digest(sql))
                .bind(writing.now_ms)
                .execute(&mut *writing.transaction)
                .await?;
        }
        writing.commit().await
    }

    /// Whether the tables are those of this build, without changing any.
    ///
    /// # Errors
    /// `Migration` where they are not.
    pub(super) async fn check_tables(&self) -> Result<(), StoreError> {
        let read = sqlx::query(DIGESTS).fetch_all(&self.pool).await;
        let rows = match read.map_err(StoreError::from) {
            Err(StoreError::Database { message }) => {
                let message = format!("the database holds no evaluations ({message})");
                return Err(StoreError::Migration { message });
            }
            read => read?,
        };
        let applied = digests(&rows)?;
        check(&applied)?;
        let (known, found) = (MIGRATIONS.len(), applied.len());
        if found < known {
            let message = format!(
                "the database has version {found} of the tables and this build reads {known}: `xenoglot serve` or \
                 `xenoglot worker` of this build bring them up to date"
            );
            return Err(StoreError::Migration { message });
        }
        Ok(())
    }
}

const DIGESTS: &str = "SELECT sha256 FROM store_versions ORDER BY version";

/// The digests on record, oldest first.
async fn applied(writing: &mut Writing) -> Result<Vec<String>, StoreError> {
    digests(&sqlx::query(DIGESTS).fetch_all(&mut *writing.transaction).await?)
}

fn digests(rows: &[AnyRow]) -> Result<Vec<String>, StoreError> {
    rows.iter().map(|row| Ok(row.try_get("sha256")?)).collect()
}

fn check(applied: &[String]) -> Result<(), StoreError> {
    let (known, found) = (MIGRATIONS.len(), applied.len());
    if found > known {
        let message = format!(
            "the database has version {found} of the tables and this build knows {known}: use the newer build, or \
             another database"
        );
        return Err(StoreError::Migration { message });
    }
    match applied.iter().zip(MIGRATIONS).position(|(applied, sql)| *applied != digest(sql)) {
        None => Ok(()),
        Some(at) => {
            let version = at + 1;
            let message = format!(
                "version {version} of the tables was made by another build: use that one, or another database"
            );
            Err(StoreError::Migration { message })
        }
    }
}

fn digest(sql: &str) -> String {
    format!("{:x}", Sha256::digest(sql.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_an_older_build_wrote_has_no_owner() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        sqlx::any::install_default_drivers();
        let pool = sqlx::AnyPool::connect(&format!("{url}?mode=rwc")).await.unwrap();
        sqlx::raw_sql(VERSIONS).execute(&pool).await.unwrap();
        for (version, sql) in MIGRATIONS[..3].iter().enumerate() {
            sqlx::raw_sql(*sql).execute(&pool).await.unwrap();
            let row = format!("INSERT INTO store_versions VALUES ({}, '{}', 0)", version + 1, digest(sql));
            sqlx::raw_sql(sqlx::AssertSqlSafe(row)).execute(&pool).await.unwrap();
        }
        sqlx::raw_sql(
            "INSERT INTO evals (id, created_ms, updated_ms, name, spec, metadata) VALUES ('e', 1, 1, 'old', '{}', '{}'); \
             INSERT INTO runs (id, eval, created_ms, updated_ms, name, model, status, spec, metadata, samples_per_task, samples_total) \
             VALUES ('r', 'e', 1, 1, 'old', 'm', 'paused', '{}', '{}', 1, 1)",
        )
        .execute(&pool)
        .await
        .unwrap();
        pool.close().await;
        let error = Store::open_existing(&url).await.unwrap_err().to_string();
        assert!(error.contains("has version 3") && error.contains("up to date"), "{error}");
        let store = Store::open(&url).await.unwrap();
        let (eval, run) = (store.eval("e").await.unwrap(), store.run("r").await.unwrap());
        assert_eq!((eval.owner, run.owner), (None, None));
        assert_eq!((eval.name.as_str(), run.name.as_str()), ("old", "old"));
        assert_eq!(store.resume_run("r").await.unwrap().status, crate::store::RunStatus::Queued);
        store.close().await;
    }

    #[tokio::test]
    async fn tables_of_another_build_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        let check = async |change: &'static str, words: &str| {
            let store = Store::open(&url).await.unwrap();
            sqlx::query(change).execute(&store.pool).await.unwrap();
            store.close().await;
            let reading = Store::open_existing(&url).await.unwrap_err();
            let error = Store::open(&url).await.unwrap_err();
            assert_eq!(reading.to_string(), error.to_string());
            assert!(
                matches!(error, StoreError::Migration { .. }) && error.to_string().contains(words),
                "{error}"
            );
            let restored =
                Store { pool: sqlx::AnyPool::connect(&url).await.unwrap(), backend: Backend::Sqlite };
            sqlx::query("DELETE FROM store_versions WHERE version > $1")
                .bind(MIGRATIONS.len() as i64)
                .execute(&restored.pool)
                .await
                .unwrap();
            for (version, sql) in MIGRATIONS.iter().enumerate() {
                sqlx::query("UPDATE store_versions SET sha256 = $1 WHERE version = $2")
                    .bind(digest(sql))
                    .bind(version as i64 + 1)
                    .execute(&restored.pool)
                    .await
                    .unwrap();
            }
            restored.close().await;
        };
        check("INSERT INTO store_versions VALUES (7, 'x', 0)", "has version 7").await;
        check("UPDATE store_versions SET sha256 = 'x'", "made by another build").await;
        Store::open(&url).await.unwrap().close().await;
    }
}
