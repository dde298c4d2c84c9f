//! `xenoglot bench engine`: the engine's speed on three fixed workloads, without HTTP and tokenizer.
//!
//! A: one prompt of 200 tokens, 32 samples of 128 tokens (a pass@32 problem, a GRPO group). B: one sequence of
//! 256 tokens. C: the prefill of 2,048 tokens. Each repeat has a prompt of its own, so that no prefix is cached;
//! the first runs warm up and are not counted; figures are medians.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::engine::{EngineHandle, Event, Request, SamplingParams};
use crate::registry::ServedModel;
use crate::settings::ByteSize;

use super::options::{GlobalOptions, ModelOptions, settings};
use super::start;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Target {
    /// Tokens a second of the engine in this process.
    Engine(EngineArguments),
}

#[derive(Debug, Args)]
struct EngineArguments {
    /// a: 200-token prompt, 32 samples of 128 tokens; b: one sequence of 256 tokens; c: prefill of 2,048 tokens
    #[arg(long, value_parser = PossibleValuesParser::new(["a", "b", "c"]))]
    workload: String,
    /// A directory, a GGUF file or a name below the models directory [default: SmolLM2-135M-Instruct]
    #[arg(long)]
    model: Option<String>,
    /// Counted runs
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    repeats: u16,
    /// Runs before them
    #[arg(long, default_value_t = 1)]
    warm_up: u16,
    /// One JSON object on stdout instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model_options: ModelOptions,
}

struct Workload {
    prompt_tokens: usize,
    samples: u32,
    tokens: usize,
}

fn workload(name: &str) -> Workload {
    match name {
        "a" => Workload { prompt_tokens: 200, samples: 32, tokens: 128 },
        "b" => Workload { prompt_tokens: 16, samples: 1, tokens: 256 },
        _ => Workload { prompt_tokens: 2048, samples: 1, tokens: 1 },
    }
}

/// One run, in seconds.
struct Run {
    first_token: f64,
    total: f64,
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    let Target::Engine(arguments) = &arguments.target;
    let settings = settings(global, arguments.model_options.overrides())?;
    start::logging(&settings, true)?;
    let started = Instant::now();
    let workers = start::workers(&settings)?;
    let threads = workers.threads();
    let registry = start::registry(&settings, workers);
    let model = start::load(&registry, arguments.model.as_deref(), &settings)?;
    let load_seconds = started.elapsed().as_secs_f64();

    let workload = workload(&arguments.workload);
    let mut runs = Vec::new();
    for repeat in 0..arguments.warm_up + arguments.repeats {
        let run = measure(&model.handle, &workload, u32::from(repeat))?;
        let kind = if repeat < arguments.warm_up { "warm-up" } else { "run" };
        let speed = workload.counted_tokens() as f64 / workload.seconds(&run);
        eprintln!("{kind} {repeat}: {speed:.1} tokens/s, first token after {:.0} ms", run.first_token * 1e3);
        if repeat >= arguments.warm_up {
            runs.push(run);
        }
    }
    let figures = Figures { workload: &workload, runs: &runs, model: &model, load_seconds, threads };
    let mut out = std::io::stdout();
    if arguments.json {
        writeln!(out, "{}", figures.json(&arguments.workload))?;
    } else {
        writeln!(out, "{}", figures.text(&arguments.workload))?;
    }
    Ok(())
}

impl Workload {
    /// The tokens whose rate is the figure: those generated, or for prefill those read.
    fn counted_tokens(&self) -> usize {
        if self.tokens == 1 { self.prompt_tokens } else { self.samples as usize * self.tokens }
    }

    /// Prefill counts in A, as it does for a client; B and C separate the two.
    fn seconds(&self, run: &Run) -> f64 {
        match (self.tokens, self.samples) {
            (1, _) => run.first_token,
            (_, 1) => run.total - run.first_token,
            _ => run.total,
        }
    }
}

