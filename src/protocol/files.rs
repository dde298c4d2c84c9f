//! `/v1/files` in OpenAI's shape: data that trainings learn from.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a file may be for.
pub const PURPOSES: [&str; 4] = ["fine-tune", "batch", "user_data", "evals"];

/// The parts of an upload; for the description alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UploadFile {
    /// With its name, which a training sees.
    #[schema(value_type = String, format = Binary)]
    pub file: String,
    /// `fine-tune`, `batch`, `user_data` or `evals`.
    pub purpose: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileObject {
    pub id: String,
    /// Always `file`.
    pub object: String,
    pub bytes: u64,
    /// Seconds since 1970.
    pub created_at: u64,
    pub filename: String,
    pub purpose: String,
    /// Always `processed`.
    pub status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedFile {
    pub id: String,
    /// Always `file`.
    pub object: String,
    pub deleted: bool,
}
