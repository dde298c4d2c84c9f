//! What can stop an evaluation, each with the way out.

use std::path::PathBuf;

use crate::language::Language;

use super::suite::SuiteError;

#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    #[error(transparent)]
    Suite(#[from] SuiteError),
    #[error("{path}: {source}{}", room(source))]
    Io { path: PathBuf, source: std::io::Error },
    #[error("suite {suite} has no problems in {language}; it has {available}")]
    LanguageMissing { suite: String, language: Language, available: String },
    #[error(
        "shots: {asked} worked examples are asked for, and suite {suite} has {available} in {language}; \
         at most so many can be shown (`--shots` wins over a preset's)"
    )]
    TooFewExamples { suite: String, language: Language, available: usize, asked: usize },
    /// A setting no run can work with; `field` is its name in run.json.
    #[error("{field}: {message}")]
    InvalidSetting { field: &'static str, message: String },
    #[error(
        "{directory} holds a run with another configuration: {field} was {recorded} and is now {asked}. Use the \
         recorded value to resume it, or another directory for a new run"
    )]
    DifferentRun { directory: PathBuf, field: String, recorded: String, asked: String },
    #[error("{directory} is in use by another run; wait for it, or use another directory")]
    Locked { directory: PathBuf },
    #[error(
        "{path}, line {line}: {message}; repair or delete that line, or start again in another directory"
    )]
    BadRecord { path: PathBuf, line: usize, message: String },
    /// The generator is out of reach or broken; what was finished is kept.
    #[error(
        "generation stopped: {message} ({done} of {total} samples are kept; the same command goes on from there)"
    )]
    Generator { message: String, done: usize, total: usize },
    /// Not these prompts but the set-up is at fault; a refusal that is written down would be final.
    #[error(
        "{count} requests were refused and none served meanwhile, the first with: {message}; nothing is written of \
         them, and the same command asks again ({done} of {total} samples are kept)"
    )]
    Refused { count: usize, message: String, done: usize, total: usize },
    #[error(
        "interrupted with {done} of {total} samples finished; the same command with --out {directory} goes on"
    )]
    Interrupted { directory: PathBuf, done: usize, total: usize },
    /// What the suite's scorer needs is not there: a sandbox for programs, a judge.
    #[error("{message}")]
    NoScorer { message: String },
    #[error("problem {problem:?} in {language} cannot be judged: {message}")]
    ProblemField { problem: String, language: Language, message: String },
    #[error("{directory} holds no run (there is no run.json); `xenoglot eval list` shows those below ./runs")]
    NotARun { directory: PathBuf },
    #[error(
        "the runs are of different suites, {a} and {b}, whose digests differ; --force compares the problems that have \
         the same id and language"
    )]
    DifferentSuites { a: String, b: String },
    #[error(
        "suite {name} is not what the run was of: its sha256 is {found}, and {recorded} was recorded; name the folder of \
         the suite as it was with --suite"
    )]
    SuiteChanged { name: String, recorded: String, found: String },
    #[error("{directory} is there already; name another directory with --out, or remove it")]
    OutExists { directory: PathBuf },
    #[error("the suite has no problem {problem:?} in {language}, of which the run has a sample")]
    NotInSuite { problem: String, language: Language },
    #[error(
        "the run in {directory} is not finished and has no results; the command that started it goes on with it"
    )]
    Unfinished { directory: PathBuf },
    #[error("{a} and {b} share no problem with enough samples")]
    NothingShared { a: PathBuf, b: PathBuf },
    #[error("scoring failed: {message}")]
    Scoring { message: String },
}

impl EvalError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// The way out where there is no room.
fn room(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded => ": free some space; the same command goes on with what is kept",
        FileTooLarge => {
            ": raise the limit of file sizes (ulimit -f); the same command goes on with what is kept"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::EvalError;

    #[test]
    fn a_full_disk_has_a_way_out() {
        let told = |kind| EvalError::io("runs/a/samples.jsonl")(Error::from(kind)).to_string();
        assert!(
            told(ErrorKind::StorageFull)
                .ends_with("free some space; the same command goes on with what is kept")
        );
        assert!(told(ErrorKind::FileTooLarge).contains("ulimit -f"));
        assert!(!told(ErrorKind::PermissionDenied).contains("space"));
    }
}
