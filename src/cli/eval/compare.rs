//! `xenoglot eval compare`: two runs side by side.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::run::classify;
use crate::cli::failure::Failure;
use crate::eval::compare::{CompareOptions, compare, table};
use crate::eval::{Metric, StoredRun};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The first run's directory
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
    let a = StoredRun::open(&arguments.a).map_err(classify)?;
    let b = StoredRun::open(&arguments.b).map_err(classify)?;
    let options = CompareOptions {
        metric: arguments.metric.into(),
        k: arguments.k.unwrap_or(1),
        seed: arguments.seed,
        force: arguments.force,
    };
    let comparison = compare(&a, &b, &options).map_err(classify)?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &comparison)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", table::table(&comparison, arguments.problems))?;
    }
    Ok(())
}
