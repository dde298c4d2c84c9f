//! `xenoglot eval compare`: two runs side by side.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::run::classify;
use super::stored::{self, OpenStore, StoreOption};
use crate::cli::failure::Failure;
use crate::eval::compare::{CompareOptions, Measured, compare_measured, table};
use crate::eval::{Metric, ProblemTallies, RunFile, problem_tallies};
use crate::jobs::MeasuredRun;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The first run's directory; with --store its id, or a directory still
    a: PathBuf,
    /// The second run's; differences are B minus A
    b: PathBuf,
    #[arg(long, value_enum, default_value_t = Quantity::Pass)]
    metric: Quantity,
    /// The k of pass@k [default: 1]
    #[arg(allow_negative_numbers = true, long)]
    k: Option<u32>,
    /// Problems shown of "A right, B wrong" and of the reverse
    #[arg(long, default_value_t = 10, value_name = "PROBLEMS")]
    problems: usize,
    /// Of the bootstrap and the permutations
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Compare runs of different suites, by problem and language
    #[arg(long)]
    force: bool,
    /// All of it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreOption,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Quantity {
    /// Correct: pass@k
    Pass,
    /// Correct and in the language: consistent-pass@k
    Consistent,
    /// In the language
    Following,
}

impl From<Quantity> for Metric {
    fn from(quantity: Quantity) -> Self {
        match quantity {
            Quantity::Pass => Self::Pass,
            Quantity::Consistent => Self::Consistent,
            Quantity::Following => Self::Following,
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if matches!(arguments.metric, Quantity::Following) && arguments.k.is_some() {
        return Err(Failure::usage("--k is of pass and consistent: following has none").into());
    }
    let store = arguments.store.open()?;
    let a = Side::read(store.as_ref(), &arguments.a)?;
    let b = Side::read(store.as_ref(), &arguments.b)?;
    let options = CompareOptions {
        metric: arguments.metric.into(),
        k: arguments.k.unwrap_or(1),
        seed: arguments.seed,
        force: arguments.force,
    };
    let comparison = compare_measured(a.measured(), b.measured(), &options).map_err(classify)?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &comparison)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", table::table(&comparison, arguments.problems))?;
    }
    Ok(())
}

/// One of the two runs, and what became of its problems.
struct Side {
    /// Its directory, or its id.
    name: PathBuf,
    file: RunFile,
    tallies: ProblemTallies,
}

impl Side {
    /// From a store, unless the name is that of a directory with a run.
    fn read(store: Option<&OpenStore>, name: &Path) -> anyhow::Result<Self> {
        let (file, tallies) = if let Some(store) = store.filter(|_| !name.join("run.json").is_file()) {
            let run = store.run(name)?;
            let MeasuredRun { file, tallies, .. } = store.wait(MeasuredRun::read(&store.store, &run))?;
            (file, tallies)
        } else {
            let run = stored::directory(name)?;
            let tallies = problem_tallies(&run).map_err(classify)?;
            (run.file, tallies)
        };
        Ok(Self { name: name.to_owned(), file, tallies })
    }

    fn measured(&self) -> Measured<'_> {
        Measured { directory: &self.name, file: &self.file, tallies: &self.tallies }
    }
}
