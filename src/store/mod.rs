//! Evaluations, their runs, tasks and samples in a database: SQLite in a file, or PostgreSQL by URL.
//!
//! Alone writes SQL. It knows that a run has tasks which workers lease and that a task has samples, each written once;
//! it does not know what a suite, a score or a model is: those are JSON to it. The same statements run on both
//! databases, but for the claim of a task; JSON is TEXT and times are milliseconds since 1970 by the database's clock,
//! since the clocks of workers differ.

mod backend;
mod error;
mod evals;
mod events;
mod files;
mod job_events;
mod jobs;
mod lease;
mod migrate;
mod page;
mod runs;
mod samples;
mod states;
mod tasks;

use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyConnection, AnyPool, Connection, Transaction};
use tokio::time::Instant;

pub use error::StoreError;
pub use evals::{EvalRow, NewEval};
pub use events::{Happening, HappeningKind};
pub use files::FileRow;
pub use job_events::{JobEvent, JobEventKind, JobEventPage, NewJobEvent};
pub use jobs::JobRow;
pub use lease::Lease;
pub use page::{Order, Page, Paged};
pub use runs::{ListedRun, NewRun, NewTask, RunFilter, RunRow};
pub use samples::{ItemKey, ItemPage, NewSample, SampleRow, SampleStatus};
pub use states::RunStatus;
pub use tasks::{TaskRow, Undone};

use backend::{Access, Backend};

/// An open database; clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    backend: Backend,
}

/// How long a connection is waited for before the database counts as out of reach.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(50);

/// Wait for the database. The pool would do so too, but in the end it says that its time is over, and not why.
async fn wait_for(backend: Backend, url: &str) -> Result<(), StoreError> {
    let give_up = Instant::now() + CONNECT_TIMEOUT;
    let mut cause = sqlx::Error::PoolTimedOut;
    loop {
        let attempt = async {
            let mut connection = AnyConnection::connect(url).await?;
            backend.prepare(&mut connection).await?;
            connection.close().await
        };
        match tokio::time::timeout_at(give_up, attempt).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if passes(&error) => cause = error,
            Ok(Err(error)) => return Err(StoreError::unreachable(backend, &error)),
            Err(_) => return Err(StoreError::unreachable(backend, &cause)),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// A server that is about to start, or another process that holds a new SQLite file for a moment.
fn passes(error: &sqlx::Error) -> bool {
    /// `SQLITE_BUSY`, `SQLITE_LOCKED`, and PostgreSQL's `cannot_connect_now`.
    const PASSING: [&str; 3] = ["5", "6", "57P03"];
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(inner) => inner.code().is_some_and(|code| PASSING.contains(&&*code)),
        _ => false,
    }
}

impl Store {
    /// Open the database at `sqlite:PATH` (made if it is not there) or `postgres://..`, and bring its tables up to date.
    ///
    /// # Errors
    /// `Url`, `Unreachable`, or `Migration` if another version of xenoglot made what is there.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let store = Self::connect(url, Access::Made).await?;
        store.migrate().await?;
        Ok(store)
    }

    /// Open a database that is there to read it: none is made, and no table is changed.
    ///
    /// # Errors
    /// `Url`, `NoDatabase`, `Unreachable`, or `Migration` if its tables are not those of this build.
    pub async fn open_existing(url: &str) -> Result<Self, StoreError> {
        let store = Self::connect(url, Access::Existing).await?;
        store.check_tables().await?;
        Ok(store)
    }

    async fn connect(url: &str, access: Access) -> Result<Self, StoreError> {
        let (backend, url) = Backend::from_url(url, access)?;
        sqlx::any::install_default_drivers();
        wait_for(backend, &url).await?;
        let pool = AnyPoolOptions::new()
            .max_connections(backend.connections_max())
            .acquire_timeout(CONNECT_TIMEOUT)
            .after_connect(move |connection, _| Box::pin(backend.prepare(connection)))
            // SQLite ends a transaction by itself where the disk is full; the connection still counts it, and is of no more use.
            .before_acquire(|connection, _| {
                let is_free = !connection.is_in_transaction();
                Box::pin(async move { Ok(is_free) })
            })
            .connect(&url)
            .await
            .map_err(|error| StoreError::unreachable(backend, &error))?;
        Ok(Self { pool, backend })
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// `Unreachable` and the like.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Wait for what runs and close all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A transaction that will write, with the database's time.
    async fn begin(&self) -> Result<Writing, StoreError> {
        let mut transaction = match self.backend {
            // A transaction that reads first and writes later cannot wait for another one's lock: take it at once.
            Backend::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await?,
            Backend::Postgres => self.pool.begin().await?,
        };
        let now_ms = sqlx::query_scalar(self.backend.now()).fetch_one(&mut *transaction).await?;
        Ok(Writing { transaction, now_ms })
    }
}

/// Dropped without a commit, it changes nothing.
struct Writing {
    transaction: Transaction<'static, Any>,
    now_ms: i64,
}

impl Writing {
    async fn commit(self) -> Result<(), StoreError> {
        Ok(self.transaction.commit().await?)
    }
}

/// A new id: the prefix says what it names.
fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The connections that are open may add no page.
    async fn fill(store: &Store) {
        let mut held = Vec::new();
        for _ in 0..store.backend.connections_max() {
            held.push(store.pool.acquire().await.unwrap());
        }
        for connection in &mut held {
            sqlx::query("PRAGMA max_page_count = 1").execute(&mut **connection).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_disk_that_was_full_is_written_to_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite:{}", folder.path().join("s.db").display())).await.unwrap();
        let large = || NewEval {
            name: "large".to_owned(),
            spec: json!("x".repeat(100_000)),
            metadata: json!({}),
            owner: None,
        };
        fill(&store).await;
        // A connection that met its end is closed; one that is opened in its place is bound by nothing: there is room again.
        for attempt in 0..=store.backend.connections_max() {
            match store.create_eval(large()).await {
                Ok(_) => return assert!(attempt > 0, "there was no end of it"),
                Err(error) => assert!(matches!(error, StoreError::Full { .. }), "{error}"),
            }
        }
        panic!("the store stays full");
    }
}
