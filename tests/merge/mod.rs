//! Merging, against what mergekit 0.1.5 makes of the same configurations (fixtures/make.py), and what goes wrong.

mod config;
mod faults;
mod golden;
mod layer_kinds;
mod lora;
mod maet;
mod runs;
mod series;
mod vocabulary;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use xenoglot::merge::{ExecuteOptions, FileOptions, MergeError, MergeJob, Plan, PlanOptions, Silent};

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/merge/fixtures")
}

/// Paths of a configuration are relative to the fixtures.
pub fn locate(path: &str, _revision: Option<&str>) -> Result<PathBuf, String> {
    let path = fixtures().join(path);
    if path.exists() { Ok(path) } else { Err(format!("{} does not exist", path.display())) }
}

/// Merge a configuration of the fixtures into a new folder.
pub fn merge(text: &str, out: &Path, threads: usize) -> Result<Plan, MergeError> {
    let options = PlanOptions { seed: seed(text), ..PlanOptions::default() };
    let job = MergeJob::plan(text, &locate, &options)?;
    let stop = AtomicBool::new(false);
    let options = ExecuteOptions { threads, resume: false, stop: &stop };
    job.write(out, options, FileOptions::default(), &Silent)?;
    Ok(job.plan)
}

/// The seed in a fixture's first line.
fn seed(text: &str) -> u64 {
    let first = text.lines().next().and_then(|line| line.strip_prefix("# seed: "));
    first.map_or(0, |seed| seed.parse().unwrap())
}
