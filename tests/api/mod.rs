//! The HTTP API of a listening server, over tiny models: what clients see, byte by byte.

mod adapters;
mod admin;
mod answers;
mod batches;
mod client;
mod embeddings;
mod errors;
mod evals;
mod fine_tuning;
mod generate;
mod graders;
mod keys;
mod life_cycle;
mod merges;
mod mindmerger;
mod openapi;
mod prompt_embeds;
mod responses;
mod rollout;
mod security;
pub mod server;
mod several_models;
mod structured;
mod web;
