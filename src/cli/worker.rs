//! `xenoglot worker`: one model, working on the evaluation runs of a store that others share, without serving it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::sync::{Notify, watch};

use crate::eval::ScorerOptions;
use crate::eval::scorers::judge::JudgeOptions;
use crate::eval::scorers::sandbox::SandboxOptions;
use crate::jobs::{Endpoint, Generators, Worker, WorkerOptions};
use crate::score::Profile;
use crate::settings::{Overrides, Settings};
use crate::store::Store;

use super::failure::Failure;
use super::options::{GlobalOptions, ModelOptions, settings};
use super::{serve, start};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A Hugging Face directory, a GGUF file, a name below the models directory or a hub name (org/name)
    /// [default: SmolLM2-135M-Instruct]
    model: Option<String>,
    /// The store: sqlite:PATH or postgres://.. A password is better set as XENOGLOT_STORE [default: sqlite:runs/xenoglot.db]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The name that runs use
    #[arg(long, value_name = "NAME")]
    served_model_name: Option<String>,
    /// Problems worked on at once [default: 4]
    #[arg(allow_negative_numbers = true, long, value_name = "PROBLEMS")]
    concurrency: Option<usize>,
    /// Seconds after which the tasks of a worker that says nothing go to others
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    lease: u64,
    #[command(flatten)]
    model_options: ModelOptions,
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    let overrides = Overrides {
        store: arguments.store.clone(),
        served_model_name: arguments.served_model_name.clone().map(Some),
        eval_workers: arguments.concurrency,
        ..arguments.model_options.overrides()
    };
    let settings = settings(global, overrides)?;
    start::logging(&settings, false)?;
    let endpoints = endpoints(&settings)?;
    let runtime = start::runtime()?;
    // Before the model is loaded, which takes a while.
    let store = runtime.block_on(Store::open(&settings.store))?;
    let registry = start::registry(&settings, start::workers(&settings)?);
    start::load(&registry, arguments.model.as_deref(), &settings)?;
    let options = WorkerOptions {
        concurrency: settings.eval_workers.max(1),
        lease: Duration::from_secs(arguments.lease),
        scorers: scorers(&settings),
        ..WorkerOptions::default()
    };
    let generators = Generators::new(registry, endpoints);
    let worker = Arc::new(Worker::new(store.clone(), generators, options, Arc::new(Notify::new())));
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let working = tokio::spawn(worker.run(stopped));
        serve::stop_signal().await;
        stop.send_replace(true);
        working.await.context("working")?;
        store.close().await;
        Ok(())
    })
}

/// What judging finds on this machine.
pub(super) fn scorers(settings: &Settings) -> ScorerOptions {
    let judge = settings.judge_url.as_ref().zip(settings.judge_model.as_ref());
    ScorerOptions {
        sandbox: SandboxOptions { python: settings.python.clone(), launcher: None },
        judge: judge.map(|(url, model)| JudgeOptions::new(url, model)),
        profile: Profile::Default,
    }
}

/// The servers that runs may measure.
pub(super) fn endpoints(settings: &Settings) -> anyhow::Result<Vec<Endpoint>> {
    let read = |text: &String| {
        Endpoint::parse(text).map_err(|error| Failure::usage(format!("eval_endpoints: {error}")).into())
    };
    settings.eval_endpoints.iter().map(read).collect()
}
