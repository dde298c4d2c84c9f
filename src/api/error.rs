//! The one place where errors become HTTP: status, OpenAI error body, `Retry-After`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::task::JoinError;

use super::rate_limit::LimitError;
use crate::engine::EngineError;
use crate::eval::{EvalError, SuiteError};
use crate::jobs::JobError;
use crate::protocol::nearest::nearest;
use crate::protocol::{BadRequest, ErrorBody, ErrorResponse};
use crate::registry::{RegistryError, UpdateError};
use crate::store::StoreError;

const RATE_LIMIT_EXCEEDED: &str = "rate_limit_exceeded";
const INSUFFICIENT_QUOTA: &str = "insufficient_quota";

#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    pub status: StatusCode,
    pub body: ErrorBody,
    pub retry_after_s: Option<u32>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &str, code: Option<&str>, message: impl Into<String>) -> Self {
        let body = ErrorBody {
            message: message.into(),
            kind: kind.to_owned(),
            param: None,
            code: code.map(str::to_owned),
        };
        Self { status, body, retry_after_s: None }
    }

    /// The field at fault as a request names it that has it at the top.
    #[must_use]
    pub fn without_prefix(mut self, prefix: &str) -> Self {
        self.body.param =
            self.body.param.map(|param| param.strip_prefix(prefix).unwrap_or(&param).to_owned());
        self
    }

    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.body.param = Some(param.into());
        self
    }

    /// Name the field that holds the prompt, where the engine could only say that the prompt is at fault.
    #[must_use]
    pub fn with_prompt_param(mut self, param: &str) -> Self {
        let about_prompt = ["context_length_exceeded", "kv_cache_exceeded"];
        let is_about_prompt = self.body.code.as_deref().is_some_and(|code| about_prompt.contains(&code));
        if is_about_prompt || self.body.param.as_deref() == Some("prompt") {
            self.body.param = Some(param.to_owned());
        }
        self
    }

    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", Some("invalid_api_key"), message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", Some("forbidden"), message)
    }

    pub fn model_forbidden(name: &str, allowed: &[String]) -> Self {
        let shown: String = name.chars().take(200).collect();
        let message = format!("this key may not use the model `{shown}`: it may use {}", allowed.join(", "));
        Self::forbidden(message).with_param("model")
    }

    /// For a request that names no model, with a key that is held to models that are not there.
    pub fn none_served(allowed: &[String]) -> Self {
        let message = format!("this key may use {}, and none of them is served now", allowed.join(", "));
        Self::forbidden(message).with_param("model")
    }

    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        BadRequest::invalid(param, message).into()
    }

    pub fn context_exceeded(message: impl Into<String>) -> Self {
        let code = Some("context_length_exceeded");
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", code, message)
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "invalid_request_error", Some("conflict"), message)
    }

    pub fn body_too_large(limit: usize) -> Self {
        let message =
            format!("the body is larger than the {limit} bytes this server takes: send less at a time");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", Some("request_too_large"), message)
    }

    pub fn too_many_headers(count: usize, max: usize) -> Self {
        Self::head_too_large(format!("the request has {count} headers, and at most {max} are taken"))
    }

    pub fn headers_too_large(max: usize) -> Self {
        Self::head_too_large(format!("the headers have more than the {max} bytes that are taken"))
    }

    fn head_too_large(message: String) -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self::new(status, "invalid_request_error", Some("headers_too_large"), message)
    }

    pub fn uri_too_long(max: usize) -> Self {
        let message = format!("path and query have more than the {max} bytes that are taken");
        Self::new(StatusCode::URI_TOO_LONG, "invalid_request_error", Some("uri_too_long"), message)
    }

    pub fn file_too_large(limit: u64) -> Self {
        let message =
            format!("the file is larger than the {limit} bytes this server takes (`max_file`): split it");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", Some("request_too_large"), message)
            .with_param("file")
    }

    pub fn body_too_slow() -> Self {
        let message = "the body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "invalid_request_error", Some("request_timeout"), message)
    }

    pub fn body_broken() -> Self {
        let message = "the body broke off";
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", Some("incomplete_body"), message)
    }

    pub fn not_json() -> Self {
        let message = "send the body as JSON, with the header `Content-Type: application/json`";
        let code = Some("unsupported_media_type");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request_error", code, message)
    }

    pub fn no_such_path(method: &str, path: &str) -> Self {
        let message = format!("there is no {method} {path}: /docs lists what there is");
        Self::new(StatusCode::NOT_FOUND, "not_found_error", Some("unknown_url"), message)
    }

    pub fn wrong_method(method: &str, path: &str) -> Self {
        let message = format!("{path} does not answer {method}: /docs lists what it does");
        let code = Some("method_not_allowed");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", code, message)
    }

    pub fn model_not_found(name: &str, available: &[String]) -> Self {
        let shown: String = name.chars().take(200).collect();
        let hint = match nearest(name, available.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "GET /v1/models lists what is served".to_owned(),
        };
        let message = format!("the model `{shown}` is not served here: {hint}");
        Self::new(StatusCode::NOT_FOUND, "not_found_error", Some("model_not_found"), message)
            .with_param("model")
    }

    /// The model went while the request ran. No 5xx: clients would send it again, and it could never work.
    pub fn model_unloaded(name: &str) -> Self {
        let message = format!("the model `{name}` was unloaded before the answer was done");
        Self::new(StatusCode::NOT_FOUND, "not_found_error", Some("model_not_found"), message)
            .with_param("model")
    }

    pub fn not_found(what: &str, id: &str) -> Self {
        let shown: String = id.chars().take(200).collect();
        let message = format!("there is no {what} `{shown}`");
        Self::new(StatusCode::NOT_FOUND, "not_found_error", Some("not_found"), message)
    }

    pub fn too_many(message: impl Into<String>) -> Self {
        let mapped =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", Some("queue_full"), message);
        Self { retry_after_s: Some(60), ..mapped }
    }

    /// Something this server leans on is not there now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "service_unavailable_error", Some("store_unavailable"), message)
    }

    /// A model on demand that is not there now.
    pub fn not_ready(message: impl Into<String>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mapped = Self::new(status, "service_unavailable_error", Some("model_not_ready"), message);
        Self { retry_after_s: Some(30), ..mapped }.with_param("model")
    }

    /// What a request asks for could not be met in the middle of its answer. No 5xx: sent again it fails again.
    pub fn cannot_go_on(message: impl Into<String>) -> Self {
        let code = Some("cannot_go_on");
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", code, message)
    }

    /// Our own fault; the details are in the log, not in the answer.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", Some("internal_error"), message)
    }

    /// Work on another thread panicked, with a text that is nobody's but the log's.
    #[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
    pub fn panicked(error: JoinError) -> Self {
        tracing::error!(%error, "the work of a request panicked");
        Self::internal("the server failed on this request; its log says why")
    }

    /// The body alone, for an event in the middle of a stream.
    pub fn into_event_body(self) -> ErrorResponse {
        ErrorResponse { error: self.body }
    }
}

