//! Xenoglot: serve, evaluate, merge and train language models that reason in the user's language.
//!
//! The modules stand in layer order. A module imports only from layers below its own; siblings of one layer
//! do not import each other. `tests/layering.rs` reads every `use crate::` and fails naming the file and the
//! edge, so this list is the dependency order, not a wish.
//!
//! ```text
//!  8  cli                                     a file a subcommand
//!  7  api                                     router, auth, limits, metrics; the only layer that knows axum
//!  6  jobs                                    evaluation runs, merges and trainings in the store, workers
//!  5  registry                                name -> engine handle, weight version, share of memory
//!  4  eval  train                             suites, generators, runner, report | training data
//!  3  engine  merge                           scheduler, KV blocks, sampler, an OS thread a model | mergekit's configurations
//!  2  model  guide                            one decoder; families translate their configs to it | grammars over a vocabulary
//!  1  ops  weights  score  store              kernels | checkpoints, tokenizers | extraction, language, rewards, statistics | database
//!  0  language chat settings protocol         names and scripts | templates, reasoning | options | wire types
//! ```

// 0
pub mod chat;
pub mod language;
pub mod protocol;
pub mod settings;
// 1
pub mod ops;
pub mod score;
pub mod store;
pub mod weights;
// 2
pub mod guide;
pub mod model;
// 3
pub mod engine;
pub mod merge;
// 4
pub mod eval;
pub mod train;
// 5
pub mod registry;
// 6
pub mod jobs;
// 7
pub mod api;
// 8
pub mod cli;

/// The commit that a release build was made from, with a plus sign where files differed from it. None in development builds, and
/// where neither git nor `XENOGLOT_COMMIT` told it.
pub const COMMIT: Option<&str> = option_env!("XENOGLOT_COMMIT");
