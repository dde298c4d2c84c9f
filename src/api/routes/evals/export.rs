//! A run as a file, in the forms of `xenoglot eval export`.

use std::path::Path as FilePath;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, stream};

use super::query::Pairs;
use super::runs::run_of;
use crate::api::error::ApiError;
use crate::api::request_log::RequestLog;
use crate::api::state::AppState;
use crate::eval::export::{SampleRows, lm_eval, markdown};
use crate::eval::{EvalError, RunFile};
use crate::jobs::{JobError, MeasuredRun, SamplePages, run_file};
use crate::protocol::ErrorResponse;
use crate::store::{RunRow, Store};

/// A run as a file: its samples with their completions as JSON lines (`jsonl`) or a table (`csv`), those there are so far; or the
/// results of a run that is complete as `markdown` or in the shape of lm-evaluation-harness (`lm-eval`).
#[utoipa::path(
    get,
    path = "/v1/evals/{eval_id}/runs/{run_id}/export",
    tag = "evals",
    params(
        ("eval_id" = String, Path),
        ("run_id" = String, Path),
        ("format" = String, Query, description = "`jsonl`, `csv`, `markdown` or `lm-eval`")
    ),
    responses(
        (status = 200, description = "The file", body = String, content_type = "application/octet-stream"),
        (status = 400, body = ErrorResponse),
        (status = 404, body = ErrorResponse),
        (status = 409, description = "There is nothing of it yet, or no results", body = ErrorResponse)
    )
)]
pub async fn export_run(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path((eval_id, run_id)): Path<(String, String)>,
    query: Pairs,
) -> Result<Response, ApiError> {
    let query = query.only(&["format"])?;
    let evals = state.evals()?;
    let format = query.get("format").unwrap_or_default();
    let (kind, ending) = match format {
        "jsonl" => ("application/jsonl", "jsonl"),
        "csv" => ("text/csv; charset=utf-8", "csv"),
        "markdown" => ("text/markdown; charset=utf-8", "md"),
        "lm-eval" => ("application/json", "json"),
        _ => {
            let message = "`format` must be `jsonl`, `csv`, `markdown` or `lm-eval`";
            return Err(ApiError::invalid("format", message));
        }
    };
    let run = run_of(evals, &log, &eval_id, &run_id).await?;
    let body = match format {
        "jsonl" => samples(&evals.store, &run, SampleRows::jsonl)?,
        "csv" => samples(&evals.store, &run, SampleRows::csv)?,
        "markdown" => {
            let (file, name) = (finished(&run)?, run.id.clone());
            results(&state, move |out| markdown(&file, FilePath::new(&name), out)).await?
        }
        _ => {
            let (_, name) = (finished(&run)?, run.id.clone());
            let _turn = evals.turn_to_read().await?;
            let MeasuredRun { file, tallies, .. } = MeasuredRun::read(&evals.store, &run).await?;
            results(&state, move |out| lm_eval(&file, FilePath::new(&name), &tallies, out)).await?
        }
    };
    Ok((attachment(kind, &format!("{}.{ending}", run.id)), body).into_response())
}

/// Saved under this name, which is of plain characters.
fn attachment(kind: &str, name: &str) -> [(HeaderName, String); 2] {
    let disposition = format!("attachment; filename=\"{name}\"");
    [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)]
}

fn finished(run: &RunRow) -> Result<RunFile, ApiError> {
    let file = run_file(run)?;
    if file.results.is_some() {
        return Ok(file);
    }
    let message = format!("the run `{}` is {}: it has no results until it is complete", run.id, run.status);
    Err(ApiError::conflict(message))
}

async fn results(
    state: &AppState,
    write: impl FnOnce(&mut dyn std::io::Write) -> Result<usize, EvalError> + Send + 'static,
) -> Result<Body, ApiError> {
    let written = state.blocking(move || {
        let mut text = Vec::new();
        write(&mut text).map(|_| text)
    });
    Ok(Body::from(written.await??))
}

/// Where a download stands.
struct Download {
    pages: SamplePages,
    rows: SampleRows,
}

fn samples(store: &Store, run: &RunRow, rows: fn(RunFile) -> SampleRows) -> Result<Body, ApiError> {
    let rows = rows(run_file(run)?);
    // What stands before all samples.
    let first = rows.first()?;
    let download = Download { pages: SamplePages::new(store, run), rows };
    Ok(Body::from_stream(pieces(first, download)))
}

fn pieces(first: Vec<u8>, download: Download) -> impl Stream<Item = Result<Vec<u8>, JobError>> {
    stream::unfold((Some(first), Some(download)), |(first, download)| async move {
        if let Some(first) = first {
            return Some((Ok(first), (None, download)));
        }
        let mut download = download?;
        match download.next().await {
            Ok(piece) => Some((Ok(piece?), (None, Some(download)))),
            Err(error) => {
                // The connection breaks off, so that nobody takes what came for the whole.
                tracing::error!(%error, "an export could not go on");
                Some((Err(error), (None, None)))
            }
        }
    })
}

impl Download {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, JobError> {
        let Some(records) = self.pages.piece().await? else { return Ok(None) };
        Ok(Some(self.rows.some(&records)?))
    }
}