impl From<BadRequest> for ApiError {
    fn from(error: BadRequest) -> Self {
        let BadRequest { message, param, code } = error;
        let mut mapped = Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", code, message);
        mapped.body.param = param;
        mapped
    }
}

/// The types by which OpenAI's clients tell a limit that passes from a quota that is used up.
impl From<LimitError> for ApiError {
    fn from(error: LimitError) -> Self {
        let message = error.to_string();
        let wait = |kind: &str, wait_ms: u64| {
            let mapped = Self::new(StatusCode::TOO_MANY_REQUESTS, kind, Some(kind), message.clone());
            let seconds = u32::try_from(wait_ms.div_ceil(1000)).unwrap_or(u32::MAX);
            Self { retry_after_s: Some(seconds.max(1)), ..mapped }
        };
        match error {
            LimitError::Requests { wait_ms, .. } | LimitError::Tokens { wait_ms, .. } => {
                wait(RATE_LIMIT_EXCEEDED, wait_ms)
            }
            LimitError::Concurrent { .. } => wait(RATE_LIMIT_EXCEEDED, 0),
            LimitError::Day { wait_ms, .. } => wait(INSUFFICIENT_QUOTA, wait_ms),
            // No 429, which clients send again: it would never be admitted.
            LimitError::TooLarge { .. } => Self::invalid("max_tokens", message),
        }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        let bad =
            |code| Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", Some(code), message.clone());
        match error {
            EngineError::QueueFull { .. } => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                let mapped = Self::new(status, "rate_limit_error", Some("queue_full"), message);
                Self { retry_after_s: Some(1), ..mapped }
            }
            EngineError::ContextExceeded { .. } => bad("context_length_exceeded"),
            EngineError::NeverFits { .. } => bad("kv_cache_exceeded"),
            EngineError::InvalidParameter { parameter, .. } => bad("invalid_value").with_param(parameter),
            EngineError::OtherModel => bad("invalid_value"),
            EngineError::Draining => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let mapped = Self::new(status, "service_unavailable_error", Some("shutting_down"), message);
                Self { retry_after_s: Some(5), ..mapped }
            }
            EngineError::Stopped { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", Some("engine_stopped"), message)
            }
        }
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        let message = error.to_string();
        match error {
            RegistryError::UnknownModel { name, known, .. } => Self::model_not_found(&name, &known),
            RegistryError::NameTaken { .. } => Self::conflict(message).with_param("name"),
            RegistryError::UnknownAdapter { .. } => {
                Self::new(StatusCode::NOT_FOUND, "not_found_error", Some("not_found"), message)
                    .with_param("lora_name")
            }
            RegistryError::AdapterLoaded { .. } | RegistryError::TooManyAdapters { .. } => {
                Self::invalid("lora_name", message)
            }
            RegistryError::Engine(_) => Self::internal(message),
            RegistryError::ContextTooLong { .. } => Self::invalid("max_model_len", message),
            // What is wrong with a checkpoint is wrong with the path that names it.
            _ => Self::invalid("path", message),
        }
    }
}

