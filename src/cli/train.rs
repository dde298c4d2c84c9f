//! `xenoglot train`: a training from a file, which has the body of `POST /v1/fine_tuning/jobs` in TOML, with paths in place of
//! the ids of files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::model::{Adapter, AdapterOptions};
use crate::ops::Workers;
use crate::protocol::fine_tuning::CreateFineTuningJob;
use crate::protocol::parse_request;
use crate::registry;
use crate::settings::{Overrides, Settings};
use crate::train::data::DataError;
use crate::train::{Evaluation, Event, Exported, Finished, Job, Locate, Observer, TrainError, counted};
use crate::weights::WrittenDtype;

use super::failure::Failure;
use super::merge::{locate, stop_on_interrupt};
use super::options::{GlobalOptions, settings};
use super::start;

/// Lists and objects of a description within each other.
const DEPTH_MAX: usize = 16;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    elsewhere: Option<Elsewhere>,
    /// The training, in TOML or JSON
    #[arg(value_name = "CONFIG", required = true)]
    training: Option<PathBuf>,
    /// The folder of the training: data, checkpoints, metrics and, at the end, the model. An earlier call's goes on
    #[arg(value_name = "OUT", required = true)]
    out: Option<PathBuf>,
    /// Threads [default: one a core]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
}

/// Trainings that run on other machines.
#[derive(Debug, Subcommand)]
enum Elsewhere {
    /// Write a `reinforcement` training for TRL, with dataset, settings and launcher.
    Export {
        /// The training, in TOML or JSON
        #[arg(value_name = "CONFIG")]
        training: PathBuf,
        /// The folder to make
        #[arg(value_name = "OUT")]
        out: PathBuf,
    },
    /// Check the adapter that came back against its model, and write it.
    Import {
        /// The adapter's folder, as PEFT writes it
        #[arg(value_name = "ADAPTER")]
        adapter: PathBuf,
        /// The folder to make
        #[arg(value_name = "OUT")]
        out: PathBuf,
        /// The model that it was trained on: a folder, a GGUF file, or a name below the models directory
        #[arg(long)]
        model: String,
    },
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    let settings = settings(global, Overrides::default())?;
    start::logging(&settings, true)?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_interrupt(&stop);
    let resources = Resources { settings: &settings, jobs: arguments.jobs, stop: &stop };
    match arguments {
        Arguments { elsewhere: Some(Elsewhere::Export { training, out }), .. } => {
            export(&read(training)?, out, &resources)
        }
        Arguments { elsewhere: Some(Elsewhere::Import { adapter, out, model }), .. } => {
            import(adapter, out, model, &resources)
        }
        Arguments { training: Some(training), out: Some(out), .. } => {
            train(&read(training)?, None, out, &resources)
        }
        // clap asks for both.
        _ => Err(Failure::usage("CONFIG and OUT are needed").into()),
    }
}

fn export(request: &CreateFineTuningJob, out: &Path, resources: &Resources<'_>) -> anyhow::Result<()> {
    let settings = resources.settings;
    let find = |name: &str| locate(name, None, settings);
    let job = resources.job(request, None, out, &find)?;
    let Exported { prompts, too_long, left_out } = job.export().map_err(explain)?;
    if too_long > 0 {
        eprintln!("{too_long} prompts are longer than `max_prompt_length` and left out");
    }
    for name in left_out {
        eprintln!("`{name}` is left out: TRL has nothing like it");
    }
    eprintln!("{prompts} prompts, settings and launcher are in {0}; {0}/README.md goes on", out.display());
    Ok(())
}

fn import(adapter: &Path, out: &Path, model: &str, resources: &Resources<'_>) -> anyhow::Result<()> {
    if !adapter.join("adapter_config.json").is_file() && adapter.join("config.json").is_file() {
        let problem = format!("{} is a whole model, no adapter", adapter.display());
        return Err(Failure::new(problem).hint("`xenoglot serve` takes it as it is").into());
    }
    let path = locate(model, None, resources.settings)
        .map_err(|problem| Failure::usage(format!("--model names {model:?}: {problem}")))?;
    let (checkpoint, config) = registry::open(&path)?;
    let options = AdapterOptions { workers: resources.workers(), rank_max: usize::MAX, bytes_max: u64::MAX };
    let adapter = Adapter::open(adapter, &config, &options)?;
    adapter.save(out, &checkpoint.path.display().to_string(), WrittenDtype::F32)?;
    let (rank, pairs) = (adapter.rank(), adapter.pairs().count());
    eprintln!("an adapter of rank {rank} on {pairs} linears is in {}", out.display());
    Ok(())
}

/// What a training needs beside its description.
pub(super) struct Resources<'a> {
    pub settings: &'a Settings,
    /// Threads; one a core.
    pub jobs: Option<u16>,
    pub stop: &'a AtomicBool,
}

