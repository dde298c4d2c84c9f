//! `xenoglot eval export`: a run for other tools.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::run::classify;
use super::stored::{self, OpenStore, StoreOption};
use super::suite_options::SuiteOptions;
use crate::cli::failure::Failure;
use crate::eval::export::{ExportFormat, SampleRows, SftOptions, export, lm_eval, markdown};
use crate::eval::{AtomicFile, RunFile, StoredRun};
use crate::jobs::{MeasuredRun, SamplePages};
use crate::store::RunRow;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The run's directory; with --store its id
    #[arg(value_name = "RUN")]
    run: PathBuf,
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
    #[command(flatten)]
    store: StoreOption,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
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
    let source = match arguments.store.open()? {
        None => Source::Directory(Box::new(stored::directory(&arguments.run)?)),
        Some(store) => Source::Stored { run: Box::new(store.run(&arguments.run)?), store },
    };
    let written = match &arguments.out {
        None => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            let written = source.write(format, &sft, &mut out)?;
            out.flush()?;
            written
        }
        Some(path) => {
            let at = || format!("writing {}", path.display());
            let mut file = AtomicFile::create(path).with_context(at)?;
            let written = source.write(format, &sft, &mut file)?;
            file.persist().with_context(at)?;
            written
        }
    };
    eprintln!("{written} {}", unit(format));
    Ok(())
}

/// Where the run is.
enum Source {
    Directory(Box<StoredRun>),
    Stored { run: Box<RunRow>, store: OpenStore },
}

impl Source {
    /// How many samples or rows the run has become.
    fn write(&self, format: ExportFormat, sft: &SftOptions, out: &mut dyn Write) -> anyhow::Result<usize> {
        let (run, store) = match self {
            Self::Directory(run) => return export(run, format, sft, out).map_err(classify),
            Self::Stored { run, store } => (run, store),
        };
        match format {
            ExportFormat::Jsonl => samples(run, store, SampleRows::jsonl, out),
            ExportFormat::Csv => samples(run, store, SampleRows::csv, out),
            ExportFormat::Markdown => markdown(&store.file(run)?, Path::new(&run.id), out).map_err(classify),
            ExportFormat::LmEval => {
                let MeasuredRun { file, tallies, .. } = store.wait(MeasuredRun::read(&store.store, run))?;
                lm_eval(&file, Path::new(&run.id), &tallies, out).map_err(classify)
            }
            // It goes through the completions twice, and keeps none in mind.
            ExportFormat::Sft => export(&store.copy(run)?.run, format, sft, out).map_err(classify),
        }
    }
}

/// Samples as rows, by problem.
fn samples(
    run: &RunRow,
    store: &OpenStore,
    rows: fn(RunFile) -> SampleRows,
    out: &mut dyn Write,
) -> anyhow::Result<usize> {
    let rows = rows(store.file(run)?);
    out.write_all(&rows.first().map_err(classify)?)?;
    let (mut pages, mut count) = (SamplePages::new(&store.store, run), 0);
    while let Some(records) = store.wait(pages.piece())? {
        count += records.len();
        out.write_all(&rows.some(&records).map_err(classify)?)?;
    }
    Ok(count)
}

fn unit(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Jsonl | ExportFormat::Csv => "samples",
        ExportFormat::Markdown => "rows",
        ExportFormat::LmEval => "tasks",
        ExportFormat::Sft => "chats",
    }
}
