//! Evaluation runs: a suite of problems, n completions of each, scores, and the numbers with their intervals.
//!
//! A run lives in one directory and can be killed and resumed at any moment without losing or doubling a sample.
//! Generation is behind `Generator`: the engine of this process, or any OpenAI-compatible URL. Judging is
//! `score`'s; drawing progress bars is the caller's. Formats are named in docs/formats.md.

mod conversation;
mod directory;
mod error;
mod generator;
mod item;
mod plan;
mod progress;
mod record;
mod report;
mod runner;
pub mod scorers;
mod scoring;
mod seed;
pub mod suite;
mod tally;

pub use error::EvalError;
pub use generator::http::{HttpGenerator, HttpOptions};
pub use generator::local::LocalGenerator;
pub use generator::{
    Completion, Draw, Finish, GenerationEvent, GenerationRequest, Generator, GeneratorError,
    GeneratorIdentity, Message, Sampling,
};
pub use item::{ItemEnd, SampleSink};
pub use plan::{RunConfig, RunPlan, SAMPLES_PER_PROBLEM_MAX};
pub use progress::{Plan, Progress, Silent};
pub use record::{Outcome, RunFile, SampleRecord, ScorerProfile, SuiteReference};
pub use report::table::table;
pub use report::{GroupResults, OutcomeRates, Results};
pub use runner::{REFUSALS_MAX, RunReport, run};
pub use scoring::ScorerOptions;
pub use suite::{DataState, OpenOptions, Preset, Protocol, Suite, SuiteError, SuiteSummary, Task};
pub use tally::Tally;
