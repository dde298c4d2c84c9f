//! `metrics.jsonl`: a line an update and a line an evaluation, under the names of transformers and TRL.

use std::path::Path;

use serde_json::{Value, json};

use super::json_lines::JsonLines;
use super::{Event, Observer, StepMetrics, TrainError};

/// Its name in a training's folder.
pub(super) const FILE: &str = "metrics.jsonl";

pub(super) struct MetricsFile(JsonLines);

impl MetricsFile {
    pub fn new(folder: &Path) -> Self {
        Self(JsonLines::new(folder.join(FILE)))
    }
}

impl Observer for MetricsFile {
    fn event(&mut self, event: Event) -> Result<(), TrainError> {
        match event {
            Event::Started { step, .. } => self.0.cut(step),
            event => event.metrics().map_or(Ok(()), |line| self.0.push(&line)),
        }
    }
}

impl Event {
    /// Of an update or an evaluation: the metrics under the names of transformers and TRL.
    pub fn metrics(&self) -> Option<Value> {
        match self {
            Self::Step(metrics) => Some(of_step(metrics)),
            Self::Evaluated { step, epoch, evaluation } => {
                let mut line = json!({
                    "step": step, "epoch": epoch, "eval_loss": evaluation.loss, "eval_perplexity": evaluation.perplexity,
                    "eval_tokens": evaluation.targets,
                });
                for (tag, loss) in &evaluation.by_tag {
                    line[format!("eval_{tag}_loss")] = json!(loss);
                }
                Some(line)
            }
            Self::Answered { step, epoch, metrics } => {
                let mut line = json!({"step": step, "epoch": epoch});
                for (name, value) in metrics {
                    line[format!("eval_{name}")] = json!(value);
                }
                Some(line)
            }
            _ => None,
        }
    }
}

/// With the speed, which a second run need not have.
fn of_step(metrics: &StepMetrics) -> Value {
    let StepMetrics { step, epoch, loss, grad_norm, learning_rate, num_tokens, step_tokens, seconds, more } =
        metrics;
    let mut line = json!({"step": step, "epoch": epoch});
    // What the method tells comes first: of a policy, its reward.
    for (name, value) in more {
        line[name] = json!(value);
    }
    let usual = json!({
        "loss": loss, "grad_norm": grad_norm, "learning_rate": learning_rate,
        "num_tokens": num_tokens, "tokens_per_second": *step_tokens as f64 / seconds,
    });
    if let (Value::Object(line), Value::Object(usual)) = (&mut line, usual) {
        line.extend(usual);
    }
    line
}
