//! `xenoglot models`: pull, list, show and convert models on disk. Loads none of them.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::model::augmented::AugmentedFolder;
use crate::model::encoders;
use crate::registry::{self, EngineOptions, Found, HubName, Inspection};
use crate::settings::{ByteSize, Overrides, Settings};
use crate::weights::{WrittenDtype, convert_e5s1, convert_gguf, is_e5s1};

use super::failure::Failure;
use super::options::{GlobalOptions, ModelOptions, settings};
use super::pull::PullBars;
use super::start;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Fetch a model from a hub into the models directory.
    Pull {
        /// org/name, or org/name:FILE.gguf
        model: String,
    },
    /// List the models of the models directory.
    List {
        /// As JSON, a line a model
        #[arg(long)]
        json: bool,
    },
    /// Show what a model is and the memory it would take.
    Show {
        /// A directory, a GGUF file or a name below the models directory [default: the default model]
        model: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        options: Box<ModelOptions>,
    },
    /// Write a GGUF file as a Hugging Face directory (dequantised safetensors, config, tokenizer, template), or the
    /// encoder that scripts/fetch-models gets (e5-small-q4.bin).
    Convert {
        /// The GGUF file, or the encoder's
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The directory to write; must not exist, or be empty
        out: PathBuf,
        /// Type of the weights written
        #[arg(long, default_value = "bf16", value_parser = PossibleValuesParser::new(["bf16", "f32"]))]
        dtype: String,
    },
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    let flags = match &arguments.action {
        Action::Show { options, .. } => options.overrides(),
        _ => Overrides::default(),
    };
    let settings = settings(global, flags)?;
    start::logging(&settings, true)?;
    match &arguments.action {
        Action::Pull { model } => pull(model, &settings),
        Action::List { json } => list(&settings, *json),
        Action::Show { model, json, .. } => show(model.as_deref(), &settings, *json),
        Action::Convert { file, out, dtype } => convert(file, out, dtype),
    }
}

fn pull(model: &str, settings: &Settings) -> anyhow::Result<()> {
    let name = HubName::parse(model).ok_or_else(|| {
        Failure::usage(format!("`{model}` is no hub name")).hint("write org/name, or org/name:FILE.gguf")
    })?;
    let bars = PullBars::new();
    let path = registry::pull(&name, &settings.models_dir, &|event| bars.show(event))?;
    bars.finish();
    writeln!(std::io::stdout(), "{}", path.display())?;
    Ok(())
}

fn list(settings: &Settings, json: bool) -> anyhow::Result<()> {
    let models = registry::list(&settings.models_dir);
    if models.is_empty() {
        eprintln!(
            "no models in {}: scripts/fetch-models gets the default one, `xenoglot models pull` others",
            settings.models_dir.display()
        );
    }
    let width = models.iter().map(|found| found.name.chars().count()).max().unwrap_or(0);
    let mut out = std::io::stdout().lock();
    for Found { name, path } in models {
        let bytes = size_on_disk(&path);
        if json {
            let line = json!({"name": name, "kind": kind(&path), "path": path, "bytes": bytes});
            writeln!(out, "{line}")?;
        } else {
            let (kind, size) = (kind(&path), ByteSize(bytes).to_string());
            writeln!(out, "{name:width$}  {kind:10}  {size:>10}  {}", path.display())?;
        }
    }
    Ok(())
}

fn size_on_disk(path: &Path) -> u64 {
    if path.is_file() {
        return path.metadata().map_or(0, |data| data.len());
    }
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .filter(std::fs::Metadata::is_file)
        .map(|d| d.len())
        .sum()
}

/// What can be done with it: `decoder` and `mindmerger` are served, an `encoder` is a part of the latter.
fn kind(path: &Path) -> &'static str {
    if AugmentedFolder::is_one(path) {
        return "mindmerger";
    }
    let config = std::fs::read(path.join("config.json")).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap_or_default();
    let is_encoder = config["model_type"].as_str().is_some_and(|name| encoders::SUPPORTED.contains(&name));
    if is_encoder { "encoder" } else { "decoder" }
}

fn show(model: Option<&str>, settings: &Settings, json: bool) -> anyhow::Result<()> {
    let found = registry::find(model, &settings.models_dir)?;
    let Inspection { checkpoint, augmented, config, weight_bytes, kv_bytes_per_token, available_bytes, plan } =
        registry::inspect(&found.path, &EngineOptions::from(settings))
            .with_context(|| format!("reading {}", found.path.display()))?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("unknown").to_owned();
    let facts = [
        ("name", json!(found.name)),
        ("path", json!(found.path)),
        ("kind", json!(kind(&found.path))),
        ("encoder", json!(augmented.as_ref().map(|folder| &folder.encoder))),
        ("llm", json!(augmented.as_ref().map(|folder| &folder.llm))),
        ("mapping", json!(augmented.as_ref().map(|folder| &folder.mapping))),
        ("family", json!(text(&checkpoint.config["model_type"]))),
        ("stored", json!(format!("{:?}", checkpoint.dtype).to_lowercase())),
        ("layers", json!(config.layers)),
        ("hidden_size", json!(config.hidden_size)),
        ("heads", json!(config.heads)),
        ("kv_heads", json!(config.kv_heads)),
        ("head_dim", json!(config.head_dim)),
        ("vocab_size", json!(config.vocab_size)),
        ("context", json!(config.max_position_embeddings)),
        ("chat_template", json!(checkpoint.chat_template.is_some() && augmented.is_none())),
        ("weight_bytes", json!(weight_bytes)),
        ("kv_bytes_per_token", json!(kv_bytes_per_token)),
        ("kv_bytes", json!(plan.as_ref().ok().map(|plan| plan.kv_bytes))),
        ("available_bytes", json!(available_bytes)),
    ];
    let mut out = std::io::stdout().lock();
    if json {
        let facts: serde_json::Map<_, _> =
            facts.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
        writeln!(out, "{}", serde_json::Value::Object(facts))?;
    } else {
        for (key, value) in facts.into_iter().filter(|(_, value)| !value.is_null()) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            writeln!(out, "{key:20}{value}")?;
        }
        if let Ok(plan) = &plan {
            writeln!(out, "\n{plan}")?;
        }
    }
    // Whoever asks about a model that does not fit wants the facts before the refusal.
    plan.context("this model cannot run here now")?;
    Ok(())
}

fn convert(file: &Path, out: &Path, dtype: &str) -> anyhow::Result<()> {
    let dtype = if dtype == "f32" { WrittenDtype::F32 } else { WrittenDtype::Bf16 };
    let style =
        ProgressStyle::with_template("{msg:40} {wide_bar} {pos}/{len}").context("the bar's template")?;
    let bar = ProgressBar::new(0).with_style(style);
    let mut progress = |at: crate::weights::ConversionProgress<'_>| {
        bar.set_length(at.tensors_total as u64);
        bar.set_position(at.tensors_done as u64);
        bar.set_message(at.tensor.to_owned());
    };
    if is_e5s1(file) {
        convert_e5s1(file, out, dtype, &mut progress)?;
    } else {
        // What loading checks, so that the directory can be loaded; `weights` knows no model.
        registry::open(file)?;
        convert_gguf(file, out, dtype, &mut progress)?;
    }
    bar.finish_and_clear();
    writeln!(std::io::stdout(), "{}", out.display())?;
    Ok(())
}
