//! The HTTP server: routes in OpenAI's and vLLM's shapes over the models of a registry.
//!
//! The only layer that knows axum. A handler reads a strict wire type, prepares text off the async threads, hands
//! ids to the engine and shapes what comes back; it computes nothing. `error` alone turns errors into statuses,
//! `auth` alone decides who may call what, `limits` how much a request may ask for, `rate_limit` how much a key may use.

mod admission;
mod augmented_prompt;
mod auth;
mod body;
mod chat_writer;
mod choice_text;
mod clock;
mod completion_writer;
mod error;
mod etag;
mod evals;
mod generation;
mod guidance;
mod key_metrics;
mod keys;
mod language_watch;
mod limits;
mod line_service;
mod metrics;
mod process_metrics;
mod prompt_embeds;
mod prompt_text;
mod rate_limit;
mod request_log;
mod response_writer;
mod router;
mod routes;
mod sampling;
mod serve;
mod sse;
mod state;
mod stored_responses;
mod token_text;
mod tools;
#[cfg(feature = "otel")]
mod trace_parent;
mod web;
mod write_timeout;

pub use auth::AuthOptions;
pub use clock::Clock;
pub use evals::{DataOptions, EvalOptions};
pub use keys::{
    ApiKeys, Expiry, Key, KeyHash, KeyLimits, KeyScopes, KeysError, fresh_key, is_open_to_others,
    read as read_keys, table as key_table,
};
pub use limits::Limits;
pub use metrics::MetricsError;
pub use router::{openapi, router};
pub use serve::serve;
pub use state::{ApiOptions, AppState, RolloutOptions, StartError};

/// Seconds since 1970.
fn now_s() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod scripted_tests;
