//! Merging models: mergekit's configurations, carried out in streams, so that memory does not grow with the models.
//!
//! A configuration ([`config`]) and the headers of the models ([`inputs`]) give a [`Plan`]; the plan is carried out tensor
//! by tensor ([`execute`]) through the shared stages of all methods ([`stages`]). Nothing here knows what a model computes.

pub mod config;
mod elements;
mod error;
mod execute;
mod files;
mod inputs;
mod job;
mod layer_kinds;
pub mod lora;
pub mod maet;
pub mod method;
mod plan;
mod pool;
mod preset;
mod series;
mod stages;
pub mod vocabulary;

pub use elements::Elements;
pub use error::MergeError;
pub use execute::{ExecuteOptions, MergeProgress, MergedAmount, Silent, discard, execute, partial_of};
pub use files::CONFIG_COPY;
pub use inputs::{InputModel, Locate, open_all, references};
pub use job::{FileOptions, MergeJob};
pub use plan::{Plan, PlanOptions, PlannedTensor, Shard, SourceTensor};
pub use preset::Preset;
pub use series::{MergeSeries, SeriesMerge, SeriesWriter};