/// No 5xx for what would fail again: trainers send those again.
impl From<UpdateError> for ApiError {
    fn from(error: UpdateError) -> Self {
        let message = error.to_string();
        match error {
            UpdateError::Engine(error) => error.into(),
            UpdateError::AddressNotAllowed { .. } | UpdateError::Unreachable { .. } => {
                Self::invalid("init_info.master_address", message)
            }
            UpdateError::NotConnected
            | UpdateError::NotStarted
            | UpdateError::Failed { .. }
            | UpdateError::Lent => Self::conflict(message),
            UpdateError::Dtype { .. } => Self::invalid("update_info.dtype_names", message),
            UpdateError::Lists { .. } => Self::invalid("update_info", message),
            UpdateError::Panicked { .. } => {
                tracing::error!(message, "a weight update failed");
                Self::internal("the server failed on this weight update; its log says why")
            }
            UpdateError::Disconnected { .. }
            | UpdateError::Silent { .. }
            | UpdateError::Read { .. }
            | UpdateError::Checksum
            | UpdateError::Weights(_)
            | UpdateError::Model(_) => {
                BadRequest { message, param: None, code: Some("weight_update_failed") }.into()
            }
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::NotFound { what, id } => Self::not_found(what, &id),
            StoreError::WrongStatus { .. } => Self::conflict(message),
            StoreError::Invalid { field, .. } => Self::invalid(field, message),
            StoreError::Unreachable { .. } | StoreError::Full { .. } => {
                tracing::error!(message, "the store does not work");
                Self { retry_after_s: Some(5), ..Self::unavailable(message) }
            }
            _ => {
                tracing::error!(message, "the store failed");
                Self::internal("the store failed on this request; the log says why")
            }
        }
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Store(error) => error.into(),
            JobError::Eval(error) => error.into(),
            JobError::NothingYet { .. } | JobError::NotComplete { .. } | JobError::OtherSuite { .. } => {
                Self::conflict(error.to_string())
            }
            JobError::TooManySamples { .. } => Self::invalid("run_id", error.to_string()),
            JobError::Damaged { .. } | JobError::Files { .. } | JobError::Internal { .. } => {
                tracing::error!(%error, "a job failed");
                Self::internal("the server failed on this request; its log says why")
            }
        }
    }
}

/// What cannot be run is wrong with the request for the run.
impl From<EvalError> for ApiError {
    fn from(error: EvalError) -> Self {
        let message = error.to_string();
        let param = match error {
            EvalError::InvalidSetting { field: "sampling.max_tokens", .. } => {
                "sampling_params.max_completion_tokens".to_owned()
            }
            EvalError::Suite(SuiteError::UnknownPrompts { .. }) => "prompts".to_owned(),
            EvalError::Suite(SuiteError::UnknownVariant { .. }) => "variants".to_owned(),
            // The suite asks for what cannot be judged here.
            EvalError::Suite(_)
            | EvalError::NoScorer { .. }
            | EvalError::ProblemField { .. }
            | EvalError::InvalidSetting { field: "scorer.task", .. } => "suite".to_owned(),
            EvalError::InvalidSetting { field, .. } => field.replace("sampling.", "sampling_params."),
            EvalError::LanguageMissing { .. } => "languages".to_owned(),
            EvalError::TooFewExamples { .. } => "shots".to_owned(),
            error => {
                tracing::error!(%error, "an evaluation could not be planned");
                return Self::internal("the server failed on this request; its log says why");
            }
        };
        Self::invalid(format!("data_source.{param}"), message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let is_used_up = self.body.kind == INSUFFICIENT_QUOTA;
        let mut response = (self.status, Json(ErrorResponse { error: self.body })).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if is_used_up {
            // OpenAI's clients send every 429 again unless they are told not to.
            response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_panic_says_is_not_told() {
        let error = tokio::task::spawn_blocking(|| panic!("a secret")).await.unwrap_err();
        let told = ApiError::panicked(error);
        assert_eq!(told.status, 500);
        assert!(!told.body.message.contains("secret"), "{}", told.body.message);
    }
}
