//! `metrics.jsonl`: a line an update and a line an evaluation, under the names of transformers and TRL.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Event, Observer, StepMetrics, TrainError};

pub(super) struct MetricsFile {
    path: PathBuf,
}

impl MetricsFile {
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join("metrics.jsonl") }
    }

    /// Lines of steps behind a checkpoint are made again, all of them without one, and a line that was cut off is none.
    fn cut(&self, step: u64) -> Result<(), TrainError> {
        if !self.path.exists() {
            return Ok(());
        }
        let file = File::open(&self.path).map_err(TrainError::io(&self.path, "open it"))?;
        let partial = self.path.with_extension("partial");
        let kept = File::create(&partial).map_err(TrainError::io(&partial, "create it"))?;
        let mut kept = std::io::BufWriter::new(kept);
        for line in BufReader::new(file).lines() {
            let line = line.map_err(TrainError::io(&self.path, "read it"))?;
            let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
            if step > 0 && value["step"].as_u64().is_some_and(|of| of <= step) {
                writeln!(kept, "{line}").map_err(TrainError::io(&partial, "write it"))?;
            }
        }
        kept.flush().map_err(TrainError::io(&partial, "write it"))?;
        fs::rename(&partial, &self.path).map_err(TrainError::io(&self.path, "put it in place"))
    }

    fn line(&self, value: &Value) -> Result<(), TrainError> {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(&self.path);
        let written = file.and_then(|mut file| file.write_all(format!("{value}\n").as_bytes()));
        written.map_err(TrainError::io(&self.path, "write it"))
    }
}

impl Observer for MetricsFile {
    fn event(&mut self, event: Event) -> Result<(), TrainError> {
        match event {
            Event::Started { step, .. } => self.cut(step),
            event => event.metrics().map_or(Ok(()), |line| self.line(&line)),
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
            _ => None,
        }
    }
}

/// With the speed, which a second run need not have.
fn of_step(metrics: &StepMetrics) -> Value {
    let StepMetrics { step, epoch, loss, grad_norm, learning_rate, num_tokens, step_tokens, seconds, more } =
        metrics;
    let mut line = json!({
        "step": step, "epoch": epoch, "loss": loss, "grad_norm": grad_norm, "learning_rate": learning_rate,
        "num_tokens": num_tokens, "tokens_per_second": *step_tokens as f64 / seconds,
    });
    for (name, value) in more {
        line[name] = json!(value);
    }
    line
}
