//! What a training tells of itself while it runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::data::Counts;

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Data have become tokens.
    Prepared {
        name: String,
        counts: Counts,
    },
    /// The longest micro-batch went forward and backward.
    DryRun {
        tokens: usize,
        seconds: f64,
    },
    /// It goes on behind a checkpoint's step.
    Resumed {
        step: u64,
    },
    Started {
        step: u64,
        steps: u64,
    },
    Step(StepMetrics),
    Evaluated {
        step: u64,
        epoch: f64,
        evaluation: Evaluation,
    },
    /// What a policy's answers to held-out prompts were worth, under TRL's names without their `eval_`.
    Answered {
        step: u64,
        epoch: f64,
        metrics: Vec<(String, f64)>,
    },
    Saved {
        step: u64,
        path: PathBuf,
    },
    /// What was sampled for the next updates.
    Completions(Vec<LoggedCompletion>),
    /// Something its owner may want to know.
    Note(String),
}

/// What a policy answered, and what it was worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoggedCompletion {
    /// The first update that learns from it.
    pub step: u64,
    /// The line of the prompt in its file, from 1 on.
    pub example: usize,
    pub prompt: String,
    pub completion: String,
    pub tokens: usize,
    pub truncated: bool,
    pub reward: f64,
    pub rewards: BTreeMap<String, f64>,
    pub advantage: f64,
}

/// Of one update, under the names of transformers and TRL.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepMetrics {
    pub step: u64,
    pub epoch: f64,
    /// The mean over the step's targets.
    pub loss: f64,
    /// Before clipping.
    pub grad_norm: f64,
    pub learning_rate: f64,
    /// Since the training began.
    pub num_tokens: u64,
    /// Of this step.
    #[serde(skip)]
    pub step_tokens: u64,
    #[serde(skip)]
    pub seconds: f64,
    /// What the method tells beside these.
    #[serde(skip)]
    pub more: Vec<(String, f64)>,
}

/// The dev set's mean loss, over all its targets and over those of each tag.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    pub loss: f64,
    pub perplexity: f64,
    pub targets: u64,
    pub by_tag: BTreeMap<String, f64>,
}

impl Evaluation {
    /// Of each tag's sum of losses and number of targets.
    pub fn of(sums: &BTreeMap<String, (f64, u64)>) -> Self {
        let mean = |sum: f64, count: u64| sum / count.max(1) as f64;
        let (sum, targets) = sums.values().fold((0.0, 0), |(sum, count), (s, c)| (sum + s, count + c));
        let loss = mean(sum, targets);
        let tagged = sums.iter().filter(|(tag, _)| !tag.is_empty());
        let by_tag = tagged.map(|(tag, &(sum, count))| (tag.clone(), mean(sum, count))).collect();
        Self { loss, perplexity: loss.exp(), targets, by_tag }
    }
}

pub trait Observer {
    /// # Errors
    /// What ends the training, such as a full disk.
    fn event(&mut self, event: Event) -> Result<(), TrainError>;
}

impl<F: FnMut(Event) -> Result<(), TrainError>> Observer for F {
    fn event(&mut self, event: Event) -> Result<(), TrainError> {
        self(event)
    }
}
