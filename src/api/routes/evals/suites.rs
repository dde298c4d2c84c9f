//! The suites, presets and profiles that a run may name.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};

use super::query::Pairs;
use crate::api::error::ApiError;
use crate::api::request_log::RequestLog;
use crate::api::state::{AppState, check_may_use};
use crate::eval::{DataState, Preset, Protocol, Suite, SuiteContent, SuiteSummary};
use crate::language::Language;
use crate::protocol::ErrorResponse;
use crate::protocol::eval_suites::{EvalPreset, EvalProtocol, EvalSuite, EvalSuiteLanguage, EvalSuites};
use crate::score::Profile;

/// The suites that the server knows, by name, with presets, profiles and endpoints. Data by reference are not read: their problems
/// are counted by the suite's own address.
#[utoipa::path(
    get,
    path = "/v1/eval_suites",
    tag = "evals",
    responses((status = 200, body = EvalSuites), (status = 503, body = ErrorResponse))
)]
pub async fn list_eval_suites(
    State(state): State<AppState>,
    Extension(log): Extension<Arc<RequestLog>>,
    query: Pairs,
) -> Result<Json<EvalSuites>, ApiError> {
    query.only(&[])?;
    let endpoints = state.evals()?.endpoints.iter().map(|endpoint| endpoint.name.clone());
    let endpoints = endpoints.filter(|name| check_may_use(&log, name).is_ok()).collect();
    let (data, presets) = state.blocking(|| (listed(), presets())).await?;
    let profiles = Profile::NAMES.iter().map(|name| (*name).to_owned()).collect();
    Ok(Json(EvalSuites { object: "list".to_owned(), data, presets, profiles, endpoints }))
}

/// One suite, with its problems counted where they are on this server.
#[utoipa::path(
    get,
    path = "/v1/eval_suites/{suite}",
    tag = "evals",
    params(("suite" = String, Path)),
    responses((status = 200, body = EvalSuite), (status = 404, body = ErrorResponse))
)]
pub async fn get_eval_suite(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<EvalSuite>, ApiError> {
    state.evals()?;
    let found = state.blocking(move || {
        // By name alone: a request may not have the server open a folder of its disk.
        if !Suite::known().contains(&name) {
            return Err(ApiError::not_found("suite", &name));
        }
        let summary = Suite::summary(&name, None).map_err(|error| {
            tracing::error!(suite = name, %error, "a suite cannot be read");
            ApiError::internal(format!("the suite `{name}` cannot be read; the log says why"))
        })?;
        let present = summary.present.clone();
        let content = (!present.is_empty()).then(|| Suite::content(&name, &present)).transpose();
        Ok(match content {
            Ok(content) => shown(name, summary, content),
            // Data that are there and wrong are told as a run on them would be.
            Err(error) => EvalSuite { data_message: Some(error.to_string()), ..shown(name, summary, None) },
        })
    });
    Ok(Json(found.await??))
}

/// A suite that cannot be read is left out: the log says why, and the others are there.
fn listed() -> Vec<EvalSuite> {
    let read = |name: String| {
        let read = Suite::summary(&name, None).and_then(|summary| {
            let is_own = summary.data == DataState::Own;
            let content = is_own.then(|| Suite::content(&name, &summary.present)).transpose()?;
            Ok(shown(name.clone(), summary, content))
        });
        read.inspect_err(|error| tracing::warn!(suite = name, %error, "a suite is left out of the list")).ok()
    };
    Suite::known().into_iter().filter_map(read).collect()
}

fn presets() -> Vec<EvalPreset> {
    let read = |name: String| {
        let Preset { name, description, prompts, protocol } = Preset::named(&name).ok()?;
        Some(EvalPreset { name, description, prompts, protocol: said(&protocol) })
    };
    Preset::names().into_iter().filter_map(read).collect()
}

/// `name` is what finds it, whatever its manifest says.
fn shown(name: String, summary: SuiteSummary, content: Option<SuiteContent>) -> EvalSuite {
    let (counts, sha256) = match content {
        Some(SuiteContent { problems, sha256 }) => (problems, Some(sha256)),
        None => (BTreeMap::new(), None),
    };
    let language = |language: &Language| EvalSuiteLanguage {
        language: language.code().to_owned(),
        name: language.english_name().to_owned(),
        is_present: summary.present.contains(language),
        problems: counts.get(language).map(|count| *count as u64),
    };
    let (data, data_message) = match &summary.data {
        DataState::Own => ("built_in", None),
        DataState::Present { .. } => ("present", None),
        DataState::Missing { message } => ("missing", Some(message.clone())),
    };
    EvalSuite {
        object: "eval_suite".to_owned(),
        languages: summary.languages.iter().map(language).collect(),
        task: summary.task.name().to_owned(),
        data: data.to_owned(),
        data_message,
        sha256,
        defaults: defaults(&summary.protocol),
        name,
        version: summary.version,
        revision: summary.revision,
        description: summary.description,
        licence: summary.licence,
        scorers: summary.scorers,
        prompts: summary.prompts,
        variants: summary.variants,
    }
}

fn said(protocol: &Protocol) -> EvalProtocol {
    EvalProtocol {
        n: protocol.n,
        k: protocol.k.clone(),
        shots: protocol.shots,
        thinking_prefix: protocol.thinking_prefix,
        temperature: protocol.temperature,
        top_p: protocol.top_p,
        top_k: protocol.top_k,
        min_p: protocol.min_p,
        max_completion_tokens: protocol.max_tokens,
    }
}

/// With the program's own choice where the suite says nothing; n reaches the largest k that it reports.
fn defaults(protocol: &Protocol) -> EvalProtocol {
    let said = said(protocol);
    let largest = protocol.k.iter().max().copied().unwrap_or(1);
    let Ok(settled) = protocol.settled(largest) else { return said };
    EvalProtocol {
        n: Some(settled.n),
        shots: Some(settled.shots as u32),
        thinking_prefix: Some(settled.thinking_prefix),
        temperature: Some(settled.sampling.temperature),
        top_p: Some(settled.sampling.top_p),
        top_k: Some(settled.sampling.top_k),
        min_p: Some(settled.sampling.min_p),
        max_completion_tokens: Some(settled.sampling.max_tokens as u32),
        ..said
    }
}