impl Resources<'_> {
    fn workers(&self) -> Arc<Workers> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Workers::new(self.jobs.map_or(cores, usize::from))
    }

    fn job<'a>(
        &'a self,
        request: &'a CreateFineTuningJob,
        revision: Option<&str>,
        out: &Path,
        locate_model: Locate<'a>,
    ) -> anyhow::Result<Job<'a>> {
        let path = locate(&request.model, revision, self.settings)
            .map_err(|problem| Failure::usage(format!("`model` names {:?}: {problem}", request.model)))?;
        let (checkpoint, config) = registry::open(&path)?;
        Ok(Job {
            request,
            checkpoint,
            config,
            locate: &existing,
            locate_model,
            folder: out.to_owned(),
            workers: self.workers(),
            stop: self.stop,
        })
    }
}

/// Trains with a progress bar, and says what came of it.
pub(super) fn train(
    request: &CreateFineTuningJob,
    revision: Option<&str>,
    out: &Path,
    resources: &Resources<'_>,
) -> anyhow::Result<()> {
    let settings = resources.settings;
    let bar = Bar::new();
    let mut observer = &bar;
    let find = |name: &str| locate(name, None, settings);
    let job = resources.job(request, revision, out, &find)?;
    let finished = job.run(&mut observer);
    bar.0.finish_and_clear();
    let Finished { outcome, model } = finished.map_err(explain)?;
    let Some(model) = model else {
        return Err(Failure::new(format!("stopped after step {}", outcome.steps))
            .hint("the same command goes on with its checkpoint")
            .into());
    };
    eprintln!("{} steps, {} tokens; the model is in {}", outcome.steps, outcome.tokens, model.display());
    if let Some(best) = outcome.best {
        let what = if best.step == 0 {
            "none did better than the model it began with"
        } else {
            "its weights are the model's"
        };
        eprintln!("best on the validation file: step {}, loss {:.4}; {what}", best.step, best.loss);
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<CreateFineTuningJob> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let shown = path.display();
    let json = if path.extension().is_some_and(|ending| ending == "json") {
        text
    } else {
        let value: serde_json::Value = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            Failure::usage(format!("{shown}:{line}: {}", error.message()))
        })?;
        value.to_string()
    };
    parse_request(json.as_bytes(), DEPTH_MAX).map_err(|error| {
        let place = error.param.map_or_else(String::new, |param| format!(" `{param}`:"));
        Failure::usage(format!("{shown}:{place} {}", error.message)).into()
    })
}

fn existing(name: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(name);
    if path.is_file() { Ok(path) } else { Err("there is no such file".to_owned()) }
}

fn explain(error: TrainError) -> anyhow::Error {
    match error {
        TrainError::Data(DataError::Interrupted) => Failure::new("stopped while the data were read")
            .hint("the same command begins with them again")
            .into(),
        TrainError::Interrupted => Failure::new("stopped while the model was read")
            .hint("the same command begins again, or goes on with its checkpoint")
            .into(),
        error @ (TrainError::Option { .. } | TrainError::Data(_) | TrainError::Mask { .. }) => {
            Failure::usage(error).into()
        }
        error => error.into(),
    }
}

/// Steps, speed and loss, with a line for each evaluation.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} eta {eta} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    fn say(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }
}

impl Observer for &Bar {
    fn event(&mut self, event: Event) -> Result<(), TrainError> {
        match event {
            Event::Prepared { name, counts } => self.say(&format!("{name} data: {}", counted(counts))),
            Event::DryRun { tokens, seconds } => {
                self.say(&format!("the longest micro-batch, {tokens} tokens, fits ({seconds:.1} s)"));
            }
            Event::Resumed { step } => self.say(&format!("goes on after step {step}")),
            Event::Started { step, steps } => {
                self.0.set_length(steps);
                self.0.set_position(step);
                self.0.reset_eta();
            }
            Event::Step(step) => {
                let speed = step.step_tokens as f64 / step.seconds;
                self.0.set_position(step.step);
                let reward = step.more.iter().find(|(name, _)| name == "reward");
                let reward = reward.map_or_else(String::new, |(_, reward)| format!("reward {reward:.3}, "));
                self.0.set_message(format!("{reward}loss {:.4}, {speed:.0} tokens/s", step.loss));
            }
            Event::Evaluated { step, evaluation, .. } => {
                self.say(&format!("step {step}: {}", shown(&evaluation)));
            }
            Event::Answered { step, metrics, .. } => {
                let reward =
                    metrics.iter().find(|(name, _)| name == "reward").map_or(f64::NAN, |(_, reward)| *reward);
                self.say(&format!("step {step}: validation reward {reward:.4}"));
            }
            Event::Note(text) => self.say(&text),
            Event::Saved { .. } | Event::Completions(_) => {}
        }
        Ok(())
    }
}

fn shown(evaluation: &Evaluation) -> String {
    let Evaluation { loss, perplexity, by_tag, .. } = evaluation;
    let tags = by_tag.iter().map(|(tag, loss)| format!(", {tag} {:.3}", loss.exp()));
    format!("validation loss {loss:.4}, perplexity {perplexity:.3}{}", tags.collect::<String>())
}
