//! `/v1/batches` in OpenAI's shape: a file of requests, answered when there is room.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::parse::{BadRequest, RequestBody, Unsupported};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CreateBatchRequest {
    /// Of a file with the purpose `batch`: a line a request, `{"custom_id", "method", "url", "body"}`.
    pub input_file_id: String,
    /// `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings` or `/v1/responses`; every line asks it.
    pub endpoint: String,
    /// Kept with the batch, which is answered as soon as there is room; nothing expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_window: Option<String>,
    /// Kept with the batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for CreateBatchRequest {
    const IGNORED: &'static [&'static str] = &[];
    const UNSUPPORTED: &'static [Unsupported] =
        &[Unsupported { name: "output_expires_after", harmless: &[] }];

    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    fn check(&self) -> Result<(), BadRequest> {
        match self.completion_window.as_deref() {
            Some(window) if window.len() > 32 => {
                Err(BadRequest::invalid("completion_window", "is no time such as `24h`"))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Batch {
    pub id: String,
    /// Always `batch`.
    pub object: String,
    pub endpoint: String,
    /// Why it failed.
    pub errors: Option<BatchErrors>,
    pub input_file_id: String,
    pub completion_window: String,
    /// `validating` (waiting for its turn), `in_progress`, `completed`, `failed` or `cancelled`.
    pub status: String,
    /// Answers with status 200, in the order of the input, when the batch has ended.
    pub output_file_id: Option<String>,
    /// Other answers, and lines that were no requests.
    pub error_file_id: Option<String>,
    /// Seconds since 1970, as all times.
    pub created_at: u64,
    pub in_progress_at: Option<u64>,
    pub expires_at: Option<u64>,
    pub finalizing_at: Option<u64>,
    pub completed_at: Option<u64>,
    pub failed_at: Option<u64>,
    pub expired_at: Option<u64>,
    pub cancelling_at: Option<u64>,
    pub cancelled_at: Option<u64>,
    pub request_counts: RequestCounts,
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchErrors {
    /// Always `list`.
    pub object: String,
    pub data: Vec<BatchError>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchError {
    pub code: String,
    pub message: String,
    pub line: Option<u64>,
    pub param: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestCounts {
    pub total: u64,
    pub completed: u64,
    pub failed: u64,
}
