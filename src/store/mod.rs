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
mod lease;
mod migrate;
mod page;
mod runs;
mod samples;
mod states;
mod tasks;

use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyPool, Transaction};

pub use error::StoreError;
pub use evals::{EvalRow, NewEval};
pub use events::{Happening, HappeningKind};
pub use lease::Lease;
pub use page::{Order, Page, Paged};
pub use runs::{NewRun, NewTask, RunRow};
pub use samples::{ItemKey, ItemPage, NewSample, SampleRow, SampleStatus};
pub use states::RunStatus;
pub use tasks::Undone;

use backend::Backend;

/// An open database; clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    backend: Backend,
}

/// How long a connection is waited for before the database counts as out of reach.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Store {
    /// Open the database at `sqlite:PATH` (made if it is not there) or `postgres://..`, and bring its tables up to date.
    ///
    /// # Errors
    /// `Url`, `Unreachable`, or `Migration` if another version of xenoglot made what is there.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let (backend, url) = Backend::from_url(url)?;
        sqlx::any::install_default_drivers();
        let pool = AnyPoolOptions::new()
            .max_connections(backend.connections_max())
            .acquire_timeout(CONNECT_TIMEOUT)
            .after_connect(move |connection, _| Box::pin(backend.prepare(connection)))
            .connect(&url)
            .await
            .map_err(|error| StoreError::unreachable(backend, &error))?;
        let store = Self { pool, backend };
        store.migrate().await?;
        Ok(store)
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
