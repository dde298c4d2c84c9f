//! `xenoglot lora`: adapters merged into their base, and drawn out of tuned models.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::merge::lora::{ExtractError, ExtractOptions, Extraction, extract};
use crate::settings::Overrides;
use crate::weights::{WrittenDtype, open_weights};

use super::failure::Failure;
use super::merge::{self, WriteArguments};
use super::options::{GlobalOptions, settings};
use super::start;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a model of a base and its adapter.
    Merge(MergeArguments),
    /// Draw an adapter out of a tuned model and its base.
    Extract(Box<ExtractArguments>),
}

#[derive(Debug, Args)]
struct MergeArguments {
    /// The base model: a folder, a GGUF file, or a name below the models directory
    base: String,
    /// Folder of the adapter, as PEFT writes it
    adapter: String,
    /// The folder to make
    out: PathBuf,
    /// Type of the output: float32, float16 or bfloat16 [default: the base's]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    #[command(flatten)]
    write: WriteArguments,
}

#[derive(Debug, Args)]
struct ExtractArguments {
    /// The tuned model
    tuned: String,
    /// What it was tuned from
    base: String,
    /// The folder to make
    out: PathBuf,
    /// The largest rank
    #[arg(long, default_value_t = 128)]
    rank: usize,
    /// The part of a difference's energy (sum of squares) that is enough, such as 0.95
    #[arg(long)]
    energy: Option<f64>,
    /// Drop singular values up to this
    #[arg(long, default_value_t = 0.0)]
    sv_epsilon: f64,
    /// Put all of the singular values into A, instead of their roots into both
    #[arg(long)]
    no_distribute_scale: bool,
    /// Decompose embeddings and the output matrix too, instead of keeping them whole
    #[arg(long)]
    embed_lora: bool,
    /// Modules to keep whole, by name
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    save_modules: Vec<String>,
    /// Only modules whose names hold a match of this regular expression; repeat for several
    #[arg(long, value_name = "REGEX")]
    include: Vec<String>,
    /// No modules whose names hold a match of this
    #[arg(long, value_name = "REGEX")]
    exclude: Vec<String>,
    /// Leave out changed weights that are no matrices, such as norms, instead of keeping them whole
    #[arg(long)]
    skip_undecomposable: bool,
    /// Type of the adapter: float32 or bfloat16 [default: the tuned model's]
    #[arg(long, value_parser = dtype)]
    dtype: Option<WrittenDtype>,
}

fn dtype(name: &str) -> Result<WrittenDtype, String> {
    match name {
        "float32" | "f32" => Ok(WrittenDtype::F32),
        "bfloat16" | "bf16" => Ok(WrittenDtype::Bf16),
        _ => Err("float32 and bfloat16 can be written".to_owned()),
    }
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    let settings = settings(global, Overrides::default())?;
    start::logging(&settings, true)?;
    match &arguments.action {
        Action::Merge(arguments) => {
            let model = json!({"model": arguments.base, "lora": arguments.adapter});
            let mut config = json!({"merge_method": "passthrough", "models": [{"model": model}]});
            if let Some(dtype) = &arguments.dtype {
                config["out_dtype"] = json!(dtype);
            }
            merge::merge(&config.to_string(), "lora merge", &arguments.out, &arguments.write, &settings)
        }
        Action::Extract(arguments) => {
            let open = |model: &str| -> anyhow::Result<_> {
                let path = merge::locate(model, None, &settings).map_err(Failure::usage)?;
                Ok(open_weights(&path)?.1)
            };
            let (tuned, base) = (open(&arguments.tuned)?, open(&arguments.base)?);
            let stop = Arc::new(AtomicBool::new(false));
            merge::stop_on_interrupt(&stop);
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}") {
                bar.set_style(style);
            }
            let mut progress = |module: &str, done: usize, total: usize| {
                bar.set_length(total as u64);
                bar.set_position(done as u64);
                bar.set_message(module.to_owned());
            };
            let options = options(arguments);
            let outcome = extract(&*base, &*tuned, &arguments.out, &options, &stop, &mut progress);
            bar.finish_and_clear();
            report(&outcome.map_err(classify)?, arguments);
            Ok(())
        }
    }
}

fn options(arguments: &ExtractArguments) -> ExtractOptions {
    ExtractOptions {
        rank: arguments.rank,
        energy: arguments.energy,
        sv_epsilon: arguments.sv_epsilon,
        distribute_scale: !arguments.no_distribute_scale,
        embed_lora: arguments.embed_lora,
        save_modules: arguments.save_modules.clone(),
        include: arguments.include.clone(),
        exclude: arguments.exclude.clone(),
        skip_undecomposable: arguments.skip_undecomposable,
        dtype: arguments.dtype,
        base_model: arguments.base.clone(),
    }
}

fn classify(error: ExtractError) -> anyhow::Error {
    match error {
        ExtractError::Option { .. } | ExtractError::Pattern { .. } | ExtractError::Nothing => {
            Failure::usage(error).into()
        }
        error => error.into(),
    }
}

fn report(extraction: &Extraction, arguments: &ExtractArguments) {
    let Extraction { modules, whole, left_out, unchanged } = extraction;
    let ranks = modules.iter().map(|module| module.rank);
    let (least, most) = (ranks.clone().min().unwrap_or(0), ranks.max().unwrap_or(0));
    let energy = modules.iter().map(|module| module.energy).fold(1.0, f64::min);
    eprintln!(
        "{} modules of rank {least} to {most} (at least {:.1} % of the energy of each), {} kept whole, {unchanged} weights unchanged, in {}",
        modules.len(),
        energy * 100.0,
        whole.len(),
        arguments.out.display()
    );
    for name in left_out {
        eprintln!("warning: {name} differs and is not part of the adapter");
    }
}
