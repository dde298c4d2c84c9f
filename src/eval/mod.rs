//! Evaluation runs: a suite of problems, n completions of each, scores, and the numbers with their intervals.
//!
//! A run lives in one directory and can be killed and resumed at any moment without losing or doubling a sample.
//! Generation is behind `Generator`: the engine of this process, or any OpenAI-compatible URL. Judging is
//! `score`'s; drawing progress bars is the caller's. Formats are named in docs/formats.md.

mod atomic_file;
mod brief;
pub mod compare;
mod conversation;
mod directory;
mod error;
pub mod export;
mod generator;
mod item;
mod plan;
mod problem_tally;
mod progress;
mod record;
mod report;
pub mod rescore;
mod runner;
pub mod scorers;
mod scoring;
mod seed;
mod session;
mod stored;
pub mod suite;
mod tally;

pub use atomic_file::AtomicFile;
pub use brief::{LanguageBrief, SampleBrief};
pub use error::EvalError;
pub use generator::cache::{CacheStore, CachedGenerator, weights_sha256};
pub use generator::choices::{ChoiceGenerator, ChoiceScore, ChoiceScores};
pub use generator::continuation::{Continuation, ContinuationRequest, ContinuationScorer};
pub use generator::http::{HttpGenerator, HttpOptions, RateLimits};
pub use generator::local::LocalGenerator;
pub use generator::{
    Completion, Draw, Finish, GenerationEvent, GenerationRequest, Generator, GeneratorError,
    GeneratorIdentity, Message, Metered, Model, Sampling, Usage,
};
pub use item::{ItemEnd, Lacking, SampleSink};
pub use plan::{RunConfig, RunPlan, SAMPLES_PER_PROBLEM_MAX};
pub use problem_tally::{Metric, ProblemTallies, ProblemTally, problem_tallies};
pub use progress::{Plan, Progress, Silent};
pub use record::{Outcome, RunFile, SampleRecord, ScorerProfile, SuiteReference};
pub use report::table::{render as columns, table};
pub use report::{GroupResults, OutcomeRates, Results, run_scores};
pub use runner::{REFUSALS_MAX, RunReport, run};
pub use scoring::ScorerOptions;
pub use session::{Prices, Session, Spent};
pub use stored::{Samples, StoredRun};
pub use suite::{
    DataState, OpenOptions, Preset, Protocol, Settled, Suite, SuiteContent, SuiteError, SuiteSummary, Task,
};
pub use tally::Tally;
