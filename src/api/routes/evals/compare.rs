//! Two runs side by side, as `xenoglot eval compare` has them.

use std::path::Path as FilePath;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::ownership::may_see;
use super::query::Pairs;
use super::runs::run_of;
use super::shape;
use crate::api::error::ApiError;
use crate::api::etag;
use crate::api::request_log::RequestLog;
use crate::api::state::AppState;
use crate::eval::compare::{
    CompareOptions, Comparison, LanguageComparison, Measured, ProblemPair, Which, compare_measured,
};
use crate::eval::{EvalError, Metric};
use crate::jobs::MeasuredRun;
use crate::protocol::ErrorResponse;
use crate::protocol::eval_comparisons::{
    ComparedAgreement, ComparedLanguage, ComparedPoint, ComparedProblem, ComparedRun, DominatedLanguages,
    RunComparison,
};
use crate::protocol::eval_tables::ScoreInterval;
use crate::score::statistics::Point;
use crate::store::RunRow;

/// A run (A) and another one (B, `with`), paired problem by problem: differences with intervals, what is chance, who leads whom, and
/// on which problems they differ. Send the `ETag` back in `If-None-Match`, and nothing new is 304.
#[utoipa::path(
    get,
    path = "/v1/evals/{eval_id}/runs/{run_id}/compare",
    tag = "evals",
    params(
        ("eval_id" = String, Path),
        ("run_id" = String, Path),
        ("with" = String, Query, description = "The id of the other run, of any eval"),
        ("metric" = Option<String>, Query, description = "`pass@K`, `consistent_pass@K` or `following`; `pass@1` by default"),
        ("seed" = Option<u64>, Query, description = "Of the bootstrap and the permutations; 0 by default"),
        ("force" = Option<bool>, Query, description = "Compare though the suites' digests differ, by ids and languages"),
        ("problems" = Option<u32>, Query, description = "Problems of each list at most: 100 by default, up to 1,000"),
        ("If-None-Match" = Option<String>, Header)
    ),
    responses(
        (status = 200, body = RunComparison, headers(("ETag" = String))),
        (status = 304, description = "Nothing is new"),
        (status = 400, body = ErrorResponse),
        (status = 404, body = ErrorResponse),
        (status = 409, description = "No worker has begun one of the runs", body = ErrorResponse)
    )
)]
pub async fn compare_runs(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    Path((eval_id, run_id)): Path<(String, String)>,
    headers: HeaderMap,
    query: Pairs,
) -> Result<Response, ApiError> {
    let query = query.only(&["with", "metric", "seed", "force", "problems"])?;
    let (options, metric, most) = (options(&query)?, metric(&query), problems_max(&query)?);
    let evals = state.evals()?;
    let a = run_of(evals, &log, &eval_id, &run_id).await?;
    let other = query
        .get("with")
        .ok_or_else(|| ApiError::invalid("with", "`with` must be the id of the run to compare with"))?;
    let b = evals.store.run(other).await?;
    if !may_see(&log, &b) {
        return Err(ApiError::not_found("run", other));
    }
    let tag = format!("\"{}-{}\"", a.sequence, b.sequence);
    if etag::matches(&headers, &tag) {
        return Ok(etag::not_modified(&tag));
    }
    let turn = evals.turn_to_read().await?;
    let first = MeasuredRun::read(&evals.store, &a).await?;
    let second = MeasuredRun::read(&evals.store, &b).await?;
    // The bootstrap takes a moment.
    let compared = state
        .blocking(move || {
            // Until the two are done with, whether the client waits or not.
            let _turn = turn;
            let found = compare_measured(measured(&a.id, &first), measured(&b.id, &second), &options);
            let found = found.map_err(wrong)?;
            let runs = [(&a, &first), (&b, &second)];
            Ok::<_, ApiError>(shown(&found, metric, runs, most))
        })
        .await??;
    Ok(etag::tagged(Json(compared).into_response(), &tag))
}

fn options(query: &Pairs) -> Result<CompareOptions, ApiError> {
    let wrong = || {
        ApiError::invalid("metric", "`metric` must be `pass@K`, `consistent_pass@K` or `following`, K from 1")
    };
    let (metric, k) = match query.get("metric") {
        None => (Metric::Pass, 1),
        Some("following") => (Metric::Following, 1),
        Some(text) => {
            let (name, k) = text.split_once('@').ok_or_else(wrong)?;
            let metric = match name {
                "pass" => Metric::Pass,
                "consistent_pass" => Metric::Consistent,
                _ => return Err(wrong()),
            };
            (metric, k.parse().map_err(|_| wrong())?)
        }
    };
    let force = match query.get("force") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(ApiError::invalid("force", "`force` must be `true` or `false`")),
    };
    Ok(CompareOptions { metric, k, seed: query.number("seed")?.unwrap_or(0), force })
}

