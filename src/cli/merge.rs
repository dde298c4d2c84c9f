//! `xenoglot merge`: mergekit's configurations, carried out.

mod series;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::merge::{
    ExecuteOptions, FileOptions, MergeError, MergeJob, MergeProgress, MergeSeries, MergedAmount, PlanOptions,
    PlannedTensor, Preset, config, partial_of,
};
use crate::registry::resolve;
use crate::settings::{ByteSize, Overrides, Settings};

use super::failure::Failure;
use super::options::{GlobalOptions, settings};
use super::pull::PullBars;
use super::start;
use series::SeriesCommand;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A configuration as mergekit has it, in YAML or JSON (- is stdin; none with --preset), or several as mergekit-multi has
    /// them, and the folder to make
    #[arg(num_args = 0..=2, value_names = ["CONFIG", "OUT"])]
    paths: Vec<PathBuf>,
    /// Of the random methods: the same seed gives the same tensors
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print the plan, each output tensor with its sources and numbers, and write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    write: WriteArguments,
    /// Where the results of a file's named merges are put and kept [default: OUT.merges, until OUT is there]
    #[arg(long, short = 'I', value_name = "DIR")]
    intermediate_dir: Option<PathBuf>,
    /// Merge what does not go together
    #[arg(long)]
    allow_crimes: bool,
    /// A published recipe in place of a configuration: typhoon2-r1, budget-alignment
    #[arg(long, value_name = "NAME", requires = "models")]
    preset: Option<String>,
    /// The preset's models, in its order
    #[arg(long, value_delimiter = ',', value_name = "MODELS")]
    models: Vec<String>,
    /// Print the JSON Schema of configurations
    #[arg(long, exclusive = true)]
    schema: bool,
}

/// How an output is written.
#[derive(Debug, Args)]
pub(super) struct WriteArguments {
    /// Threads [default: one a core]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Memory that the threads' pieces may take; mapped inputs do not count
    #[arg(long, value_name = "SIZE", default_value = "2GiB")]
    max_memory: ByteSize,
    /// Tensors in one output file, in bytes
    #[arg(long, value_name = "SIZE", default_value = "5GB")]
    out_shard_size: ByteSize,
    /// Go on with what an earlier call of the same merge left
    #[arg(long)]
    resume: bool,
    /// Put digests of the inputs' whole contents into the model card, which reads them once more
    #[arg(long)]
    hash_inputs: bool,
    /// Leave the model card out
    #[arg(long)]
    no_model_card: bool,
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.schema {
        let mut stdout = std::io::stdout().lock();
        serde_json::to_writer_pretty(&mut stdout, &config::json_schema())?;
        return Ok(writeln!(stdout)?);
    }
    let settings = settings(global, Overrides::default())?;
    start::logging(&settings, true)?;
    let (text, name, out) = sources(arguments)?;
    let options = PlanOptions {
        seed: arguments.seed,
        shard_bytes: arguments.write.out_shard_size.0,
        crimes: arguments.allow_crimes,
    };
    let locate = |path: &str, revision: Option<&str>| locate(path, revision, &settings);
    let mut series = MergeSeries::parse(&text).map_err(|error| explain(error.into(), &name))?;
    let missing = || Failure::usage("OUT is missing: the folder to make");
    if series.merges.len() > 1 {
        let intermediate_dir = arguments.intermediate_dir.as_deref();
        let command =
            SeriesCommand { series, name: &name, locate: &locate, options: &options, intermediate_dir };
        return match out {
            out if arguments.dry_run => command.dry_run(out.as_deref()),
            Some(out) => command.run(&out, &arguments.write),
            None => Err(missing().into()),
        };
    }
    if arguments.intermediate_dir.is_some() {
        return Err(Failure::usage(format!(
            "--intermediate-dir is for a file with several merges, {name} has one"
        ))
        .into());
    }
    let Some(merge) = series.merges.pop() else {
        return Err(Failure::usage(format!("{name} has no merge")).into());
    };
    let job = MergeJob::of(merge.config, &locate, &options).map_err(|error| explain(error, &name))?;
    warn(&job, &name);
    if arguments.dry_run {
        return print_plan(&job, &mut std::io::stdout().lock());
    }
    write(&job, &name, &out.ok_or_else(missing)?, &arguments.write)
}

fn warn(job: &MergeJob, name: &str) {
    for warning in &job.plan.warnings {
        eprintln!("warning: {name} {warning}");
    }
}

fn print_plan(job: &MergeJob, out: &mut impl Write) -> anyhow::Result<()> {
    write!(out, "{}", job.plan.text(&job.models))?;
    let (tensors, bytes) = (job.plan.tensors.len(), job.plan.bytes());
    Ok(writeln!(out, "{tensors} tensors, {bytes} bytes, {} files", job.plan.shards.len())?)
}

