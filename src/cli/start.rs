//! What commands that compute do first: logging, threads, a model in the registry.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::ops::{Isa, Workers};
use crate::registry::{
    AdapterSpec, Catalogue, CatalogueEntry, EngineOptions, LoadSpec, Registry, ServedModel, find, is_encoder,
    name_of, resolve,
};
use crate::settings::{Device, Load, LogFormat, Settings};

use super::failure::Failure;
use super::pull::PullBars;
use super::traces::{Exporter, exporter};

/// Log lines go to stderr; `quiet` shows warnings only, unless another level was chosen. Whoever serves keeps what is answered
/// to the end, which exports traces.
pub(super) fn logging(settings: &Settings, quiet: bool) -> anyhow::Result<Exporter> {
    let chosen = settings.log_level != Settings::default().log_level;
    let level = if quiet && !chosen { "warn" } else { &settings.log_level };
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Failure::usage(format!("log_level: `{level}` is not a level or filter ({error})"))
    })?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match settings.log_format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let (exported, exporter) = exporter(settings)?;
    let layers: Vec<_> = std::iter::once(lines.with_filter(filter).boxed()).chain(exported).collect();
    tracing_subscriber::registry()
        .with(layers)
        .try_init()
        .map_err(|error| anyhow::anyhow!("starting the log: {error}"))?;
    Ok(exporter)
}

/// The pool that all computing shares, on the best instruction set.
pub(super) fn workers(settings: &Settings) -> anyhow::Result<Arc<Workers>> {
    workers_on(settings, Isa::detect())
}

/// The pool on a given instruction set; candle's own is sized to it before its first use.
pub(super) fn workers_on(settings: &Settings, isa: Isa) -> anyhow::Result<Arc<Workers>> {
    if settings.device == Device::Cuda {
        return Err(Failure::usage(format!("device: {}", why_no_cuda())).hint("use --device cpu").into());
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = settings.threads.unwrap_or(cores);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("sizing the thread pool")?;
    Ok(Workers::with_isa(threads, isa))
}

/// What is missing for the model to run on a GPU.
#[cfg(feature = "cuda")]
fn why_no_cuda() -> String {
    match crate::ops::cuda::Gpu::open(0) {
        Ok(gpu) => format!("{gpu:?} is ready, but models do not run on GPUs yet (docs/cuda.md)"),
        Err(error) => error.to_string(),
    }
}

#[cfg(not(feature = "cuda"))]
fn why_no_cuda() -> String {
    "this build computes on the CPU only; GPUs need one with --features cuda (docs/cuda.md)".to_owned()
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

/// The models of the settings file, found on this machine.
pub(super) fn catalogue(settings: &Settings) -> anyhow::Result<Catalogue> {
    let mut catalogue = Catalogue::new();
    let defaults = EngineOptions::from(settings);
    for (name, entry) in &settings.models {
        let found = find(Some(&entry.path), &settings.models_dir).map_err(|error| {
            Failure::new(format!("models.{name}.path: {error}"))
                .hint("name a folder, a GGUF file or a model below models_dir")
        })?;
        let options = EngineOptions {
            dtype: entry.dtype.unwrap_or(defaults.dtype),
            quantize: entry.quantize.unwrap_or(defaults.quantize),
            kv_dtype: entry.kv_dtype.unwrap_or(defaults.kv_dtype),
            // The server's own limit was chosen for the model it was started with.
            max_model_len: entry.max_model_len,
            max_num_seqs: entry.max_num_seqs.unwrap_or(defaults.max_num_seqs),
            kv_cache_memory: entry.kv_cache_memory.or(defaults.kv_cache_memory),
            ..defaults.clone()
        };
        let idle = entry.idle_seconds.map(Duration::from_secs);
        let (aliases, on_demand) = (entry.aliases.clone(), entry.load == Load::OnDemand);
        let known = CatalogueEntry { path: found.path, options, aliases, idle, on_demand };
        catalogue.insert(name.clone(), known);
    }
    Ok(catalogue)
}

/// Makes the catalogue known and loads those of its models that are there from the start.
pub(super) fn load_catalogue(registry: &Registry, catalogue: Catalogue) -> anyhow::Result<()> {
    let taken: Vec<String> = registry
        .list()
        .iter()
        .chain(&registry.adapters())
        .map(|model| model.name.clone())
        .chain(registry.encoders().iter().map(|encoder| encoder.name.clone()))
        .collect();
    for (name, entry) in &catalogue {
        if let Some(twice) = std::iter::once(name).chain(&entry.aliases).find(|given| taken.contains(given)) {
            let failure = Failure::usage(format!(
                "models.{name}: the name `{twice}` is that of a model which is served already"
            ));
            return Err(failure.hint("choose another name or alias").into());
        }
    }
    for (name, entry) in catalogue.iter().filter(|(_, entry)| !entry.on_demand) {
        let (name, path, options) = (name.clone(), entry.path.clone(), entry.options.clone());
        let shown = path.display().to_string();
        registry.load(LoadSpec { name, path, options }).with_context(|| format!("loading {shown}"))?;
    }
    registry.set_catalogue(catalogue);
    Ok(())
}

/// The encoders of the settings, as (name, folder).
pub(super) fn encoders(settings: &Settings) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let encoder = |text: &String| {
        let (name, path) = match text.split_once('=') {
            Some((name, path)) => (Some(name.to_owned()), PathBuf::from(path)),
            None => (None, PathBuf::from(text)),
        };
        let below = settings.models_dir.join(&path);
        let path = if path.is_dir() { path } else { below };
        if !is_encoder(&path) {
            let failure =
                Failure::usage(format!("embedding_models: `{text}` is no folder of a text encoder"));
            let hint = "a folder with the config.json, tokenizer.json and safetensors of a BERT, XLM-R, E5, T5 or M2M100 model";
            return Err(failure.hint(hint).into());
        }
        Ok((name.unwrap_or_else(|| name_of(&path)), path))
    };
    settings.embedding_models.iter().map(encoder).collect()
}

/// Serves text encoders.
pub(super) fn load_encoders(registry: &Registry, encoders: &[(String, PathBuf)]) -> anyhow::Result<()> {
    for (name, path) in encoders {
        let shown = path.display();
        registry.load_encoder(name.clone(), path).with_context(|| format!("loading the encoder {shown}"))?;
    }
    Ok(())
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
