//! A run in the forms that other tools read. Each is streamed to a writer; docs/formats.md names their fields.

mod lm_eval;
mod markdown;
mod rows;
mod sft;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::error::EvalError;
use super::problem_tally::{ProblemTallies, problem_tallies};
use super::record::RunFile;
use super::stored::StoredRun;
use super::suite::{OpenOptions, Suite};

pub use rows::SampleRows;
pub use sft::SftOptions;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// A line a sample, with the suite and the model.
    Jsonl,
    /// The same as a table; nested fields flattened.
    Csv,
    /// The results as a table.
    Markdown,
    /// The results in the shape of lm-evaluation-harness.
    LmEval,
    /// Correct completions that follow the language, as chats to train on.
    Sft,
}

impl ExportFormat {
    pub const ALL: [(&'static str, Self); 5] = [
        ("jsonl", Self::Jsonl),
        ("csv", Self::Csv),
        ("markdown", Self::Markdown),
        ("lm-eval", Self::LmEval),
        ("sft", Self::Sft),
    ];
}

impl FromStr for ExportFormat {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, format)| *format);
        found.ok_or_else(|| format!("unknown; known: {}", Self::ALL.map(|(known, _)| known).join(", ")))
    }
}

/// Write a run to `out`; how many samples or rows it has become.
///
/// # Errors
/// `Unfinished` where results are asked for and the run has none; `SuiteChanged` where prompts are needed and `suite`
/// is not the run's; `Write`, and whatever reading brings.
pub fn export(
    run: &StoredRun,
    format: ExportFormat,
    sft: &SftOptions,
    out: &mut dyn Write,
) -> Result<usize, EvalError> {
    match format {
        ExportFormat::Jsonl => rows::jsonl(run, out),
        ExportFormat::Csv => rows::csv(run, out),
        ExportFormat::Markdown => markdown(&run.file, &run.directory, out),
        ExportFormat::LmEval => lm_eval(&run.file, &run.directory, &problem_tallies(run)?, out),
        ExportFormat::Sft => sft::write(run, sft, out),
    }
}

/// The results as a Markdown table; how many rows it has. `directory` names the run in messages.
///
/// # Errors
/// `Unfinished`, if the run has no results; `Write`.
pub fn markdown(file: &RunFile, directory: &Path, out: &mut dyn Write) -> Result<usize, EvalError> {
    let results = file.results.as_ref().ok_or_else(|| unfinished(directory))?;
    markdown::write(file, results, out)
}

/// The results in the shape of lm-evaluation-harness; how many tasks it has.
///
/// # Errors
/// `Unfinished`, if the run has no results; `Write`.
pub fn lm_eval(
    file: &RunFile,
    directory: &Path,
    tallies: &ProblemTallies,
    out: &mut dyn Write,
) -> Result<usize, EvalError> {
    let results = file.results.as_ref().ok_or_else(|| unfinished(directory))?;
    lm_eval::write(file, results, tallies, out)
}

/// Where a run's suite is, to read its prompts and golds again.
#[derive(Debug, Clone, Default)]
pub struct SuiteSource {
    /// `None`: by the name that the run recorded.
    pub name: Option<String>,
    /// As the run was started with; its languages are those of the run, and so are its prompts and variants unless others
    /// are named.
    pub open: OpenOptions,
}

impl SuiteSource {
    /// # Errors
    /// `SuiteChanged` if its digest is not the one recorded.
    pub(super) fn suite_of(&self, run: &StoredRun) -> Result<Suite, EvalError> {
        let recorded = &run.file.suite;
        let mut options = OpenOptions {
            languages: Some(run.file.languages.clone()),
            examples: run.file.shots > 0,
            ..self.open.clone()
        };
        if options.variants.is_empty() {
            options.variants.clone_from(&recorded.variants);
        }
        let name = self.name.as_deref().unwrap_or(&recorded.name);
        let is_recorded = |suite: &Suite| suite.sha256 == recorded.sha256;
        let found = Suite::open_with(name, &options);
        if let Some(suite) = found.as_ref().ok().filter(|suite| is_recorded(suite)) {
            return Ok(suite.clone());
        }
        // A shared set that took the place of the suite's own prompts is on record under the same key as one that is the
        // suite's own, so that it is only tried here.
        if options.prompts.is_none() && recorded.prompts.is_some() {
            let options = OpenOptions { prompts: recorded.prompts.clone(), ..options };
            if let Some(suite) = Suite::open_with(name, &options).ok().filter(is_recorded) {
                return Ok(suite);
            }
        }
        Err(EvalError::SuiteChanged {
            name: recorded.name.clone(),
            recorded: recorded.sha256.clone(),
            found: found?.sha256,
        })
    }
}

fn unfinished(directory: &Path) -> EvalError {
    EvalError::Unfinished { directory: directory.to_owned() }
}

/// An error of the writer.
fn failed(source: impl Into<std::io::Error>) -> EvalError {
    EvalError::Io { path: PathBuf::from("the export"), source: source.into() }
}
