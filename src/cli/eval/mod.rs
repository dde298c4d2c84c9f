//! `xenoglot eval`: run a suite against a model in this process or any OpenAI-compatible URL; show a run again.

mod bar;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use tokio::sync::watch;

use crate::eval::{
    self, EvalError, Generator, HttpGenerator, HttpOptions, LocalGenerator, RunConfig, RunFile, RunReport,
    Sampling, Suite,
};
use crate::language::Language;
use crate::settings::Settings;

use super::failure::Failure;
use super::options::{GlobalOptions, ModelOptions, settings};
use super::start;
use bar::ProgressLine;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run a suite, or go on with an interrupted run.
    Run(Box<RunArguments>),
    /// List the suites.
    Suites,
    /// Print the table of a run again.
    Show {
        /// The run's directory
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Name of a suite, or its folder
    suite: String,
    /// A directory, a GGUF file, a name below the models directory, or the URL of an OpenAI-compatible server
    /// [default: SmolLM2-135M-Instruct]
    #[arg(long, value_name = "NAME_OR_URL")]
    model: Option<String>,
    /// Which of the server's models, if it has several
    #[arg(long, value_name = "NAME")]
    model_name: Option<String>,
    /// Samples a problem
    #[arg(allow_negative_numbers = true, long, short, default_value_t = 32)]
    n: u32,
    /// Only these, such as en,fr,ja [default: all of the suite's]
    #[arg(long, value_delimiter = ',', value_name = "CODES")]
    languages: Option<Vec<Language>>,
    /// Only the first problems of each language
    #[arg(allow_negative_numbers = true, long, value_name = "PROBLEMS")]
    limit: Option<usize>,
    /// Worked examples shown before each problem, as turns of a chat; small models need them to answer in a box
    #[arg(long, default_value_t = 0, value_name = "EXAMPLES")]
    shots: usize,
    /// Directory of the run; one that holds the same run is resumed [default: runs/SUITE-MODEL]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[arg(allow_negative_numbers = true, long, default_value_t = Sampling::default().temperature)]
    temperature: f32,
    /// Keep the likeliest tokens that reach this probability together
    #[arg(allow_negative_numbers = true, long, default_value_t = Sampling::default().top_p)]
    top_p: f32,
    /// Keep this many of the likeliest tokens; 0 keeps all
    #[arg(allow_negative_numbers = true, long, default_value_t = Sampling::default().top_k)]
    top_k: u32,
    /// Keep tokens of at least this part of the likeliest one's probability
    #[arg(allow_negative_numbers = true, long, default_value_t = Sampling::default().min_p)]
    min_p: f32,
    /// Longest completion, in tokens
    #[arg(allow_negative_numbers = true, long, default_value_t = Sampling::default().max_tokens)]
    max_tokens: usize,
    /// The same seed draws the same samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Problems in flight at once
    #[arg(allow_negative_numbers = true, long, default_value_t = 4)]
    concurrency: usize,
    #[command(flatten)]
    model_options: ModelOptions,
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.action {
        Action::Run(arguments) => run_suite(global, arguments),
        Action::Suites => suites(),
        Action::Show { directory } => show(directory),
    }
}

fn run_suite(global: &GlobalOptions, arguments: &RunArguments) -> anyhow::Result<()> {
    let settings = settings(global, arguments.model_options.overrides())?;
    start::logging(&settings, true)?;
    // Before a model is loaded: a wrong name or number is said at once.
    let mut config = config(arguments, Suite::open(&arguments.suite)?);
    config.validate().map_err(classify)?;
    let runtime = start::runtime()?;
    let generator: Box<dyn Generator> = match arguments.model.as_deref().filter(|model| is_url(model)) {
        Some(url) => {
            let options = HttpOptions { model: arguments.model_name.clone(), ..HttpOptions::new(url) };
            Box::new(runtime.block_on(HttpGenerator::connect(options))?)
        }
        None => Box::new(local(arguments, &settings)?),
    };
    let out = arguments.out.clone().unwrap_or_else(|| usual_out(&config.suite, &generator.identity().model));
    config.out.clone_from(&out);
    eprintln!("run in {}", out.display());
    let progress = ProgressLine::new();
    let report = runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                // The run may have ended meanwhile.
                let _ = stop.send(true);
            }
        });
        eval::run(config, &*generator, &progress, stopped).await
    });
    progress.finish();
    let report = report.map_err(classify)?;
    print(&report, &out)
}

