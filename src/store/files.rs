//! Uploaded files: names, purposes and sizes. Their bytes are not here.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::Store;
use super::error::StoreError;
use super::page::{Order, Page, Paged, before_all, one_more};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    pub id: String,
    pub created_ms: i64,
    /// As it was uploaded.
    pub name: String,
    pub purpose: String,
    pub bytes: i64,
}

/// An empty purpose is every purpose.
const OLDEST: &str = "SELECT * FROM files WHERE ($1 = '' OR purpose = $1) AND (created_ms, id) > ($2, $3) \
    ORDER BY created_ms, id LIMIT $4";
const NEWEST: &str = "SELECT * FROM files WHERE ($1 = '' OR purpose = $1) AND (created_ms, id) < ($2, $3) \
    ORDER BY created_ms DESC, id DESC LIMIT $4";

impl Store {
    /// A file whose bytes are in place.
    pub async fn create_file(
        &self,
        id: &str,
        name: &str,
        purpose: &str,
        bytes: u64,
    ) -> Result<FileRow, StoreError> {
        let mut writing = self.begin().await?;
        sqlx::query("INSERT INTO files (id, created_ms, name, purpose, bytes) VALUES ($1, $2, $3, $4, $5)")
            .bind(id)
            .bind(writing.now_ms)
            .bind(name)
            .bind(purpose)
            .bind(i64::try_from(bytes).unwrap_or(i64::MAX))
            .execute(&mut *writing.transaction)
            .await?;
        writing.commit().await?;
        self.file(id).await
    }

    /// # Errors
    /// `NotFound`.
    pub async fn file(&self, id: &str) -> Result<FileRow, StoreError> {
        let row =
            sqlx::query("SELECT * FROM files WHERE id = $1").bind(id).fetch_optional(&self.pool).await?;
        file_row(&row.ok_or_else(|| StoreError::not_found("file", id))?)
    }

    /// Files by age, of one purpose or of all.
    ///
    /// # Errors
    /// `NotFound`, if the page begins after one that is not there.
    pub async fn files(&self, purpose: Option<&str>, page: &Page) -> Result<Paged<FileRow>, StoreError> {
        let (created_ms, id) = match &page.after {
            None => before_all(page.order),
            Some(id) => (self.file(id).await?.created_ms, id.clone()),
        };
        let sql = if page.order == Order::Ascending { OLDEST } else { NEWEST };
        let query = sqlx::query(sql).bind(purpose.unwrap_or_default().to_owned()).bind(created_ms).bind(id);
        let rows = query.bind(one_more(page.limit)).fetch_all(&self.pool).await?;
        Ok(Paged::of(rows.iter().map(file_row).collect::<Result<_, _>>()?, page.limit))
    }

    /// # Errors
    /// `NotFound`.
    pub async fn delete_file(&self, id: &str) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM files WHERE id = $1").bind(id).execute(&self.pool).await?;
        if done.rows_affected() == 0 { Err(StoreError::not_found("file", id)) } else { Ok(()) }
    }
}

fn file_row(row: &AnyRow) -> Result<FileRow, StoreError> {
    Ok(FileRow {
        id: row.try_get("id")?,
        created_ms: row.try_get("created_ms")?,
        name: row.try_get("name")?,
        purpose: row.try_get("purpose")?,
        bytes: row.try_get("bytes")?,
    })
}
