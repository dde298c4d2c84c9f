//! What a training's thread says of itself, until the store is told of it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::protocol::fine_tuning_jobs::FineTuningError;
use crate::store::{JobEventKind, NewJobEvent};
use crate::train::{Event, counted};

/// How far a training is, as the store keeps it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    pub steps_done: u64,
    pub steps_total: Option<u64>,
    pub tokens: u64,
    /// Seconds since 1970.
    pub estimated_finish: Option<u64>,
    pub fine_tuned_model: Option<String>,
    pub result_files: Vec<String>,
    pub error: Option<FineTuningError>,
}

#[derive(Default)]
pub struct Gauge(Mutex<Told>);

#[derive(Default)]
struct Told {
    progress: Progress,
    pending: Vec<NewJobEvent>,
    /// The last update, if it has not been told.
    untold: Option<Event>,
    last_step_event: Option<Instant>,
    /// When this process began, and after which step.
    began: Option<(Instant, u64)>,
    loss: Option<f64>,
    eval_loss: Option<f64>,
}

/// Between the metrics of two updates.
const METRICS_EVERY: Duration = Duration::from_secs(1);

/// Events that wait for a store that does not answer; more are forgotten.
const PENDING_MAX: usize = 10_000;

impl Gauge {
    pub fn progress(&self) -> Progress {
        self.lock().progress.clone()
    }

    /// What has not been told.
    pub fn take(&self) -> Vec<NewJobEvent> {
        std::mem::take(&mut self.lock().pending)
    }

    /// What could not be told comes before what follows it.
    pub fn put_back(&self, mut events: Vec<NewJobEvent>) {
        let mut told = self.lock();
        events.append(&mut told.pending);
        events.truncate(PENDING_MAX);
        told.pending = events;
    }

    pub fn say(&self, level: &'static str, message: impl Into<String>) {
        self.lock().say(level, message.into());
    }

    /// The last update's metrics, however soon they come.
    pub fn flush(&self) {
        self.lock().flush();
    }

    pub fn observe(&self, event: Event) {
        let mut told = self.lock();
        match event {
            Event::Prepared { name, counts } => {
                told.say("info", format!("the {name} data are read: {}", counted(counts)));
            }
            Event::DryRun { tokens, seconds } => {
                told.say("info", format!("the longest micro-batch, {tokens} tokens, fits ({seconds:.1} s)"));
            }
            Event::Resumed { step } => told.say("info", format!("the training goes on after step {step}")),
            Event::Started { step, steps } => {
                told.began = Some((Instant::now(), step));
                (told.progress.steps_done, told.progress.steps_total) = (step, Some(steps));
                told.say("info", format!("step {step} of {steps}"));
            }
            Event::Step(metrics) => told.step(metrics),
            Event::Evaluated { ref evaluation, .. } => {
                told.eval_loss = Some(evaluation.loss);
                told.flush();
                told.metrics(&event);
            }
            Event::Answered { .. } => {
                told.flush();
                told.metrics(&event);
            }
            Event::Saved { step, .. } => told.checkpoint(step),
            Event::Note(text) => told.say("info", text),
            Event::Completions(_) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn say(&mut self, level: &'static str, message: String) {
        self.push(NewJobEvent { kind: JobEventKind::Message, level, message, data: json!({}) });
    }

    fn step(&mut self, metrics: crate::train::StepMetrics) {
        (self.progress.steps_done, self.progress.tokens) = (metrics.step, metrics.num_tokens);
        self.loss = Some(metrics.loss);
        self.progress.estimated_finish = self.estimate();
        let is_due = self.last_step_event.is_none_or(|at| at.elapsed() >= METRICS_EVERY);
        let is_last = self.progress.steps_total == Some(metrics.step);
        self.untold = Some(Event::Step(metrics));
        if is_due || is_last {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Some(event) = self.untold.take() {
            self.last_step_event = Some(Instant::now());
            self.metrics(&event);
        }
    }

    fn metrics(&mut self, event: &Event) {
        let Some(data) = event.metrics() else { return };
        let shown = |key: &str, name: &str| data[key].as_f64().map(|value| format!("{name} {value:.4}"));
        let loss = shown("loss", "loss").or_else(|| shown("eval_loss", "validation loss"));
        let loss = loss.or_else(|| shown("eval_reward", "validation reward")).unwrap_or_default();
        let message = format!("step {}: {loss}", data["step"]);
        self.push(NewJobEvent { kind: JobEventKind::Metrics, level: "info", message, data });
    }

    fn checkpoint(&mut self, step: u64) {
        let mut data = json!({"step": step, "train_loss": self.loss});
        if let Some(loss) = self.eval_loss {
            data["full_valid_loss"] = json!(loss);
        }
        let message = format!("checkpoint at step {step}");
        self.push(NewJobEvent { kind: JobEventKind::Checkpoint, level: "info", message, data });
    }

    fn push(&mut self, event: NewJobEvent) {
        if self.pending.len() < PENDING_MAX {
            self.pending.push(event);
        }
    }

    fn estimate(&self) -> Option<u64> {
        let ((began, first), total) = (self.began?, self.progress.steps_total?);
        let done = self.progress.steps_done;
        let seconds_per_step =
            began.elapsed().as_secs_f64() / done.checked_sub(first).filter(|n| *n > 0)? as f64;
        let left = total.saturating_sub(done) as f64 * seconds_per_step;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(now.as_secs() + left.round() as u64)
    }
}

impl Progress {
    pub fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