fn measure(handle: &EngineHandle, workload: &Workload, repeat: u32) -> anyhow::Result<Run> {
    let vocabulary = handle.info().vocab_size as u32;
    // Spread over the vocabulary, another prompt each time; what the tokens mean does not change the work.
    let prompt = (0..workload.prompt_tokens as u32)
        .map(|at| (at.wrapping_mul(7919) + repeat.wrapping_mul(104_729) + 17) % vocabulary)
        .collect();
    let sampling = SamplingParams {
        n: workload.samples,
        max_tokens: workload.tokens,
        ignore_eos: true,
        seed: u64::from(repeat),
        ..SamplingParams::default()
    };
    let request = Request { id: format!("bench-{repeat}"), prompt, sampling, cache_salt: None, priority: 0 };
    let started = Instant::now();
    let mut events = handle.generate(request).context("the model is too small for this workload")?;
    let mut first_token = None;
    let mut tokens = 0;
    while let Some(event) = events.blocking_next() {
        match event {
            Event::Token { .. } => {
                first_token.get_or_insert_with(|| started.elapsed());
                tokens += 1;
            }
            Event::Failed { message } => bail!(message),
            Event::Scheduled { .. } | Event::Finished { .. } => {}
        }
    }
    let expected = workload.samples as usize * workload.tokens;
    if tokens != expected {
        bail!("the engine made {tokens} tokens instead of {expected}");
    }
    let seconds = |elapsed: Duration| elapsed.as_secs_f64();
    Ok(Run { first_token: first_token.map_or(0.0, seconds), total: seconds(started.elapsed()) })
}

struct Figures<'a> {
    workload: &'a Workload,
    runs: &'a [Run],
    model: &'a Arc<ServedModel>,
    load_seconds: f64,
    threads: usize,
}

impl Figures<'_> {
    fn speeds(&self) -> Vec<f64> {
        let tokens = self.workload.counted_tokens() as f64;
        self.runs.iter().map(|run| tokens / self.workload.seconds(run)).collect()
    }

    fn first_token_ms(&self) -> f64 {
        median(self.runs.iter().map(|run| run.first_token * 1e3).collect())
    }

    fn json(&self, name: &str) -> serde_json::Value {
        json!({
            "workload": name,
            "prompt_tokens": self.workload.prompt_tokens,
            "samples": self.workload.samples,
            "tokens": self.workload.tokens,
            "tokens_per_second": round(median(self.speeds())),
            "tokens_per_second_runs": self.speeds().into_iter().map(round).collect::<Vec<_>>(),
            "time_to_first_token_ms": round(self.first_token_ms()),
            "load_seconds": round(self.load_seconds),
            "weight_bytes": self.model.weight_bytes,
            "peak_rss_bytes": peak_rss_bytes(),
            "model": self.model.name,
            "dtype": self.model.dtype,
            "threads": self.threads,
            "version": env!("CARGO_PKG_VERSION"),
        })
    }

    fn text(&self, name: &str) -> String {
        let speeds = self.speeds();
        let (lowest, highest) = speeds.iter().fold((f64::MAX, 0.0_f64), |(l, h), s| (l.min(*s), h.max(*s)));
        format!(
            "workload {name}: {:.1} tokens/s (median of {}, {lowest:.1} to {highest:.1}), first token after {:.0} ms\n\
             {} in {}, {} threads, loaded in {:.2} s, peak memory {}",
            median(speeds.clone()),
            speeds.len(),
            self.first_token_ms(),
            self.model.name,
            self.model.dtype,
            self.threads,
            self.load_seconds,
            peak_rss_bytes().map_or_else(|| "unknown".to_owned(), |bytes| ByteSize(bytes).to_string()),
        )
    }
}

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

/// The most memory this process has held; `None` where the system does not say.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
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
    fn this_process_has_a_peak() {
        assert!(peak_rss_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
