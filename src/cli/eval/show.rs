//! `xenoglot eval show`: the table of a run, of what is there so far if it is not finished.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::run::{classify, spent};
use crate::eval::{Results, Spent, StoredRun, table};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The run's directory
    directory: PathBuf,
    /// run.json with the usage and the results, for an unfinished run those of its samples so far
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let run = StoredRun::open(&arguments.directory).map_err(classify)?;
    let results = if let Some(results) = &run.file.results {
        results.clone()
    } else {
        let results = Results::so_far(&run)?;
        let total = results.overall.samples;
        eprintln!("not finished: {total} samples so far; the command that started the run goes on with it");
        results
    };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let mut file = json!(run.file);
        file["results"] = json!(results);
        file["usage"] = json!(Spent::on(&run.directory)?);
        serde_json::to_writer_pretty(&mut out, &file)?;
        writeln!(out)?;
    } else {
        spent(&run.directory)?;
        write!(out, "{}", table(&results))?;
    }
    Ok(())
}
