//! Runs: made with all their tasks at once, read one by one or a page at a time.

use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::error::StoreError;
use super::evals::{json, plain};
use super::page::{Order, Page, Paged, before_all, one_more};
use super::states::RunStatus;
use super::{Store, Writing, new_id};

#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    pub eval: String,
    pub name: String,
    /// Workers that have this model may work on it.
    pub model: String,
    pub spec: Value,
    pub metadata: Value,
    /// By what its maker's key is known.
    pub owner: Option<String>,
    /// In the order in which they are worked on.
    pub tasks: Vec<NewTask>,
    pub samples_per_task: u32,
}

/// One problem in one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    pub language: String,
    pub problem: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    pub id: String,
    pub eval: String,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub started_ms: Option<i64>,
    pub finished_ms: Option<i64>,
    pub name: String,
    pub model: String,
    pub status: RunStatus,
    pub spec: Value,
    pub metadata: Value,
    /// What the first worker wrote down of what it measures with.
    pub record: Option<Value>,
    /// Of a completed run.
    pub results: Option<Value>,
    /// What lists show of them; `None` for a run that an older build completed.
    pub scores: Option<Value>,
    pub error: Option<String>,
    pub samples_per_task: i64,
    pub samples_total: i64,
    pub samples_done: i64,
    pub passed: i64,
    pub failed: i64,
    pub errored: i64,
    pub completion_tokens: i64,
    /// Of tasks that have ended or were given back; the samples of one request share its prompt.
    pub prompt_tokens: i64,
    /// Tasks refused since one was served.
    pub refusals: i64,
    /// Number of the last thing that happened: a change of anything changes it.
    pub sequence: i64,
    pub owner: Option<String>,
}

/// Tasks of one run at most: more would not be an evaluation but an accident.
const TASKS_MAX: usize = 1_000_000;

/// Rows of one statement; SQLite takes 32,766 values in one.
const ROWS_AT_ONCE: usize = 500;

/// A run in a list of those of all evals.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedRun {
    pub run: RunRow,
    pub eval_name: String,
}

/// Which runs of all evals; `None` leaves a field open.
#[derive(Debug, Clone, Default)]
pub struct RunFilter<'a> {
    pub status: Option<RunStatus>,
    pub model: Option<&'a str>,
    /// Those whose eval has exactly this spec.
    pub eval_spec: Option<&'a Value>,
    /// Those of some models alone.
    pub models: Option<&'a [String]>,
}

/// What lists read: without the record and the results, which are long.
macro_rules! listed {
    ($rest:literal) => {
        listed!("", $rest)
    };
    ($more:literal, $rest:literal) => {
        concat!(
            "SELECT id, eval, created_ms, updated_ms, started_ms, finished_ms, name, model, status, spec, metadata, \
             CAST(NULL AS TEXT) AS record, CAST(NULL AS TEXT) AS results, scores, error, samples_per_task, \
             samples_total, samples_done, passed, failed, errored, completion_tokens, prompt_tokens, \
             refusals, sequence, owner",
            $more,
            " FROM runs ",
            $rest
        )
    };
}

const AFTER: &str = listed!("WHERE eval = $1 AND (created_ms, id) > ($2, $3) AND ($4 = '' OR status = $4)");
const BEFORE: &str = listed!("WHERE eval = $1 AND (created_ms, id) < ($2, $3) AND ($4 = '' OR status = $4)");
const OF_ALL: &str = listed!(
    ", (SELECT evals.name FROM evals WHERE evals.id = runs.eval) AS eval_name",
    "WHERE ($3 = '' OR status = $3) AND ($4 = '' OR model = $4) \
     AND ($5 = '' OR eval IN (SELECT evals.id FROM evals WHERE evals.spec = $5))"
);
const ACTIVE: &str = listed!("WHERE status IN ('queued', 'in_progress') ORDER BY created_ms, id LIMIT $1");

impl Store {
    /// # Errors
    /// `NotFound` for the eval; `Invalid`.
    pub async fn create_run(&self, new: NewRun) -> Result<RunRow, StoreError> {
        self.eval(&new.eval).await?;
        new.check()?;
        let mut writing = self.begin().await?;
        let id = new_id("evalrun");
        sqlx::query(
            "INSERT INTO runs (id, eval, created_ms, updated_ms, name, model, status, spec, metadata, \
             samples_per_task, samples_total, owner) VALUES ($1, $2, $3, $3, $4, $5, 'queued', $6, $7, $8, $9, $10)",
        )
        .bind(&id)
        .bind(&new.eval)
        .bind(writing.now_ms)
        .bind(&new.name)
        .bind(&new.model)
        .bind(new.spec.to_string())
        .bind(new.metadata.to_string())
        .bind(i64::from(new.samples_per_task))
        .bind(new.tasks.len() as i64 * i64::from(new.samples_per_task))
        .bind(&new.owner)
        .execute(&mut *writing.transaction)
        .await?;
        writing.insert_tasks(&id, &new.tasks).await?;
        writing.commit().await?;
        self.run(&id).await
    }

