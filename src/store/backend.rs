//! What differs between the two databases: their URLs, their clocks, and the settings of a connection.

use std::fmt::Write;
use std::path::PathBuf;

use sqlx::{AnyConnection, Executor};

use super::error::StoreError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// Whether a database that is not there is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Made,
    Existing,
}

impl Access {
    /// As SQLite calls it.
    fn mode(self) -> &'static str {
        match self {
            Self::Made => "rwc",
            // To read a file in WAL mode its index is written.
            Self::Existing => "rw",
        }
    }
}

/// A writer waits so long for another one's transaction.
const SQLITE_PRAGMAS: &str = "PRAGMA busy_timeout = 20000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
                              PRAGMA foreign_keys = ON";

impl Backend {
    /// The backend of a URL, and the URL as its driver wants it.
    ///
    /// # Errors
    /// `Url`; `Io`, if the folder of an SQLite file cannot be made; `NoDatabase`, if a file that must be there is not.
    pub fn from_url(url: &str, access: Access) -> Result<(Self, String), StoreError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok((Self::Postgres, url.to_owned()));
        }
        let wrong = |message: &str| StoreError::Url { message: message.to_owned() };
        let Some(path) = url.strip_prefix("sqlite:") else {
            return Err(wrong("it begins with neither `sqlite:` nor `postgres://`"));
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.contains([':', '?']) {
            return Err(wrong(
                "an SQLite store is a file: write `sqlite:` and its path, without `:` and `?`",
            ));
        }
        let path = std::path::absolute(PathBuf::from(path)).map_err(StoreError::io(path))?;
        match access {
            Access::Existing if !path.is_file() => return Err(StoreError::NoDatabase { path }),
            Access::Existing => {}
            Access::Made => {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
                }
            }
        }
        let path = path.to_str().ok_or_else(|| wrong("the path is not UTF-8"))?;
        Ok((Self::Sqlite, format!("sqlite://{}?mode={}", percent_encoded(path), access.mode())))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }

    pub fn connections_max(self) -> u32 {
        match self {
            // One writes at a time; the others read.
            Self::Sqlite => 4,
            Self::Postgres => 8,
        }
    }

    /// Milliseconds since 1970.
    pub fn now(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)",
            Self::Postgres => "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
        }
    }

    /// Settings of a new connection.
    pub async fn prepare(self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite => connection.execute(SQLITE_PRAGMAS).await.map(drop),
            // Sleeping locks must not hold a worker for ever.
            Self::Postgres => connection.execute("SET lock_timeout = '20s'").await.map(drop),
        }
    }
}

fn percent_encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let folder = tempfile::tempdir().unwrap();
        let check = |url: &str, expected: Result<Backend, &str>| {
            let url = url.replace("DIR", folder.path().to_str().unwrap());
            match (Backend::from_url(&url, Access::Made), expected) {
                (Ok((found, _)), Ok(backend)) => assert_eq!(found, backend, "{url}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{url}: {error}"),
                (found, _) => panic!("{url}: {found:?}"),
            }
        };
        check("postgres://me@localhost/db", Ok(Backend::Postgres));
        check("postgresql://me:secret@localhost/db", Ok(Backend::Postgres));
        check("sqlite:DIR/a b/ü.db", Ok(Backend::Sqlite));
        check("sqlite://DIR/x.db", Ok(Backend::Sqlite));
        check("sqlite:", Err("is a file"));
        check("sqlite::memory:", Err("is a file"));
        check("mysql://localhost/db", Err("neither"));
        check("/tmp/x.db", Err("neither"));
        let absent = format!("sqlite:{}/deep/er.db", folder.path().display());
        let error = Backend::from_url(&absent, Access::Existing).unwrap_err();
        assert!(matches!(error, StoreError::NoDatabase { .. }) && !folder.path().join("deep").exists());
    }
}
