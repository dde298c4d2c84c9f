//! `xenoglot eval rescore`: a run's completions judged again.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::run::classify;
use super::scorers::ScorerArguments;
use super::stored::{self, StoreOption};
use super::suite_options::SuiteOptions;
use crate::eval::rescore::{RescoreOptions, rescore};
use crate::eval::{Results, StoredRun, table};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The run's directory, which stays as it is; with --store its id
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Directory of the new run, also of one in a store; must not exist [default: RUN-rescored, of a store runs/ID-rescored]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    suite: SuiteOptions,
    #[command(flatten)]
    scorers: ScorerArguments,
    #[command(flatten)]
    store: StoreOption,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match arguments.store.open()? {
        None => judged(&stored::directory(&arguments.run)?, &arguments.run, arguments),
        Some(store) => {
            let run = store.run(&arguments.run)?;
            judged(&store.copy(&run)?.run, &Path::new("runs").join(&run.id), arguments)
        }
    }
}

/// Judge a run again; the new one's usual directory is beside `beside`.
fn judged(run: &StoredRun, beside: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let out = arguments.out.clone().unwrap_or_else(|| usual_out(beside));
    let options = RescoreOptions {
        suite: arguments.suite.source(),
        out: out.clone(),
        scorers: arguments.scorers.options()?,
    };
    let report = rescore(run, &options).map_err(classify)?;
    let changed: usize = report.changed.values().sum();
    eprintln!("{} samples judged again in {}, {changed} with another outcome", report.samples, out.display());
    let mut changes: Vec<_> = report.changed.iter().collect();
    changes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for ((old, new), count) in changes {
        eprintln!("  {count} {old:?} -> {new:?}");
    }
    let results = match report.run.results {
        Some(results) => results,
        None => Results::so_far(&StoredRun::open(&out)?)?,
    };
    write!(std::io::stdout().lock(), "{}", table(&results))?;
    Ok(())
}

fn usual_out(directory: &Path) -> PathBuf {
    let name = directory.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy());
    directory.with_file_name(format!("{name}-rescored"))
}