    /// # Errors
    /// `NotFound`.
    pub async fn run(&self, id: &str) -> Result<RunRow, StoreError> {
        let row = sqlx::query("SELECT * FROM runs WHERE id = $1").bind(id).fetch_optional(&self.pool).await?;
        RunRow::read(&row.ok_or_else(|| StoreError::not_found("run", id))?)
    }

    /// The runs of an eval by age, all of them or those of one status and of some models, without records and results.
    ///
    /// # Errors
    /// `NotFound`, if the page begins after a run that is not there.
    pub async fn runs(
        &self,
        eval: &str,
        status: Option<RunStatus>,
        models: Option<&[String]>,
        page: &Page,
    ) -> Result<Paged<RunRow>, StoreError> {
        let (created_ms, id) = match &page.after {
            None => before_all(page.order),
            Some(id) => (self.run(id).await?.created_ms, id.clone()),
        };
        let (listed, by_age) = match page.order {
            Order::Ascending => (AFTER, "ORDER BY created_ms, id"),
            Order::Descending => (BEFORE, "ORDER BY created_ms DESC, id DESC"),
        };
        let of_models = models.map(|models| of_models(models, 6)).unwrap_or_default();
        // Made of constants and numbers alone.
        let mut query = sqlx::query(AssertSqlSafe(format!("{listed} {of_models} {by_age} LIMIT $5")))
            .bind(eval)
            .bind(created_ms)
            .bind(id)
            .bind(status.map_or("", RunStatus::as_str))
            .bind(one_more(page.limit));
        for model in models.unwrap_or_default() {
            query = query.bind(model);
        }
        let rows = query.fetch_all(&self.pool).await?;
        Ok(Paged::of(rows.iter().map(RunRow::read).collect::<Result<_, _>>()?, page.limit))
    }

    /// The runs of all evals by age, without records and results.
    ///
    /// # Errors
    /// `NotFound`, if the page begins after a run that is not there.
    pub async fn runs_of_all(
        &self,
        filter: &RunFilter<'_>,
        page: &Page,
    ) -> Result<Paged<ListedRun>, StoreError> {
        let (created_ms, id) = match &page.after {
            None => before_all(page.order),
            Some(id) => (self.run(id).await?.created_ms, id.clone()),
        };
        let by_age = match page.order {
            Order::Ascending => "AND (created_ms, id) > ($1, $2) ORDER BY created_ms, id",
            Order::Descending => "AND (created_ms, id) < ($1, $2) ORDER BY created_ms DESC, id DESC",
        };
        let of_models = filter.models.map(|models| of_models(models, 7)).unwrap_or_default();
        // Made of constants and numbers alone.
        let mut query = sqlx::query(AssertSqlSafe(format!("{OF_ALL} {of_models} {by_age} LIMIT $6")))
            .bind(created_ms)
            .bind(id)
            .bind(filter.status.map_or("", RunStatus::as_str))
            .bind(filter.model.unwrap_or_default())
            .bind(filter.eval_spec.map(Value::to_string).unwrap_or_default())
            .bind(one_more(page.limit));
        for model in filter.models.unwrap_or_default() {
            query = query.bind(model);
        }
        let rows = query.fetch_all(&self.pool).await?;
        let read =
            |row: &AnyRow| Ok(ListedRun { run: RunRow::read(row)?, eval_name: row.try_get("eval_name")? });
        Ok(Paged::of(rows.iter().map(read).collect::<Result<_, StoreError>>()?, page.limit))
    }

    /// Runs that workers may work on, oldest first, a limited number of them.
    pub async fn active_runs(&self, limit: usize) -> Result<Vec<RunRow>, StoreError> {
        let rows = sqlx::query(ACTIVE).bind(limit as i64).fetch_all(&self.pool).await?;
        rows.iter().map(RunRow::read).collect()
    }

