//! Training on the decoder that serves: the same model code, the same packed weights, no copy of a frozen one.
//!
//! [`data`] makes tokens of files. An [`Objective`] is a model with what is trained of it and the data it learns from:
//! it adds the gradients of a micro-batch to sums that lie beside the weights. [`Optimizer`] takes those sums into the
//! weights, at the rate of a [`Schedule`]. [`Trainer`] is the loop around them, with checkpoints that lose nothing.

mod checkpoint;
mod completions;
mod curves;
pub mod data;
mod decoder;
mod disk;
mod error;
mod events;
mod examples;
pub mod grpo;
mod hyperparameters;
mod job;
mod json_lines;
mod lora;
mod masks;
mod memory;
mod metrics;
mod mindmerger;
mod objective;
mod optimizer;
mod passes;
mod policy;
mod result;
mod schedule;
mod step_lines;
mod tensorboard;
mod trainer;
mod weights;

pub use checkpoint::Best;
pub use completions::StepCompletions;
pub use curves::{Curve, Curves};
pub use decoder::FullDecoder;
pub use error::TrainError;
pub use events::{Evaluation, Event, LoggedCompletion, Observer, StepMetrics};
pub use examples::{Examples, TokenExamples};
pub use hyperparameters::seed_of;
pub use job::{Exported, Finished, Job, Locate, MODEL_FOLDER, check_settings, counted};
pub use lora::LoraDecoder;
pub use masks::Masks;
pub use memory::set_allocator;
pub use mindmerger::{MindMerger, PairExamples, PairRow, Prefixes, pair_batch};
pub use objective::{MicroBatch, Objective, Policy, SamplerWeights};
pub use optimizer::{AdamWSettings, Optimizer, Update};
pub use passes::{Passes, Recompute};
pub use schedule::{Decline, Schedule};
pub use trainer::{Length, Outcome, RunSettings, Trainer, TrainerSettings, Warmup};
pub use weights::{ElementOrder, Parameters, Trained, Vectors};
