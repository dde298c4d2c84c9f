//! Evaluations: a name and what is to be measured, which runs then do.

use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::error::StoreError;
use super::page::{Order, Page, Paged, before_all, one_more};
use super::{Store, new_id};

#[derive(Debug, Clone, PartialEq)]
pub struct NewEval {
    pub name: String,
    pub spec: Value,
    pub metadata: Value,
    /// By what its maker's key is known.
    pub owner: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct EvalRow {
    pub id: String,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub name: String,
    pub spec: Value,
    pub metadata: Value,
    pub owner: Option<String>,
}

const OLDEST: &str = "SELECT * FROM evals WHERE (created_ms, id) > ($1, $2) ORDER BY created_ms, id LIMIT $3";
const NEWEST: &str =
    "SELECT * FROM evals WHERE (created_ms, id) < ($1, $2) ORDER BY created_ms DESC, id DESC LIMIT $3";

impl Store {
    pub async fn create_eval(&self, new: NewEval) -> Result<EvalRow, StoreError> {
        plain("name", &new.name)?;
        let mut writing = self.begin().await?;
        let id = new_id("eval");
        sqlx::query(
            "INSERT INTO evals (id, created_ms, updated_ms, name, spec, metadata, owner) \
             VALUES ($1, $2, $2, $3, $4, $5, $6)",
        )
        .bind(&id)
        .bind(writing.now_ms)
        .bind(&new.name)
        .bind(new.spec.to_string())
        .bind(new.metadata.to_string())
        .bind(&new.owner)
        .execute(&mut *writing.transaction)
        .await?;
        let (created_ms, NewEval { name, spec, metadata, owner }) = (writing.now_ms, new);
        writing.commit().await?;
        Ok(EvalRow { id, created_ms, updated_ms: created_ms, name, spec, metadata, owner })
    }

    /// # Errors
    /// `NotFound`.
    pub async fn eval(&self, id: &str) -> Result<EvalRow, StoreError> {
        let row =
            sqlx::query("SELECT * FROM evals WHERE id = $1").bind(id).fetch_optional(&self.pool).await?;
        eval_row(&row.ok_or_else(|| StoreError::not_found("eval", id))?)
    }

    /// Evals by age.
    ///
    /// # Errors
    /// `NotFound`, if the page begins after an eval that is not there.
    pub async fn evals(&self, page: &Page) -> Result<Paged<EvalRow>, StoreError> {
        let (created_ms, id) = match &page.after {
            None => before_all(page.order),
            Some(id) => (self.eval(id).await?.created_ms, id.clone()),
        };
        let sql = if page.order == Order::Ascending { OLDEST } else { NEWEST };
        let query = sqlx::query(sql).bind(created_ms).bind(id).bind(one_more(page.limit));
        let rows = query.fetch_all(&self.pool).await?;
        Ok(Paged::of(rows.iter().map(eval_row).collect::<Result<_, _>>()?, page.limit))
    }

    /// Give an eval another name or other metadata; `None` leaves it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn update_eval(
        &self,
        id: &str,
        name: Option<String>,
        metadata: Option<Value>,
    ) -> Result<EvalRow, StoreError> {
        let eval = self.eval(id).await?;
        let (name, metadata) = (name.unwrap_or(eval.name), metadata.unwrap_or(eval.metadata));
        plain("name", &name)?;
        let mut writing = self.begin().await?;
        sqlx::query("UPDATE evals SET name = $1, metadata = $2, updated_ms = $3 WHERE id = $4")
            .bind(&name)
            .bind(metadata.to_string())
            .bind(writing.now_ms)
            .bind(id)
            .execute(&mut *writing.transaction)
            .await?;
        writing.commit().await?;
        self.eval(id).await
    }

    /// Delete an eval with its runs and all they hold. Workers on one of them lose their leases.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_eval(&self, id: &str) -> Result<(), StoreError> {
        let deleted = sqlx::query("DELETE FROM evals WHERE id = $1").bind(id).execute(&self.pool).await?;
        if deleted.rows_affected() == 0 { Err(StoreError::not_found("eval", id)) } else { Ok(()) }
    }
}

fn eval_row(row: &AnyRow) -> Result<EvalRow, StoreError> {
    let id: String = row.try_get("id")?;
    Ok(EvalRow {
        created_ms: row.try_get("created_ms")?,
        updated_ms: row.try_get("updated_ms")?,
        name: row.try_get("name")?,
        spec: json(row, &id, "spec")?,
        metadata: json(row, &id, "metadata")?,
        owner: row.try_get("owner")?,
        id,
    })
}

/// A column of JSON.
pub(super) fn json(row: &AnyRow, id: &str, field: &'static str) -> Result<Value, StoreError> {
    let text: String = row.try_get(field)?;
    serde_json::from_str(&text).map_err(|error| StoreError::Damaged {
        what: id.to_owned(),
        field,
        message: error.to_string(),
    })
}

const CHARACTERS_MAX: usize = 1000;

/// PostgreSQL takes no NUL in a text, and no person reads one.
pub(super) fn plain(field: &'static str, text: &str) -> Result<(), StoreError> {
    let invalid = |message: String| Err(StoreError::Invalid { field, message });
    if text.contains(char::is_control) {
        return invalid("must hold no control characters".to_owned());
    }
    if text.chars().count() > CHARACTERS_MAX {
        return invalid(format!("must have at most {CHARACTERS_MAX} characters"));
    }
    Ok(())
}
