//! Samples, one a line: as JSON with what names the run, and as CSV.

use std::io::Write;

use serde::de::IgnoredAny;

use super::failed;
use crate::eval::error::EvalError;
use crate::eval::record::SampleRecord;
use crate::eval::stored::StoredRun;

/// Each line of samples.jsonl, preceded by the suite and the model, so that lines of several runs can share a file.
pub(super) fn jsonl(run: &StoredRun, out: &mut dyn Write) -> Result<usize, EvalError> {
    let name = |text: &str| serde_json::to_string(text).map_err(failed);
    let head = format!(
        "{{\"suite\":{},\"model\":{},",
        name(&run.file.suite.name)?,
        name(&run.file.generator.model)?
    );
    let mut samples = run.samples::<IgnoredAny>()?;
    let mut count = 0;
    while let Some(IgnoredAny) = samples.next().transpose()? {
        let Some((b'{', fields)) = samples.line().trim_ascii_start().split_first() else { continue };
        out.write_all(head.as_bytes()).and_then(|()| out.write_all(fields)).map_err(failed)?;
        count += 1;
    }
    Ok(count)
}

const COLUMNS: [&str; 22] = [
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
    "error",
    "completion",
];

pub(super) fn csv(run: &StoredRun, out: &mut dyn Write) -> Result<usize, EvalError> {
    let mut table = csv::Writer::from_writer(out);
    table.write_record(COLUMNS).map_err(failed)?;
    let mut count = 0;
    for sample in run.samples::<SampleRecord>()? {
        table.write_record(row(run, &sample?)).map_err(failed)?;
        count += 1;
    }
    table.flush().map_err(failed)?;
    Ok(count)
}

/// Empty where a field is null.
fn row(run: &StoredRun, sample: &SampleRecord) -> [String; COLUMNS.len()] {
    fn cell<T: ToString>(value: Option<T>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    let score =
        |part: &Option<crate::score::language::Summary>| cell(part.as_ref().and_then(|part| part.score));
    [
        run.file.suite.name.clone(),
        run.file.generator.model.clone(),
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
