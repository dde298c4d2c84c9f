//! What commands that compute do first: logging, threads, a model in the registry.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::ops::{Isa, Workers};
use crate::registry::{AdapterSpec, EngineOptions, LoadSpec, Registry, ServedModel, resolve};
use crate::settings::{Device, LogFormat, Settings};

use super::failure::Failure;
use super::pull::PullBars;

/// Log lines go to stderr; `quiet` shows warnings only, unless another level was chosen.
pub(super) fn logging(settings: &Settings, quiet: bool) -> anyhow::Result<()> {
    let chosen = settings.log_level != Settings::default().log_level;
    let level = if quiet && !chosen { "warn" } else { &settings.log_level };
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Failure::usage(format!("log_level: `{level}` is not a level or filter ({error})"))
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter);
    match settings.log_format {
        LogFormat::Text => subscriber.with_target(false).try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    }
    .map_err(|error| anyhow::anyhow!("starting the log: {error}"))
}

/// The pool that all computing shares, on the best instruction set.
pub(super) fn workers(settings: &Settings) -> anyhow::Result<Arc<Workers>> {
    workers_on(settings, Isa::detect())
}

/// The pool on a given instruction set; candle's own is sized to it before its first use.
pub(super) fn workers_on(settings: &Settings, isa: Isa) -> anyhow::Result<Arc<Workers>> {
    if settings.device == Device::Cuda {
        return Err(Failure::usage("device: this build computes on the CPU only")
            .hint("use --device cpu")
            .into());
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = settings.threads.unwrap_or(cores);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("sizing the thread pool")?;
    Ok(Workers::with_isa(threads, isa))
}

/// An empty registry with these settings.
pub(super) fn registry(settings: &Settings, workers: Arc<Workers>) -> Registry {
    Registry::new(workers, EngineOptions::from(settings), settings.models_dir.clone())
}

/// Finds a model, pulling it if only the hub has it, and loads it.
pub(super) fn load(
    registry: &Registry,
    model: Option<&str>,
    settings: &Settings,
) -> anyhow::Result<Arc<ServedModel>> {
    let bars = PullBars::new();
    let found = resolve(model, registry.models_dir(), &|event| bars.show(event))?;
    bars.finish();
    let name = settings.served_model_name.clone().unwrap_or(found.name);
    let path = found.path.display().to_string();
    let spec = LoadSpec { name, path: found.path, options: registry.defaults().clone() };
    registry.load(spec).with_context(|| format!("loading {path}"))
}

/// The adapters of the settings, as (name, folder).
pub(super) fn adapters(settings: &Settings) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let adapter = |text: &String| {
        let named = text.split_once('=').filter(|(name, path)| !name.is_empty() && !path.is_empty());
        let Some((name, path)) = named else {
            return Err(Failure::usage(format!("lora_modules: `{text}` is not NAME=PATH"))
                .hint("a folder as PEFT writes it, as in --lora-modules mine=out/adapter")
                .into());
        };
        let path = PathBuf::from(path);
        let below = settings.models_dir.join(&path);
        Ok((name.to_owned(), if path.is_dir() { path } else { below }))
    };
    settings.lora_modules.iter().map(adapter).collect()
}

/// Serves adapters beside a model.
pub(super) fn load_adapters(
    registry: &Registry,
    base: &str,
    adapters: &[(String, PathBuf)],
) -> anyhow::Result<()> {
    for (name, path) in adapters {
        let (name, path, base) = (name.clone(), path.clone(), Some(base.to_owned()));
        let shown = path.display().to_string();
        let spec = AdapterSpec { name, path, base, replace: false };
        registry.load_adapter(spec).with_context(|| format!("loading the adapter {shown}"))?;
    }
    Ok(())
}

/// A runtime for the commands that talk to an engine or the network.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the async runtime")
}
