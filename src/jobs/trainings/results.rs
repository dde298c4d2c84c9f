//! A training's metrics as the file that OpenAI's clients find in `result_files`: `step_metrics.csv`, a row a step.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use serde_json::Value;

use super::spec::file_path;
use crate::jobs::error::JobError;
use crate::store::{Store, StoreError};

const NAME: &str = "step_metrics.csv";
const PURPOSE: &str = "fine-tune-results";
/// OpenAI's names first. A step that was not evaluated has no `valid_loss`, and that before the first has it alone.
const HEADER: &str = "step,train_loss,valid_loss,learning_rate,grad_norm,num_tokens";

/// Puts the file of a training's metrics among the others; its id. Once more, it is the same file.
///
/// # Errors
/// Of the store; a full disk.
pub async fn publish(store: &Store, data: &Path, folder: &Path, job: &str) -> Result<String, JobError> {
    let id = format!("file-{}", job.rsplit('-').next().unwrap_or_default());
    let (from, to) = (folder.join("metrics.jsonl"), file_path(data, &id));
    let written = tokio::task::spawn_blocking(move || write(&from, &to)).await?;
    let bytes = written.map_err(|error| JobError::Internal { message: format!("its metrics: {error}") })?;
    match store.file(&id).await {
        Err(StoreError::NotFound { .. }) => drop(store.create_file(&id, NAME, PURPOSE, bytes).await?),
        found => drop(found?),
    }
    Ok(id)
}

fn write(from: &Path, to: &Path) -> io::Result<u64> {
    let partial = to.with_extension("partial");
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut out = BufWriter::new(File::create(&partial)?);
    table(BufReader::new(File::open(from)?), &mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    std::fs::rename(&partial, to)?;
    Ok(file.metadata()?.len())
}

/// From a line an update and a line an evaluation, in their order, to a row a step.
fn table(lines: impl BufRead, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{HEADER}")?;
    let mut row: Option<Value> = None;
    for line in lines.lines() {
        // A line that was cut off is none.
        let Ok(line) = serde_json::from_str::<Value>(&line?) else { continue };
        match &mut row {
            Some(row) if row["step"] == line["step"] && row["eval_loss"].is_null() => {
                row["eval_loss"] = line["eval_loss"].clone();
            }
            row => {
                if let Some(before) = row.replace(line) {
                    writeln!(out, "{}", cells(&before))?;
                }
            }
        }
    }
    row.map_or(Ok(()), |last| writeln!(out, "{}", cells(&last)))
}

fn cells(row: &Value) -> String {
    let cell = |name: &str| row[name].as_number().map(ToString::to_string).unwrap_or_default();
    ["step", "loss", "eval_loss", "learning_rate", "grad_norm", "num_tokens"].map(cell).join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluations_stand_beside_their_steps() {
        let lines = concat!(
            "{\"step\":0,\"eval_loss\":3.5}\n",
            "{\"step\":1,\"loss\":3.25,\"learning_rate\":0.1,\"grad_norm\":2.0,\"num_tokens\":7}\n",
            "{\"step\":2,\"loss\":3.0,\"learning_rate\":0.05,\"grad_norm\":1.5,\"num_tokens\":14}\n",
            "{\"step\":2,\"eval_loss\":2.75}\n",
            "{\"step\":3,\"lo",
        );
        let mut out = Vec::new();
        table(lines.as_bytes(), &mut out).unwrap();
        let expected = format!("{HEADER}\n0,,3.5,,,\n1,3.25,,0.1,2.0,7\n2,3.0,2.75,0.05,1.5,14\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
