//! `xenoglot eval export`: a run for other tools.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::run::classify;
use super::suite_options::SuiteOptions;
use crate::cli::failure::Failure;
use crate::eval::export::{ExportFormat, SftOptions, export};
use crate::eval::{AtomicFile, StoredRun};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The run's directory
    directory: PathBuf,
    #[arg(long, value_parser = PossibleValuesParser::new(ExportFormat::ALL.map(|(name, _)| name)))]
    format: String,
    /// A file; it appears whole or not at all [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// sft: most completions of one problem in one language
    #[arg(long, default_value_t = SftOptions::default().per_problem_max, value_name = "N")]
    max_per_problem: usize,
    /// sft: chooses among more
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    suite: SuiteOptions,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let run = StoredRun::open(&arguments.directory).map_err(classify)?;
    let format: ExportFormat =
        arguments.format.parse().map_err(|error| Failure::usage(format!("--format: {error}")))?;
    let sft = SftOptions {
        suite: arguments.suite.source(),
        per_problem_max: arguments.max_per_problem,
        seed: arguments.seed,
    };
    let written = match &arguments.out {
        None => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            let written = export(&run, format, &sft, &mut out)?;
            out.flush()?;
            written
        }
        Some(path) => {
            let at = || format!("writing {}", path.display());
            let mut file = AtomicFile::create(path).with_context(at)?;
            let written = export(&run, format, &sft, &mut file)?;
            file.persist().with_context(at)?;
            written
        }
    };
    eprintln!("{written} {}", unit(format));
    Ok(())
}

fn unit(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Jsonl | ExportFormat::Csv => "samples",
        ExportFormat::Markdown => "rows",
        ExportFormat::LmEval => "tasks",
        ExportFormat::Sft => "chats",
    }
}
