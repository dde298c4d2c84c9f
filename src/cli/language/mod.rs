//! `xenoglot language`: in how far texts are in the language that they should be in.
//!
//! One text, as an argument or on stdin, or many as JSON lines. A text may be a completion: with a `</think>` in it,
//! trace and answer are scored apart as well.

mod lines;
mod report;

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::language::Language;
use crate::score::language::{LanguageProfile, LanguageScorer};

use super::failure::Failure;
use lines::Lines;
use report::Report;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The text [default: stdin]
    #[arg(conflicts_with = "input")]
    text: Option<String>,
    /// The language that the text should be in; a line's own `target` goes first
    #[arg(long, value_name = "CODE")]
    target: Option<Language>,
    /// How to judge
    #[arg(long, default_value = "default", value_parser = PossibleValuesParser::new(LanguageProfile::NAMES))]
    profile: String,
    /// JSON lines {id?, text, target?}, one result a line in the same order; `-` is stdin
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Say what each stretch of the text was taken for
    #[arg(long)]
    segments: bool,
    /// JSON for a single text on a terminal too
    #[arg(long)]
    json: bool,
}

/// The longest single text, the longest line: what a score takes is several times that.
const TEXT_BYTES_MAX: u64 = 256 << 20;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let profile: LanguageProfile = arguments.profile.parse().map_err(Failure::usage)?;
    let scorer = LanguageScorer::with_profile(profile);
    match (&arguments.text, &arguments.input) {
        (Some(text), _) => single(arguments, &scorer, text),
        (None, Some(path)) if path == Path::new("-") => {
            many(arguments, &scorer, &mut std::io::stdin().lock())
        }
        (None, Some(path)) => {
            let file = File::open(path).with_context(|| format!("--input: reading {}", path.display()))?;
            many(arguments, &scorer, &mut BufReader::new(file))
        }
        (None, None) => stdin(arguments, &scorer),
    }
}

/// JSON lines are told from a text by how they begin, so that `--input -` may be forgotten.
fn stdin(arguments: &Arguments, scorer: &LanguageScorer) -> anyhow::Result<()> {
    let mut input = std::io::stdin().lock();
    if std::io::stdin().is_terminal() {
        eprintln!("Type the text and end it with Ctrl-D.");
    }
    if looks_like_lines(input.fill_buf().context("reading stdin")?) {
        return many(arguments, scorer, &mut input);
    }
    let mut text = Vec::new();
    input.take(TEXT_BYTES_MAX + 1).read_to_end(&mut text).context("reading stdin")?;
    if text.len() as u64 > TEXT_BYTES_MAX {
        return Err(Failure::new(format!("the text on stdin is longer than {} MiB", TEXT_BYTES_MAX >> 20))
            .hint("cut it up, one part a line, and give the lines with --input -")
            .into());
    }
    let text = String::from_utf8(text).context("the text on stdin is not UTF-8")?;
    single(arguments, scorer, &text)
}

/// Whether an object with a quoted name stands at the start.
fn looks_like_lines(start: &[u8]) -> bool {
    let Some(inside) = start.trim_ascii_start().strip_prefix(b"{") else { return false };
    inside.trim_ascii_start().starts_with(b"\"")
}

fn single(arguments: &Arguments, scorer: &LanguageScorer, text: &str) -> anyhow::Result<()> {
    let target = arguments.target.ok_or_else(|| {
        Failure::usage("--target is missing: the language that the text should be in")
            .hint("such as --target ja")
    })?;
    let report = Report::of(scorer, text, target);
    let mut out = std::io::stdout().lock();
    if arguments.json || !out.is_terminal() {
        writeln!(out, "{}", report.json(None, arguments.segments))?;
    } else {
        write!(out, "{}", report.text(text, arguments.segments))?;
    }
    Ok(())
}

fn many(arguments: &Arguments, scorer: &LanguageScorer, input: &mut dyn BufRead) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut lines = Lines::new(scorer, arguments.target, arguments.segments);
    // What was scored before a bad line is written in any case.
    let outcome = lines.score(input, &mut out);
    out.flush()?;
    outcome?;
    eprintln!("{}", lines.totals());
    Ok(())
}
