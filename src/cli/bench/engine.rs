//! `xenoglot bench engine`: the engine's speed on a fixed workload, without HTTP and tokenizer.
//!
//! Each run has prompts of its own, so that no prefix is cached (but for `--prompt`); the first runs warm up and are
//! not counted; figures are medians.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use crate::engine::{EngineHandle, Event, Request, SamplingParams, SoftPrefix, process_memory};
use crate::model::augmented::AugmentedPrompt;
use crate::registry::ServedModel;
use crate::settings::ByteSize;

use super::super::failure::Failure;
use super::super::options::{GlobalOptions, ModelOptions, settings};
use super::super::start;
use super::workload::{Growth, Run, Workload, prompt};
use super::{IsaOption, median, print, round};

/// The types of weights a run can ask for; a plain model option has no `gguf`, and for `int8` there is `--quantize`.
const DTYPES: [&str; 5] = ["auto", "f32", "bf16", "int8", "gguf"];

#[derive(Debug, Args)]
#[command(mut_arg("dtype", |dtype| dtype.value_parser(PossibleValuesParser::new(DTYPES))))]
pub(super) struct Arguments {
    /// a: 200-token prompt, 32 samples of 128 tokens; b: one sequence of 256 tokens; c: prefill of 2,048 tokens;
    /// mixed: 32 clients with prompts of 50 to 800 tokens, 128 tokens each
    #[arg(long, value_parser = PossibleValuesParser::new(Workload::NAMES))]
    workload: String,
    /// Samples of the prompt instead of the workload's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    samples: Option<u32>,
    /// Tokens of a sample, prompt and answer together, instead of the workload's
    #[arg(long, value_name = "TOKENS")]
    context: Option<usize>,
    /// The prompt is this file's text, special tokens and all, in a workload of one request
    #[arg(long, value_name = "FILE", conflicts_with = "context")]
    prompt: Option<PathBuf>,
    /// 0 is greedy
    #[arg(long, default_value_t = 1.0)]
    temperature: f32,
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
    isa: IsaOption,
    #[command(flatten)]
    model_options: ModelOptions,
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    let growth = Growth { samples: arguments.samples, context: arguments.context };
    let mut workload = Workload::new(&arguments.workload, growth)?;
    let asked = arguments.model_options.dtype();
    let settings = settings(global, arguments.model_options.overrides())?;
    start::logging(&settings, true)?;
    let started = Instant::now();
    let workers = arguments.isa.workers(&settings)?;
    let (threads, isa) = (workers.threads(), workers.isa().to_string());
    let registry = start::registry(&settings, workers);
    let model = start::load(&registry, arguments.model.as_deref(), &settings)?;
    let load_seconds = started.elapsed().as_secs_f64();
    check_blocks(asked, &model)?;
    let text =
        arguments.prompt.as_deref().map(|path| read_prompt(path, &mut workload, &model)).transpose()?;

    let mut runs = Vec::new();
    for repeat in 0..arguments.warm_up + arguments.repeats {
        let run = measure(&model, &workload, text.as_ref(), arguments.temperature, u32::from(repeat))?;
        let kind = if repeat < arguments.warm_up { "warm-up" } else { "run" };
        let (speed, first_ms) = (workload.speed(&run), run.first_token * 1e3);
        eprintln!("{kind} {repeat}: {speed:.1} tokens/s, first token after {first_ms:.0} ms");
        if repeat >= arguments.warm_up {
            runs.push(run);
        }
    }
    let name = &arguments.workload;
    let figures =
        Figures { name, workload: &workload, runs: &runs, model: &model, load_seconds, threads, isa };
    print(arguments.json, &|| figures.json(), &|| figures.text())
}

/// `gguf` is a statement about the model: only a GGUF file has blocks to keep.
fn check_blocks(dtype: Option<&str>, model: &ServedModel) -> Result<(), Failure> {
    if dtype == Some("gguf") && model.dtype != "gguf" {
        let message = format!("--dtype gguf: {} is no GGUF file", model.source.display());
        return Err(Failure::usage(message).hint("name one with --model FILE.gguf"));
    }
    Ok(())
}

/// The ids of the text, which take the place of the workload's prompt.
fn read_prompt(path: &Path, workload: &mut Workload, model: &ServedModel) -> anyhow::Result<Prompt> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let read = match &model.augmented {
        None => Prompt { ids: model.tokenizer.encode(&text, true)?, soft_prefix: None },
        Some(prompts) => {
            let AugmentedPrompt { ids, encoder_ids } = prompts.read(&text, None, "")?;
            Prompt { ids, soft_prefix: Some(SoftPrefix::Text { encoder_ids }) }
        }
    };
    let [prompt] = &mut workload.prompts[..] else {
        return Err(Failure::usage("--prompt: the workload has many prompts")
            .hint("use workload a, b or c")
            .into());
    };
    *prompt = read.ids.len() + read.soft_prefix.as_ref().map_or(0, SoftPrefix::positions);
    Ok(read)
}

#[derive(Clone)]
struct Prompt {
    ids: Vec<u32>,
    soft_prefix: Option<SoftPrefix>,
}

