//! `/v1/key`: what a caller's key opens. `/v1/admin/keys`: every key of the server, without what opens it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KeyInfo {
    /// As the log and the metrics name it; absent where no key was needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it opens, of `inference`, `metrics`, `rollouts` and `admin`: never empty.
    pub scopes: Vec<String>,
    /// Served names that it may use; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// RFC 3339; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// A key as admins see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KeyEntry {
    /// As the keys file, the log and the metrics name it. Keys of the settings share a name by what they open, and what is counted
    /// under it.
    pub name: String,
    /// SHA-256 of the key, as `xenoglot keys new` prints it.
    pub hash: String,
    /// `file`, which can be edited while the server runs, or `settings`.
    pub source: String,
    /// As they were given: `admin` opens everything.
    pub scopes: Vec<String>,
    /// Served names that it may use; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// RFC 3339; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    pub is_expired: bool,
    pub shared_cache: bool,
    pub priority: bool,
    pub limits: KeyLimitsEntry,
    pub usage: KeyUsageEntry,
}

/// How much a key may use; what is absent is unlimited.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KeyLimitsEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Prompt and completion together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
}

/// What a key has used since the server started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KeyUsageEntry {
    /// Admitted.
    pub requests: u64,
    /// Prompt and completion tokens.
    pub tokens: u64,
    /// Of these and of what running requests may yet take, those since midnight (UTC).
    pub tokens_today: u64,
    /// By its limits, its scopes, its models, or after its end.
    pub refused: u64,
    /// Under way now.
    pub running: u64,
}
