//! The error body every client of the OpenAI API knows: `{"error": {message, type, param, code}}`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorResponse {
    pub error: ErrorBody,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What is wrong and what to do about it.
    pub message: String,
    /// The class: `invalid_request_error`, `authentication_error`, `permission_error`, `not_found_error`,
    /// `rate_limit_error`, `service_unavailable_error` or `server_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The request field at fault, as a path such as `messages.0.content`.
    pub param: Option<String>,
    /// A stable word for programs, such as `context_length_exceeded`.
    pub code: Option<String>,
}