    /// How many runs of one owner wait or run.
    pub async fn active_runs_of(&self, owner: &str) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) FROM runs WHERE owner = $1 AND status IN ('queued', 'in_progress')";
        Ok(sqlx::query_scalar(sql).bind(owner).fetch_one(&self.pool).await?)
    }

    /// Whether an eval has a run of another owner than this one.
    pub async fn has_runs_of_others(&self, eval: &str, owner: Option<&str>) -> Result<bool, StoreError> {
        let sql = "SELECT COUNT(*) FROM runs WHERE eval = $1 AND COALESCE(owner, '') <> $2";
        let others: i64 =
            sqlx::query_scalar(sql).bind(eval).bind(owner.unwrap_or_default()).fetch_one(&self.pool).await?;
        Ok(others > 0)
    }

    /// Count prompts of a run, whoever holds its tasks by now: they were read all the same.
    pub async fn add_prompt_tokens(&self, run: &str, tokens: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE runs SET prompt_tokens = prompt_tokens + $1 WHERE id = $2")
            .bind(i64::try_from(tokens).unwrap_or(i64::MAX))
            .bind(run)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Delete a run with its samples. Workers on it lose their leases.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_run(&self, id: &str) -> Result<(), StoreError> {
        let deleted = sqlx::query("DELETE FROM runs WHERE id = $1").bind(id).execute(&self.pool).await?;
        if deleted.rows_affected() == 0 { Err(StoreError::not_found("run", id)) } else { Ok(()) }
    }
}

/// A condition that holds for runs of so many models, whose names are bound from this place on.
fn of_models(models: &[String], first: usize) -> String {
    if models.is_empty() {
        return "AND 1 = 0".to_owned();
    }
    let places: Vec<String> = (first..first + models.len()).map(|place| format!("${place}")).collect();
    format!("AND model IN ({})", places.join(", "))
}

impl NewRun {
    fn check(&self) -> Result<(), StoreError> {
        plain("name", &self.name)?;
        plain("model", &self.model)?;
        if self.tasks.is_empty() || self.tasks.len() > TASKS_MAX {
            let message = format!("a run has 1 to {TASKS_MAX} of them, not {}", self.tasks.len());
            return Err(StoreError::Invalid { field: "tasks", message });
        }
        self.tasks.iter().try_for_each(|task| plain("problem", &task.problem))
    }
}

impl Writing {
    async fn insert_tasks(&mut self, run: &str, tasks: &[NewTask]) -> Result<(), StoreError> {
        for (chunk, tasks) in tasks.chunks(ROWS_AT_ONCE).enumerate() {
            let rows: Vec<String> = (0..tasks.len())
                .map(|row| {
                    let first = row * 3 + 2;
                    format!("($1, ${first}, ${}, ${})", first + 1, first + 2)
                })
                .collect();
            let sql =
                format!("INSERT INTO tasks (run, position, language, problem) VALUES {}", rows.join(", "));
            // Made of numbers alone.
            let mut query = sqlx::query(AssertSqlSafe(sql)).bind(run);
            for (row, task) in tasks.iter().enumerate() {
                let position = (chunk * ROWS_AT_ONCE + row) as i64;
                query = query.bind(position).bind(&task.language).bind(&task.problem);
            }
            query.execute(&mut *self.transaction).await?;
        }
        Ok(())
    }
}

impl RunRow {
    pub(super) fn read(row: &AnyRow) -> Result<Self, StoreError> {
        let id: String = row.try_get("id")?;
        let status: String = row.try_get("status")?;
        let damaged = |field| {
            let what = id.clone();
            move |message| StoreError::Damaged { what, field, message }
        };
        let optional = |field: &'static str| -> Result<Option<Value>, StoreError> {
            let text: Option<String> = row.try_get(field)?;
            let parsed = text.map(|text| serde_json::from_str(&text)).transpose();
            parsed.map_err(|error| damaged(field)(error.to_string()))
        };
        Ok(Self {
            eval: row.try_get("eval")?,
            created_ms: row.try_get("created_ms")?,
            updated_ms: row.try_get("updated_ms")?,
            started_ms: row.try_get("started_ms")?,
            finished_ms: row.try_get("finished_ms")?,
            name: row.try_get("name")?,
            model: row.try_get("model")?,
            status: status.parse().map_err(damaged("status"))?,
            spec: json(row, &id, "spec")?,
            metadata: json(row, &id, "metadata")?,
            record: optional("record")?,
            results: optional("results")?,
            scores: optional("scores")?,
            error: row.try_get("error")?,
            samples_per_task: row.try_get("samples_per_task")?,
            samples_total: row.try_get("samples_total")?,
            samples_done: row.try_get("samples_done")?,
            passed: row.try_get("passed")?,
            failed: row.try_get("failed")?,
            errored: row.try_get("errored")?,
            completion_tokens: row.try_get("completion_tokens")?,
            prompt_tokens: row.try_get("prompt_tokens")?,
            refusals: row.try_get("refusals")?,
            sequence: row.try_get("sequence")?,
            owner: row.try_get("owner")?,
            id,
        })
    }
}
