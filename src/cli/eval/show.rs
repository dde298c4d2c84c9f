//! `xenoglot eval show`: the table of a run, of what is there so far if it is not finished.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::run::spent;
use super::stored::{self, OpenStore, StoreOption};
use crate::eval::{Results, RunFile, Spent, StoredRun, Tally, table};
use crate::jobs::Scoreboard;
use crate::store::RunStatus;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The run's directory; with --store its id
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// run.json with the usage and the results, for an unfinished run those of its samples so far
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreOption,
}

/// What is shown of a run, wherever it is.
struct Shown {
    file: RunFile,
    results: Results,
    usage: Value,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Shown { file, results, usage } = match arguments.store.open()? {
        Some(store) => of_store(&store, arguments)?,
        None => of_directory(&stored::directory(&arguments.run)?, arguments)?,
    };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let mut file = json!(file);
        file["results"] = json!(results);
        file["usage"] = usage;
        serde_json::to_writer_pretty(&mut out, &file)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", table(&results))?;
    }
    Ok(())
}

fn of_directory(run: &StoredRun, arguments: &Arguments) -> anyhow::Result<Shown> {
    let results = if let Some(results) = &run.file.results {
        results.clone()
    } else {
        let results = Results::so_far(run)?;
        let total = results.overall.samples;
        eprintln!("not finished: {total} samples so far; the command that started the run goes on with it");
        results
    };
    if !arguments.json {
        spent(&run.directory)?;
    }
    Ok(Shown { file: run.file.clone(), results, usage: json!(Spent::on(&run.directory)?) })
}

fn of_store(store: &OpenStore, arguments: &Arguments) -> anyhow::Result<Shown> {
    let run = store.run(&arguments.run)?;
    let file = store.file(&run)?;
    let current = store.wait(Scoreboard::new(store.store.clone()).current(&run))?;
    let results = match current {
        Some(current) => (*current.results).clone(),
        None => Tally::default().results_of(&file),
    };
    if run.status != RunStatus::Completed {
        let because = run.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
        eprintln!("{}{because}: {} of {} samples so far", run.status, run.samples_done, run.samples_total);
    }
    if !arguments.json {
        eprintln!("{} prompt and {} completion tokens", run.prompt_tokens, run.completion_tokens);
    }
    let usage = json!({"prompt_tokens": run.prompt_tokens, "completion_tokens": run.completion_tokens});
    Ok(Shown { file, results, usage })
}