fn metric(query: &Pairs) -> String {
    query.get("metric").unwrap_or("pass@1").to_owned()
}

const PROBLEMS: usize = 100;
const PROBLEMS_MAX: u64 = 1000;

fn problems_max(query: &Pairs) -> Result<usize, ApiError> {
    match query.number("problems")? {
        None => Ok(PROBLEMS),
        Some(most) if most <= PROBLEMS_MAX => Ok(most as usize),
        Some(_) => Err(ApiError::invalid("problems", format!("`problems` must be at most {PROBLEMS_MAX}"))),
    }
}

fn measured<'a>(id: &'a str, run: &'a MeasuredRun) -> Measured<'a> {
    Measured { directory: FilePath::new(id), file: &run.file, tallies: &run.tallies }
}

fn wrong(error: EvalError) -> ApiError {
    match error {
        EvalError::DifferentSuites { a, b } => ApiError::invalid(
            "with",
            format!(
                "the runs are of different suites, {a} and {b}, whose digests differ; `force=true` compares the problems \
                 that have the same id and language"
            ),
        ),
        error @ EvalError::NothingShared { .. } => ApiError::invalid("with", error.to_string()),
        error @ EvalError::InvalidSetting { .. } => ApiError::invalid("metric", error.to_string()),
        error => error.into(),
    }
}

type Both<'a> = [(&'a RunRow, &'a MeasuredRun); 2];

fn shown(found: &Comparison, metric: String, runs: Both<'_>, most: usize) -> RunComparison {
    let problem = |pair: &ProblemPair| {
        let key = (pair.language, pair.problem.clone());
        let [a_position, b_position] =
            runs.map(|(_, run)| run.positions.get(&key).map_or(0, |position| shape::count(*position)));
        ComparedProblem {
            problem: pair.problem.clone(),
            language: pair.language.code().to_owned(),
            a: pair.a,
            b: pair.b,
            a_position,
            b_position,
        }
    };
    let [a, b] = runs.map(|(row, run)| side(row, run));
    RunComparison {
        object: "eval.run.comparison".to_owned(),
        a,
        b,
        metric,
        languages: found.languages.iter().map(language).collect(),
        overall: found.overall.as_ref().map(language),
        dominated: DominatedLanguages {
            a: found.dominated.a as u64,
            b: found.dominated.b as u64,
            languages: found.dominated.languages as u64,
        },
        unpaired: found.unpaired as u64,
        only_a: found.a_right_b_wrong.iter().take(most).map(problem).collect(),
        only_b: found.b_right_a_wrong.iter().take(most).map(problem).collect(),
    }
}

fn side(row: &RunRow, run: &MeasuredRun) -> ComparedRun {
    ComparedRun {
        eval_id: row.eval.clone(),
        run_id: row.id.clone(),
        name: row.name.clone(),
        model: row.model.clone(),
        suite: run.file.suite.name.clone(),
        n: run.file.n,
        status: row.status.as_str().to_owned(),
        samples: run.tallies.values().map(|tally| u64::from(tally.samples)).sum(),
    }
}

fn language(entry: &LanguageComparison) -> ComparedLanguage {
    let paired = &entry.paired;
    let point = |point: Point| ComparedPoint { accuracy: point.accuracy, following: point.following };
    let dominated = entry.dominated.map(|which| match which {
        Which::A => "a".to_owned(),
        Which::B => "b".to_owned(),
    });
    ComparedLanguage {
        language: entry.language.map(|language| language.code().to_owned()),
        problems: paired.problems as u64,
        a: paired.a,
        b: paired.b,
        difference: ScoreInterval {
            value: paired.difference.mean,
            low: paired.difference.low,
            high: paired.difference.high,
        },
        standard_error: paired.standard_error,
        unpaired_standard_error: paired.unpaired_standard_error,
        p: paired.permutation.p,
        p_holm: entry.p_holm,
        a_point: entry.a_point.map(point),
        b_point: entry.b_point.map(point),
        dominated,
        agreement: ComparedAgreement {
            both: entry.agreement.both as u64,
            only_a: entry.agreement.only_a as u64,
            only_b: entry.agreement.only_b as u64,
            neither: entry.agreement.neither as u64,
        },
    }
}
