//! Work that outlives a request: evaluation runs in the store, shared by any number of workers.
//!
//! A run is a list of tasks, a problem in a language each. A worker leases a task, generates and scores the samples it
//! lacks through `eval`, and writes each into the store as it comes. A worker that dies leaves its leases to expire;
//! whoever takes one goes on from the samples that are there. Since a draw depends on the run's seed, the problem, the
//! language and the sample alone, an in-process run is the same whoever did which part of it.
//!
//! Merges, trainings and batches of requests are jobs too: one process does one from beginning to end, and the next one goes on where
//! it died.
//!
//! Not here: SQL (`store`), HTTP (`api`), and how a sample is generated or judged (`eval`).

mod batches;
mod briefs;
mod error;
mod generators;
mod job;
mod listed;
mod measured;
mod merges;
mod rescore;
mod sample_pages;
mod sample_table;
mod scores;
mod settle;
mod sink;
mod spec;
mod trainings;
mod worker;

pub use batches::{
    BATCH, BatchProgress, BatchSpec, BatchWorker, ENDPOINTS, LineService, ResultFiles, batch_folder,
    submit_batch,
};
pub use briefs::{BRIEFS_MAX, RunBriefs};
pub use error::JobError;
pub use generators::{Endpoint, Generators};
pub use listed::listed_scores;
pub use measured::{MeasuredRun, run_file};
pub use merges::{MERGE, MergeSpec, Merger, submit_merge};
pub use rescore::rescoring;
pub use sample_pages::{SamplePages, copy_run};
pub use sample_table::sample_table;
pub use scores::{Scoreboard, Snapshot};
pub use sink::{record_of, sample_of};
pub use spec::{EvalRunSpec, JobSpec, Submission, submit};
pub use trainings::{
    Progress, TRAINING, TrainingSpec, TrainingWorker, WrongTraining, file_path, files_of, submit_training,
    told, training_curves, training_folder,
};
pub use worker::{Worker, WorkerOptions};
