//! Samples, one a line: as JSON with what names the run, and as CSV.

use std::io::Write;

use serde::de::IgnoredAny;

use super::failed;
use crate::eval::error::EvalError;
use crate::eval::record::{RunFile, SampleRecord};
use crate::eval::stored::StoredRun;

/// Each line of samples.jsonl, preceded by the suite and the model, so that lines of several runs can share a file.
pub(super) fn jsonl(run: &StoredRun, out: &mut dyn Write) -> Result<usize, EvalError> {
    let head = head(&run.file);
    let mut samples = run.samples::<IgnoredAny>()?;
    let mut count = 0;
    while let Some(IgnoredAny) = samples.next().transpose()? {
        count += usize::from(line(&head, samples.line(), out)?);
    }
    Ok(count)
}

/// The beginning of every line.
fn head(file: &RunFile) -> String {
    let name = |text: &str| serde_json::Value::from(text).to_string();
    format!("{{\"suite\":{},\"model\":{},", name(&file.suite.name), name(&file.generator.model))
}

/// Whether there was a record to write.
fn line(head: &str, record: &[u8], out: &mut dyn Write) -> Result<bool, EvalError> {
    let Some((b'{', fields)) = record.trim_ascii_start().split_first() else { return Ok(false) };
    out.write_all(head.as_bytes()).and_then(|()| out.write_all(fields)).map_err(failed)?;
    Ok(true)
}

pub(super) fn csv(run: &StoredRun, out: &mut dyn Write) -> Result<usize, EvalError> {
    let mut table = csv::Writer::from_writer(out);
    table.write_record(COLUMNS).map_err(failed)?;
    let mut count = 0;
    for sample in run.samples::<SampleRecord>()? {
        table.write_record(row(&run.file, &sample?)).map_err(failed)?;
        count += 1;
    }
    table.flush().map_err(failed)?;
    Ok(count)
}

/// Samples that come a few at a time, from wherever they are kept, in the same two forms.
#[derive(Debug, Clone)]
pub struct SampleRows {
    file: RunFile,
    is_csv: bool,
}

impl SampleRows {
    pub fn jsonl(file: RunFile) -> Self {
        Self { file, is_csv: false }
    }

    pub fn csv(file: RunFile) -> Self {
        Self { file, is_csv: true }
    }

    /// What stands before all samples.
    ///
    /// # Errors
    /// None that can happen while the text is in memory.
    pub fn first(&self) -> Result<Vec<u8>, EvalError> {
        if self.is_csv { table([COLUMNS.map(str::to_owned)]) } else { Ok(Vec::new()) }
    }

    /// Some samples.
    ///
    /// # Errors
    /// None that can happen while the text is in memory.
    pub fn some(&self, samples: &[SampleRecord]) -> Result<Vec<u8>, EvalError> {
        if self.is_csv {
            return table(samples.iter().map(|sample| row(&self.file, sample)));
        }
        let (head, mut out) = (head(&self.file), Vec::new());
        for sample in samples {
            line(&head, &serde_json::to_vec(sample).map_err(failed)?, &mut out)?;
            out.push(b'\n');
        }
        Ok(out)
    }
}

fn table(rows: impl IntoIterator<Item = [String; COLUMNS.len()]>) -> Result<Vec<u8>, EvalError> {
    let mut table = csv::Writer::from_writer(Vec::new());
    for row in rows {
        table.write_record(row).map_err(failed)?;
    }
    table.into_inner().map_err(|error| failed(std::io::Error::other(error.to_string())))
}

const COLUMNS: [&str; 23] = [
    "suite",
    "model",
    "problem",
    "language",
    "sample",
    "seed",
    "choice",
    "outcome",
    "verdict",
    "reason",
    "gold",
    "answer",
    "boxes",
    "unclosed_box",
    "following",
    "trace_score",
    "answer_score",
    "language_undecidable",
    "finish",
    "completion_tokens",
    "thinking_tokens",
    "error",
    "completion",
];

/// Empty where a field is null.
fn row(file: &RunFile, sample: &SampleRecord) -> [String; COLUMNS.len()] {
    fn cell<T: ToString>(value: Option<T>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    let score =
        |part: &Option<crate::score::language::Summary>| cell(part.as_ref().and_then(|part| part.score));
    [
        file.suite.name.clone(),
        file.generator.model.clone(),
        sample.problem.clone(),
        sample.language.to_string(),
        sample.sample.to_string(),
        sample.seed.to_string(),
        cell(sample.choice),
        word(&sample.outcome),
        word(&sample.verdict),
        word(&sample.reason),
        sample.gold.clone(),
        sample.answer.clone().unwrap_or_default(),
        sample.boxes.to_string(),
        sample.unclosed_box.to_string(),
        cell(sample.following),
        score(&sample.trace_language),
        score(&sample.answer_language),
        sample.language_undecidable.to_string(),
        word(&sample.finish),
        cell(sample.completion_tokens),
        cell(sample.thinking_tokens),
        sample.error.clone().unwrap_or_default(),
        sample.completion.clone(),
    ]
}

/// The name that a value has in JSON; empty for null.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}