/// Ids that mean nothing. Of a MindMerger model's positions the encoder reads half, as far as it reads so many.
fn made_up(model: &ServedModel, tokens: usize, run: u32, client: usize) -> Prompt {
    let size = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX).max(1);
    let info = model.handle.info();
    let ids = |count: usize| prompt(count.max(1), run, client, size(info.vocab_size));
    let (Some(prompts), Some(most)) = (&model.augmented, info.encoder_tokens_max) else {
        return Prompt { ids: ids(tokens), soft_prefix: None };
    };
    let read = (tokens / 2).clamp(1, most);
    let encoder_ids = prompt(read, run, client, size(prompts.encoder_vocab_size()));
    let soft_prefix = SoftPrefix::Text { encoder_ids };
    Prompt { ids: ids(tokens.saturating_sub(soft_prefix.positions())), soft_prefix: Some(soft_prefix) }
}

/// Sends all requests at once and waits for all of them.
fn measure(
    model: &ServedModel,
    workload: &Workload,
    text: Option<&Prompt>,
    temperature: f32,
    run: u32,
) -> anyhow::Result<Run> {
    let handle = &model.handle;
    let requests = workload.prompts.iter().enumerate().map(|(client, tokens)| {
        let Prompt { ids, soft_prefix } =
            text.cloned().unwrap_or_else(|| made_up(model, *tokens, run, client));
        Request {
            id: format!("bench-{run}-{client}"),
            prompt: ids,
            soft_prefix,
            sampling: SamplingParams {
                n: workload.samples,
                max_tokens: workload.tokens,
                temperature,
                ignore_eos: true,
                seed: u64::from(run) << 32 | client as u64,
                ..SamplingParams::default()
            },
            adapter: None,
            guidance: None,
            cache_salt: None,
            priority: 0,
        }
    });
    let requests: Vec<Request> = requests.collect();
    let started = Instant::now();
    // A thread a client, which only waits: an answer is timed when it comes, not when its turn to be read comes.
    let first_tokens = std::thread::scope(|scope| {
        let clients: Vec<_> = requests
            .into_iter()
            .map(|request| scope.spawn(move || generate(handle, request, started)))
            .collect();
        let joined = clients.into_iter().map(|client| client.join().expect("a client does not panic"));
        joined.collect::<anyhow::Result<Vec<f64>>>()
    })?;
    Ok(Run { first_token: median(first_tokens), total: started.elapsed().as_secs_f64() })
}

/// Takes all tokens of a request; the seconds until its first.
fn generate(handle: &EngineHandle, request: Request, started: Instant) -> anyhow::Result<f64> {
    let expected = request.sampling.n as usize * request.sampling.max_tokens;
    let mut events = handle.generate(request).context("the model does not take this workload")?;
    let mut first_token = None;
    let mut tokens = 0;
    while let Some(event) = events.blocking_next() {
        match event {
            Event::Token { .. } => {
                first_token.get_or_insert_with(|| started.elapsed());
                tokens += 1;
            }
            Event::Failed { message, .. } => bail!(message),
            Event::Scheduled { .. } | Event::Finished { .. } => {}
        }
    }
    if tokens != expected {
        bail!("the engine made {tokens} tokens instead of {expected}");
    }
    Ok(first_token.as_ref().map_or(0.0, Duration::as_secs_f64))
}

struct Figures<'a> {
    name: &'a str,
    workload: &'a Workload,
    runs: &'a [Run],
    model: &'a Arc<ServedModel>,
    load_seconds: f64,
    threads: usize,
    isa: String,
}

impl Figures<'_> {
    fn speeds(&self) -> Vec<f64> {
        self.runs.iter().map(|run| self.workload.speed(run)).collect()
    }

    fn first_token_ms(&self) -> f64 {
        median(self.runs.iter().map(|run| run.first_token * 1e3).collect())
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "workload": self.name,
            "requests": self.workload.prompts.len(),
            "prompt_tokens": self.workload.prompt_tokens(),
            "samples": self.workload.samples,
            "tokens": self.workload.tokens,
            "tokens_per_second": round(median(self.speeds())),
            "tokens_per_second_runs": self.speeds().into_iter().map(round).collect::<Vec<_>>(),
            "time_to_first_token_ms": round(self.first_token_ms()),
            "draft_tokens": self.model.handle.stats().draft_tokens.load(Relaxed),
            "accepted_draft_tokens": self.model.handle.stats().accepted_draft_tokens.load(Relaxed),
            "load_seconds": round(self.load_seconds),
            "weight_bytes": self.model.weight_bytes,
            "memory_bytes": process_memory("VmRSS:"),
            "peak_rss_bytes": process_memory("VmHWM:"),
            "model": self.model.name,
            "dtype": self.model.dtype,
            "isa": self.isa,
            "threads": self.threads,
            "version": env!("CARGO_PKG_VERSION"),
        })
    }

    fn text(&self) -> String {
        let speeds = self.speeds();
        let (lowest, highest) = speeds.iter().fold((f64::MAX, 0.0_f64), |(l, h), s| (l.min(*s), h.max(*s)));
        let size =
            |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), |b| ByteSize(b).to_string());
        format!(
            "workload {}: {:.1} tokens/s (median of {}, {lowest:.1} to {highest:.1}), first token after {:.0} ms\n\
             {} in {}, {} threads on {}, loaded in {:.2} s, memory {}, peak {}",
            self.name,
            median(speeds.clone()),
            speeds.len(),
            self.first_token_ms(),
            self.model.name,
            self.model.dtype,
            self.threads,
            self.isa,
            self.load_seconds,
            size(process_memory("VmRSS:")),
            size(process_memory("VmHWM:")),
        )
    }
}
