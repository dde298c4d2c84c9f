//! `xenoglot bench`: how fast this machine computes. `engine` serves fixed workloads in this process, `gemm` times
//! the linears of a decode step, `peak` measures what the processor could do at most, `quality` what a type of weights
//! costs in accuracy, `language` how well and fast languages are recognised, `score` how many answers are judged a
//! second, `guide` what structured output costs, `eval` what an evaluation takes beside generation, `merge` merges synthetic checkpoints.
//!
//! Without HTTP and without peers: `bench/compare` is the comparison with other servers.

mod engine;
mod eval;
mod gemm;
mod guide;
mod language;
mod merge;
mod peak;
mod quality;
mod score;
mod workload;

use std::io::Write;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::ops::{Isa, Workers};
use crate::settings::Settings;

use super::failure::Failure;
use super::options::GlobalOptions;
use super::start;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Target {
    /// Tokens a second of the engine in this process.
    Engine(Box<engine::Arguments>),
    /// The linears of a decode step, as a share of the processor's peak.
    Gemm(gemm::Arguments),
    /// What structured output costs: compiling a schema, the mask of a token.
    Guide(guide::Arguments),
    /// What an evaluation costs beside generation, with a generator that answers at once.
    Eval(eval::Arguments),
    /// The most multiply-adds and bytes read a second.
    Peak(peak::Arguments),
    /// How often the language of a text is recognised, and how fast.
    Language(language::Arguments),
    /// Merging synthetic checkpoints, beside what the disk needs for the same bytes.
    Merge(merge::Arguments),
    /// What a type of weights loses against another: perplexity, divergence, agreement of the likeliest tokens.
    Quality(Box<quality::Arguments>),
    /// Answers judged a second: extraction and equivalence.
    Score(score::Arguments),
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.target {
        Target::Engine(arguments) => engine::run(global, arguments),
        Target::Eval(arguments) => eval::run(arguments),
        Target::Gemm(arguments) => gemm::run(global, arguments),
        Target::Guide(arguments) => guide::run(global, arguments),
        Target::Peak(arguments) => peak::run(global, arguments),
        Target::Language(arguments) => language::run(arguments),
        Target::Merge(arguments) => merge::run(arguments),
        Target::Quality(arguments) => quality::run(global, arguments),
        Target::Score(arguments) => score::run(global, arguments),
    }
}

/// The instruction set to compute on.
#[derive(Debug, Clone, Args)]
struct IsaOption {
    /// Compute on this instruction set instead of the best present
    #[arg(long, value_name = "NAME")]
    isa: Option<String>,
}

impl IsaOption {
    fn workers(&self, settings: &Settings) -> anyhow::Result<Arc<Workers>> {
        start::workers_on(settings, self.isa()?)
    }

    fn isa(&self) -> Result<Isa, Failure> {
        let Some(name) = &self.isa else { return Ok(Isa::detect()) };
        let present = Isa::available();
        present.iter().copied().find(|isa| isa.to_string() == *name).ok_or_else(|| {
            let present: Vec<String> = present.iter().map(ToString::to_string).collect();
            Failure::usage(format!("--isa: this processor has no `{name}`"))
                .hint(format!("it has {}", present.join(", ")))
        })
    }
}

/// The result on stdout: one JSON object, or text.
fn print(json: bool, as_json: &dyn Fn() -> Value, as_text: &dyn Fn() -> String) -> anyhow::Result<()> {
    let result = if json { as_json().to_string() } else { as_text() };
    writeln!(std::io::stdout(), "{result}")?;
    Ok(())
}

/// To two decimals: nothing here is known better.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match values.as_slice() {
        [] => f64::NAN,
        values => f64::midpoint(values[low], values[high]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let check = |values: &[f64], expected| assert_eq!(median(values.to_vec()), expected);
        check(&[3.0], 3.0);
        check(&[4.0, 1.0], 2.5);
        check(&[9.0, 1.0, 5.0], 5.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn instruction_sets_go_by_name() {
        let option = |name: &str| IsaOption { isa: Some(name.to_owned()) };
        for isa in Isa::available() {
            assert_eq!(option(&isa.to_string()).isa().unwrap(), isa);
        }
        assert_eq!(IsaOption { isa: None }.isa().unwrap(), Isa::detect());
        assert!(option("mmx").isa().unwrap_err().to_string().contains("`mmx`"));
    }
}