/// The configuration's text, what to call it in messages, and the output.
fn sources(arguments: &Arguments) -> anyhow::Result<(String, String, Option<PathBuf>)> {
    if let Some(preset) = &arguments.preset {
        let text = Preset::named(preset)
            .and_then(|preset| preset.config(&arguments.models))
            .map_err(Failure::usage)?;
        let out = match &arguments.paths[..] {
            [] => None,
            [out] => Some(out.clone()),
            _ => return Err(Failure::usage("with --preset there is no CONFIG: give OUT alone").into()),
        };
        return Ok((text, format!("preset {preset}"), out));
    }
    let Some(path) = arguments.paths.first() else {
        return Err(Failure::usage("CONFIG and OUT are missing").into());
    };
    let (text, name) = if path == Path::new("-") {
        (
            std::io::read_to_string(std::io::stdin()).context("reading the configuration from stdin")?,
            "stdin".to_owned(),
        )
    } else {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        (text, path.display().to_string())
    };
    Ok((text, name, arguments.paths.get(1).cloned()))
}

/// Plan a configuration and carry it out.
pub(super) fn merge(
    text: &str,
    name: &str,
    out: &Path,
    arguments: &WriteArguments,
    settings: &Settings,
) -> anyhow::Result<()> {
    let locate = |path: &str, revision: Option<&str>| locate(path, revision, settings);
    let options = PlanOptions { shard_bytes: arguments.out_shard_size.0, ..PlanOptions::default() };
    let job = MergeJob::plan(text, &locate, &options).map_err(|error| explain(error, name))?;
    warn(&job, name);
    write(&job, name, out, arguments)
}

/// A path as it is, else a name below the models directory or on the hub; `name@revision` has a folder of its own there.
pub(super) fn locate(path: &str, revision: Option<&str>, settings: &Settings) -> Result<PathBuf, String> {
    let is_here = Path::new(path).exists();
    let name = match revision {
        Some(revision) if is_here => {
            return Err(format!(
                "is on this machine, where models have no revisions: leave `@{revision}` out, or name the hub's"
            ));
        }
        Some(revision) => format!("{path}@{revision}"),
        None if is_here => return Ok(PathBuf::from(path)),
        None => path.to_owned(),
    };
    let bars = PullBars::new();
    let found = resolve(Some(&name), &settings.models_dir, &|event| bars.show(event));
    bars.finish();
    Ok(found.map_err(|error| error.to_string())?.path)
}

fn write(job: &MergeJob, name: &str, out: &Path, arguments: &WriteArguments) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    // The first asks the pieces in progress to be the last; the second ends the process as usual.
    let _ =
        std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || wait_for_interrupt(&asked));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = arguments.jobs.map_or(cores, usize::from);
    let threads =
        job.plan.threads_within(threads, arguments.max_memory.0).map_err(|error| explain(error, name))?;
    let options = ExecuteOptions { threads, resume: arguments.resume, stop: &stop };
    let files = FileOptions { hash_inputs: arguments.hash_inputs, no_card: arguments.no_model_card };
    let bar = Bar(ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()));
    let outcome = job.write(out, options, files, &bar);
    bar.0.finish_and_clear();
    outcome.map_err(|error| unfinished(error, name, out))?;
    eprintln!("{} tensors, {} bytes in {}", job.plan.tensors.len(), job.plan.bytes(), out.display());
    Ok(())
}

/// The first Ctrl-C asks the pieces in progress to be the last; the second ends the process as usual.
pub(super) fn stop_on_interrupt(stop: &Arc<AtomicBool>) {
    let asked = stop.clone();
    let _ =
        std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || wait_for_interrupt(&asked));
}

pub(super) fn wait_for_interrupt(stop: &AtomicBool) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.store(true, Ordering::Relaxed);
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(130);
            }
        }
    });
}

/// The way on from a merge that ended while it was written.
pub(super) fn unfinished(error: MergeError, name: &str, out: &Path) -> anyhow::Error {
    let partial = partial_of(out);
    if !error.is_resumable() || !partial.exists() {
        return explain(error, name);
    }
    let kept = format!("{} keeps what is written: the same command with --resume goes on", partial.display());
    let is_full =
        matches!(&error, MergeError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
    Failure::new(error).hint(if is_full { format!("make room; {kept}") } else { kept }).into()
}

/// Messages begin with the file that is at fault.
pub(super) fn explain(error: MergeError, name: &str) -> anyhow::Error {
    match error {
        MergeError::Config(error) => Failure::usage(format!("{name} {error}")).into(),
        error @ (MergeError::Crime { .. } | MergeError::Mismatch { .. }) if error.key().is_some() => {
            Failure::usage(format!("{name} {error}")).into()
        }
        error @ (MergeError::Crime { .. } | MergeError::Mismatch { .. } | MergeError::Model { .. }) => {
            Failure::usage(error).into()
        }
        error => error.into(),
    }
}

/// How far the tensors are.
pub(super) struct Bar(pub ProgressBar);

impl MergeProgress for Bar {
    fn planned(&self, total: MergedAmount, done: MergedAmount) {
        let template = "{wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
        self.0.set_length(total.bytes);
        self.0.set_position(done.bytes);
        if done.tensors > 0 {
            eprintln!("{} of {} tensors were there from before", done.tensors, total.tensors);
        }
    }

    fn tensor(&self, tensor: &PlannedTensor) {
        self.0.inc(tensor.bytes());
    }
}
