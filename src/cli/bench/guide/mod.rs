//! `xenoglot bench guide`: what structured output costs: compiling a schema, and the mask of a token.
//!
//! Schemas of varied shape are made from a seed, each with a value that fits it; the value's tokens are walked, as a choice would
//! be. The masks take no model, only its tokenizer.

mod schemas;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use crate::guide::{Grammar, Guides};
use crate::registry::resolve;
use crate::settings::Overrides;
use crate::weights::Checkpoint;

use super::super::options::{GlobalOptions, settings};
use super::super::start;
use super::{print, round};
use schemas::Cases;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The model whose tokenizer is used
    model: Option<String>,
    /// Schemas
    #[arg(long, value_name = "N", default_value_t = 500)]
    schemas: usize,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write the schemas, a line each, for other tools to ask a server with
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// One JSON object on stdout instead of text
    #[arg(long)]
    json: bool,
}

/// Seconds, ascending once asked for a quantile.
#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    /// In milliseconds.
    fn quantile(&mut self, share: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let at = ((self.0.len() as f64 * share) as usize).min(self.0.len().saturating_sub(1));
        self.0.get(at).map_or(f64::NAN, |seconds| seconds * 1e3)
    }
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    let settings = settings(global, Overrides::default())?;
    start::logging(&settings, true)?;
    let found = resolve(arguments.model.as_deref(), &settings.models_dir, &|_| ())?;
    let checkpoint = Checkpoint::open(&found.path)?;
    let tokenizer = checkpoint.tokenizer;
    let started = Instant::now();
    let guides = Guides::new(&tokenizer, &checkpoint.eos_token_ids)?;
    let vocabulary_ms = started.elapsed().as_secs_f64() * 1e3;
    let mut file = match &arguments.write {
        Some(path) => Some(BufWriter::new(File::create(path).with_context(|| path.display().to_string())?)),
        None => None,
    };
    let (mut compiles, mut masks) = (Times::default(), Times::default());
    for (at, (schema, value)) in Cases::new(arguments.seed).take(arguments.schemas).enumerate() {
        if let Some(file) = &mut file {
            writeln!(file, "{schema}")?;
        }
        let grammar = Grammar::JsonSchema(schema);
        let started = Instant::now();
        let guide = guides.compile(&grammar).with_context(|| format!("schema {at}: {grammar:?}"))?;
        compiles.0.push(started.elapsed().as_secs_f64());
        let mut state = guide.start();
        for id in tokenizer.encode(&value.to_string(), false)? {
            let started = Instant::now();
            let allowed = state.allowed()?;
            masks.0.push(started.elapsed().as_secs_f64());
            anyhow::ensure!(allowed.contains(id), "schema {at}: {grammar:?} does not take {value}");
            state.take(id)?;
        }
        let ends =
            checkpoint.eos_token_ids.iter().any(|id| state.allowed().is_ok_and(|set| set.contains(*id)));
        anyhow::ensure!(ends, "schema {at}: {grammar:?} does not end with {value}");
    }
    if let Some(mut file) = file {
        file.flush()?;
    }
    let result = |times: &mut Times| {
        json!({
            "count": times.0.len(),
            "median_ms": round3(times.quantile(0.5)),
            "p99_ms": round3(times.quantile(0.99)),
            "largest_ms": round3(times.quantile(1.0)),
        })
    };
    let report = json!({
        "vocabulary": tokenizer.vocab_size(),
        "vocabulary_ms": round(vocabulary_ms),
        "compile": result(&mut compiles),
        "mask": result(&mut masks),
    });
    print(arguments.json, &|| report.clone(), &|| text(&report))
}

fn round3(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn text(report: &Value) -> String {
    let line = |what: &str, of: &Value| {
        let [count, median, p99, largest] =
            ["count", "median_ms", "p99_ms", "largest_ms"].map(|key| &of[key]);
        format!("{what}: {count}, median {median} ms, p99 {p99} ms, largest {largest} ms")
    };
    format!(
        "vocabulary of {}, its tree in {} ms\n{}\n{}",
        report["vocabulary"],
        report["vocabulary_ms"],
        line("schemas compiled", &report["compile"]),
        line("masks", &report["mask"]),
    )
}
