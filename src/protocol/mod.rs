//! The wire types of the HTTP API: what OpenAI's clients send and expect, with vLLM's extra fields.
//!
//! Shared by the server and by the HTTP client of the evaluation harness, so every type both serialises and
//! deserialises. Not here: axum, limits and anything that needs a model. Requests are read with
//! [`parse::parse_request`], which is strict; responses deserialise leniently, because peers add fields.

pub mod admin;
pub mod batches;
pub mod chat;
pub mod completions;
pub mod content;
pub mod embeddings;
pub mod error;
pub mod eval_comparisons;
pub mod eval_items;
pub mod eval_runs;
pub mod eval_suites;
pub mod eval_tables;
pub mod evals;
pub mod files;
pub mod fine_tuning;
pub mod fine_tuning_jobs;
pub mod fine_tuning_logs;
pub mod generate;
pub mod grader_runs;
pub mod graders;
pub mod health;
pub mod key;
pub mod language;
pub mod list;
pub mod logprobs;
pub mod merge_plans;
pub mod merges;
pub mod models;
pub mod nearest;
pub mod parse;
pub mod prompt;
pub mod reinforcement;
pub mod responses;
pub mod rollout;
pub mod sampling;
pub mod structured;
pub mod tokenize;
pub mod tools;
pub mod usage;

pub use chat::{ChatChoice, ChatChunk, ChatChunkChoice, ChatDelta, ChatRequest, ChatResponse};
pub use completions::{CompletionChoice, CompletionRequest, CompletionResponse};
pub use content::{ChatMessage, Content};
pub use error::{ErrorBody, ErrorResponse};
pub use list::List;
pub use parse::{BadRequest, parse_naming_unknown, parse_request};
pub use prompt::Prompt;
pub use sampling::{SamplingFields, Stop};
pub use usage::{StreamOptions, Usage};
