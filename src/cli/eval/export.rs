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
    /// sft: most completions of one problem in one language [default: 4]
    #[arg(long, value_name = "N")]
    max_per_problem: Option<usize>,
    /// sft: chooses among more [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    suite: SuiteOptions,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let run = StoredRun::open(&arguments.directory).map_err(classify)?;
    let format: ExportFormat =
        arguments.format.parse().map_err(|error| Failure::usage(format!("--format: {error}")))?;
    let only_sft =
        [("max-per-problem", arguments.max_per_problem.is_some()), ("seed", arguments.seed.is_some())];
    if let Some((name, _)) = only_sft.iter().find(|(_, given)| *given && format != ExportFormat::Sft) {
        return Err(Failure::usage(format!("--{name} is of --format sft")).into());
    }
    let usual = SftOptions::default();
    let sft = SftOptions {
        suite: arguments.suite.source(),
        per_problem_max: arguments.max_per_problem.unwrap_or(usual.per_problem_max),
        seed: arguments.seed.unwrap_or(usual.seed),
    };
    let written = match &arguments.out {
        None => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            let written = export(&run, format, &sft, &mut out).map_err(classify)?;
            out.flush()?;
            written
        }
        Some(path) => {
            let at = || format!("writing {}", path.display());
            let mut file = AtomicFile::create(path).with_context(at)?;
            let written = export(&run, format, &sft, &mut file).map_err(classify)?;
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
