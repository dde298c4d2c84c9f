//! A run judged again from its completions, without generating: after a rule changed, or by another profile.
//!
//! The new scores are a run of their own, in a new directory that appears whole or not at all; the old one is only read.
//! Completions are read, judged on all processors and written in batches, so that a run of any size fits in memory.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::language::Language;

use super::atomic_file::AtomicFile;
use super::error::EvalError;
use super::export::SuiteSource;
use super::generator::Finish;
use super::record::{Outcome, RunFile, SampleRecord};
use super::report::{Results, Scored};
use super::scoring::{Place, ScorerOptions, Scoring};
use super::stored::StoredRun;
use super::suite::{Problem, Suite};

#[derive(Debug, Clone)]
pub struct RescoreOptions {
    pub suite: SuiteSource,
    /// The directory of the new run; must not exist.
    pub out: PathBuf,
    pub scorers: ScorerOptions,
}

/// What a new judgement changed.
#[derive(Debug, Clone, PartialEq)]
pub struct RescoreReport {
    pub run: RunFile,
    pub samples: usize,
    /// Samples whose outcome is another now, by (old, new).
    pub changed: HashMap<(Outcome, Outcome), usize>,
}

/// Samples judged at once.
const BATCH: usize = 512;

/// Judge all samples of a run again.
///
/// # Errors
/// `OutExists`; `SuiteChanged`; `NotInSuite` for a sample of a problem that the suite lacks; whatever reading and
/// writing bring. The new directory is not there then.
pub fn rescore(run: &StoredRun, options: &RescoreOptions) -> Result<RescoreReport, EvalError> {
    if options.out.exists() {
        return Err(EvalError::OutExists { directory: options.out.clone() });
    }
    let suite = options.suite.suite_of(run)?;
    let scoring = Scoring::open(&suite, &options.scorers)?;
    scoring.reach()?;
    let judge = Judge { problems: problems(&suite), scoring: &scoring };
    let building = NewDirectory::create(&options.out)?;
    let path = building.temporary.join("samples.jsonl");
    let mut file = AtomicFile::create(&path).map_err(EvalError::io(&path))?;
    let (mut scored, mut changed) = (Vec::new(), HashMap::new());
    let mut samples = run.samples::<SampleRecord>()?;
    loop {
        let batch: Vec<SampleRecord> = samples.by_ref().take(BATCH).collect::<Result<_, _>>()?;
        if batch.is_empty() {
            break;
        }
        let before: Vec<Outcome> = batch.iter().map(|record| record.outcome).collect();
        for (old, record) in before.into_iter().zip(judge.all(batch)?) {
            if old != record.outcome {
                *changed.entry((old, record.outcome)).or_default() += 1;
            }
            scored.push(Scored::from(&record));
            let mut line = serde_json::to_vec(&record)
                .map_err(|error| EvalError::Io { path: path.clone(), source: error.into() })?;
            line.push(b'\n');
            file.write_all(&line).map_err(EvalError::io(&path))?;
        }
    }
    file.persist().map_err(EvalError::io(&path))?;
    let new = new_run(run, &scoring, &scored);
    building.finish(&new)?;
    Ok(RescoreReport { run: new, samples: scored.len(), changed })
}

fn new_run(run: &StoredRun, scoring: &Scoring, scored: &[Scored]) -> RunFile {
    let old = &run.file;
    let results = || Results::new(scored, &old.languages, old.n, old.seed);
    RunFile {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: crate::COMMIT.map(str::to_owned),
        scorer: scoring.profile(),
        results: old.complete.then(results),
        ..old.clone()
    }
}

type Problems<'a> = HashMap<(Language, &'a str), &'a Problem>;

fn problems(suite: &Suite) -> Problems<'_> {
    suite
        .languages
        .iter()
        .flat_map(|entry| {
            entry.problems.iter().map(|problem| ((entry.language, problem.id.as_str()), problem))
        })
        .collect()
}

struct Judge<'a> {
    problems: Problems<'a>,
    scoring: &'a Scoring,
}

impl Judge<'_> {
    /// A batch in its order, on all processors.
    fn all(&self, batch: Vec<SampleRecord>) -> Result<Vec<SampleRecord>, EvalError> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let share = batch.len().div_ceil(threads).max(1);
        let mut shares: Vec<Vec<SampleRecord>> = Vec::new();
        let mut rest = batch.into_iter().peekable();
        while rest.peek().is_some() {
            shares.push(rest.by_ref().take(share).collect());
        }
        let judged = std::thread::scope(|scope| {
            let running: Vec<_> = shares
                .into_iter()
                .map(|share| {
                    scope.spawn(move || share.into_iter().map(|one| self.one(one)).collect::<Vec<_>>())
                })
                .collect();
            running.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        let failed = |_| EvalError::Scoring { message: "a scorer failed on a completion".to_owned() };
        let judged: Vec<Vec<_>> = judged.into_iter().collect::<Result<_, _>>().map_err(failed)?;
        judged.into_iter().flatten().collect()
    }

    fn one(&self, old: SampleRecord) -> Result<SampleRecord, EvalError> {
        if old.finish == Finish::Error {
            return Ok(old);
        }
        let problem = self
            .problems
            .get(&(old.language, old.problem.as_str()))
            .ok_or_else(|| EvalError::NotInSuite { problem: old.problem.clone(), language: old.language })?;
        let (language, sample, seed, choice) = (old.language, old.sample, old.seed, old.choice);
        let place = Place { problem, language, sample, seed, choice };
        self.scoring.record(place, old.into())
    }
}

/// A run directory that gets its name when it is complete.
struct NewDirectory {
    temporary: PathBuf,
    out: PathBuf,
    finished: bool,
}

impl NewDirectory {
    fn create(out: &Path) -> Result<Self, EvalError> {
        let name = out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let temporary = out.with_file_name(format!(".{name}.{}.new", std::process::id()));
        std::fs::create_dir_all(&temporary).map_err(EvalError::io(&temporary))?;
        Ok(Self { temporary, out: out.to_owned(), finished: false })
    }

    fn finish(mut self, run: &RunFile) -> Result<(), EvalError> {
        let path = self.temporary.join("run.json");
        let write = || -> std::io::Result<()> {
            let mut file = AtomicFile::create(&path)?;
            serde_json::to_writer_pretty(&mut file, run)?;
            file.write_all(b"\n")?;
            file.persist()?;
            std::fs::rename(&self.temporary, &self.out)
        };
        write().map_err(EvalError::io(&self.out))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        if !self.finished {
            // Nobody is left to hear of a failure; the name says what it is.
            let _ = std::fs::remove_dir_all(&self.temporary);
        }
    }
}