fn is_url(model: &str) -> bool {
    model.starts_with("http://") || model.starts_with("https://")
}

fn local(arguments: &RunArguments, settings: &Settings) -> anyhow::Result<LocalGenerator> {
    // The limit guards a server against its clients; here sample i is choice i of one request, however many.
    let settings = &Settings { max_n: settings.max_n.max(arguments.n as usize), ..settings.clone() };
    let registry = start::registry(settings, start::workers(settings)?);
    let model = start::load(&registry, arguments.model.as_deref(), settings)?;
    Ok(LocalGenerator {
        model: model.name.clone(),
        dtype: model.dtype.to_owned(),
        handle: model.handle.clone(),
        tokenizer: model.tokenizer.clone(),
        template: model.template.clone(),
    })
}

fn usual_out(suite: &Suite, model: &str) -> PathBuf {
    let kept = |c: char| c.is_alphanumeric() || "._-".contains(c);
    Path::new("runs").join(format!("{}-{model}", suite.name).replace(|c| !kept(c), "-"))
}

/// All but the directory, whose usual name needs the model's.
fn config(arguments: &RunArguments, suite: Suite) -> RunConfig {
    RunConfig {
        languages: arguments.languages.clone(),
        limit: arguments.limit,
        shots: arguments.shots,
        n: arguments.n,
        sampling: Sampling {
            temperature: arguments.temperature,
            top_p: arguments.top_p,
            top_k: arguments.top_k,
            min_p: arguments.min_p,
            max_tokens: arguments.max_tokens,
        },
        seed: arguments.seed,
        concurrency: arguments.concurrency.max(1),
        out: PathBuf::new(),
        suite,
    }
}

/// What the command line got wrong exits with 2, as other wrong arguments do.
fn classify(error: EvalError) -> anyhow::Error {
    match error {
        EvalError::InvalidSetting { .. }
        | EvalError::LanguageMissing { .. }
        | EvalError::TooFewExamples { .. }
        | EvalError::DifferentRun { .. } => Failure::usage(error).into(),
        error => error.into(),
    }
}

fn print(report: &RunReport, out: &Path) -> anyhow::Result<()> {
    if report.resumed > 0 {
        eprintln!("{} samples were there from before", report.resumed);
    }
    eprintln!(
        "every completion: {}, the figures: {}",
        out.join("samples.jsonl").display(),
        out.join("run.json").display()
    );
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{}", eval::table(&report.results))?;
    Ok(())
}

fn suites() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for name in Suite::known() {
        match Suite::open(&name) {
            Ok(suite) => {
                let codes: Vec<&str> = suite.languages.iter().map(|entry| entry.language.code()).collect();
                let first = suite.languages.first();
                let (problems, examples) =
                    first.map_or((0, 0), |entry| (entry.problems.len(), entry.examples.len()));
                let codes = codes.join(",");
                let description = &suite.description;
                writeln!(out, "{name}  {problems} problems  {examples} examples  {codes}  {description}")?;
            }
            Err(error) => eprintln!("{name}: {error}"),
        }
    }
    Ok(())
}

fn show(directory: &Path) -> anyhow::Result<()> {
    let path = directory.join("run.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let file: RunFile = serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
    let results = file.results.ok_or_else(|| {
        Failure::new(format!("the run in {} is not finished", directory.display()))
            .hint("the command that started it goes on with it")
    })?;
    write!(std::io::stdout(), "{}", eval::table(&results))?;
    Ok(())
}
