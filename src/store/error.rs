//! What the store can say no to, each with the way out. Names no password: a URL is never part of a message.

use std::path::PathBuf;

use super::backend::Backend;
use super::states::RunStatus;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "store: the URL does not work: {message}. Write `sqlite:PATH` or `postgres://USER@HOST/DATABASE`"
    )]
    Url { message: String },
    #[error("store: there is no database at {path}")]
    NoDatabase { path: PathBuf },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("store: {backend} does not answer: {message}")]
    Unreachable { backend: &'static str, message: String },
    #[error("store: {message}")]
    Migration { message: String },
    #[error("there is no {what} `{id}`")]
    NotFound { what: &'static str, id: String },
    #[error("the run `{id}` is {status}: it cannot be {wanted} any more")]
    WrongStatus { id: String, status: RunStatus, wanted: &'static str },
    /// Another worker has the task now, or its run is gone: what was made of it must be thrown away.
    #[error("the lease on task {position} of the run `{run}` is lost")]
    LeaseLost { run: String, position: i64 },
    #[error("{field}: {message}")]
    Invalid { field: &'static str, message: String },
    /// What is there was not written by this program.
    #[error("store: {field} of {what} cannot be read: {message}")]
    Damaged { what: String, field: &'static str, message: String },
    #[error(
        "store: the disk of the database is full; free some space, and what was stopped can go on: {message}"
    )]
    Full { message: String },
    #[error("store: {message}")]
    Database { message: String },
}

impl StoreError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(super) fn unreachable(backend: Backend, error: &sqlx::Error) -> Self {
        Self::Unreachable { backend: backend.name(), message: error.to_string() }
    }

    pub(super) fn not_found(what: &'static str, id: &str) -> Self {
        Self::NotFound { what, id: id.chars().take(200).collect() }
    }
}

/// SQLite's `SQLITE_FULL` and PostgreSQL's `disk_full`.
const FULL: [&str; 2] = ["13", "53100"];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let message = error.to_string();
        match &error {
            sqlx::Error::Database(inner) if inner.code().is_some_and(|code| FULL.contains(&&*code)) => {
                Self::Full { message }
            }
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) => {
                Self::Unreachable { backend: "the database", message }
            }
            _ => Self::Database { message },
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AnyConnection, Connection, Executor};

    use super::*;

    #[tokio::test]
    async fn a_full_disk_is_told_apart() {
        sqlx::any::install_default_drivers();
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("full.db").display());
        let mut connection = AnyConnection::connect(&url).await.unwrap();
        connection.execute("CREATE TABLE t (x TEXT); PRAGMA max_page_count = 10").await.unwrap();
        let error = connection.execute("INSERT INTO t VALUES (hex(zeroblob(1000000)))").await.unwrap_err();
        assert!(matches!(StoreError::from(error), StoreError::Full { .. }));
        let error = connection.execute("INSERT INTO u VALUES (1)").await.unwrap_err();
        assert!(matches!(StoreError::from(error), StoreError::Database { .. }));
    }
}
