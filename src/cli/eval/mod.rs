//! `xenoglot eval`: run a suite, and look at, compare, judge again and export what runs left behind.

mod bar;
mod compare;
mod export;
mod ignored;
mod list;
mod rescore;
mod run;
mod scorers;
mod show;
mod stored;
mod suite_options;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::eval::{DataState, Suite};

use super::options::GlobalOptions;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run a suite, or go on with an interrupted run.
    Run(Box<run::Arguments>),
    /// List the suites.
    Suites(SuitesArguments),
    /// List the runs below a folder, or in a store.
    List(list::Arguments),
    /// Print the table of a run again.
    Show(show::Arguments),
    /// Compare two runs of one suite, problem by problem.
    Compare(compare::Arguments),
    /// Judge a run's completions again, without generating.
    Rescore(rescore::Arguments),
    /// Write a run in a form that other tools read.
    Export(export::Arguments),
}

#[derive(Debug, Args)]
struct SuitesArguments {
    /// Where to look for data that are not shipped [default: $XENOGLOT_DATA]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.action {
        Action::Run(arguments) => run::run(global, arguments),
        Action::Suites(arguments) => suites(arguments.data.as_deref()),
        Action::List(arguments) => list::run(arguments),
        Action::Show(arguments) => show::run(arguments),
        Action::Compare(arguments) => compare::run(arguments),
        Action::Rescore(arguments) => rescore::run(arguments),
        Action::Export(arguments) => export::run(arguments),
    }
}

fn suites(data: Option<&Path>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for name in Suite::known() {
        match Suite::summary(&name, data) {
            Ok(suite) => {
                let codes: Vec<&str> = suite.languages.iter().map(|language| language.code()).collect();
                let data = match suite.data {
                    DataState::Own => "built in".to_owned(),
                    DataState::Present { languages } => format!("data of {languages} languages"),
                    DataState::Missing { .. } => "data missing".to_owned(),
                };
                let (task, codes, description) = (suite.task.name(), codes.join(","), &suite.description);
                writeln!(out, "{name}  {task}  {data}  {codes}  {description}")?;
            }
            Err(error) => eprintln!("{name}: {error}"),
        }
    }
    Ok(())
}
