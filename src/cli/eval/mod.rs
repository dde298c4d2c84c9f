//! `xenoglot eval`: run a suite against a model in this process or any OpenAI-compatible URL; show a run again.

mod bar;
mod scorers;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use tokio::sync::watch;

use crate::eval::{
    self, DataState, EvalError, Generator, HttpGenerator, HttpOptions, LocalGenerator, OpenOptions, Preset,
    Protocol, RunConfig, RunFile, RunReport, Sampling, Suite, SuiteError,
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
    /// Samples a problem [default: the suite's, else 32]
    #[arg(allow_negative_numbers = true, long, short)]
    n: Option<u32>,
    /// The protocol of a paper, such as budget-alignment, mindmerger or maet; other flags win over it
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Where suites find data that are not shipped [default: $XENOGLOT_DATA]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A shared set of prompts to use in place of the suite's
    #[arg(long, value_name = "NAME")]
    prompts: Option<String>,
    /// Variants of the prompts, such as ja-halfwidth,es-english-terms
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    variants: Vec<String>,
    /// Only these, such as en,fr,ja [default: all of the suite's]
    #[arg(long, value_delimiter = ',', value_name = "CODES")]
    languages: Option<Vec<Language>>,
    /// Only the first problems of each language
    #[arg(allow_negative_numbers = true, long, value_name = "PROBLEMS")]
    limit: Option<usize>,
    /// Worked examples shown before each problem, as turns of a chat; small models need them to answer in a box
    /// [default: the suite's, else 0]
    #[arg(long, value_name = "EXAMPLES")]
    shots: Option<usize>,
    /// Directory of the run; one that holds the same run is resumed [default: runs/SUITE-MODEL]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Sampling temperature; 0 takes the likeliest token [default: the suite's, else 0.6]
    #[arg(allow_negative_numbers = true, long)]
    temperature: Option<f32>,
    /// Keep the likeliest tokens that reach this probability together [default: the suite's, else 0.95]
    #[arg(allow_negative_numbers = true, long)]
    top_p: Option<f32>,
    /// Keep this many of the likeliest tokens; 0 keeps all [default: the suite's, else 0]
    #[arg(allow_negative_numbers = true, long)]
    top_k: Option<u32>,
    /// Keep tokens of at least this part of the likeliest one's probability [default: the suite's, else 0]
    #[arg(allow_negative_numbers = true, long)]
    min_p: Option<f32>,
    /// Longest completion, in tokens [default: the suite's, else 2048]
    #[arg(allow_negative_numbers = true, long)]
    max_tokens: Option<usize>,
    /// The same seed draws the same samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Problems in flight at once
    #[arg(allow_negative_numbers = true, long, default_value_t = 4)]
    concurrency: usize,
    #[command(flatten)]
    scorers: scorers::ScorerArguments,
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
    let mut config = config(arguments)?;
    config.validate().map_err(classify)?;
    let runtime = start::runtime()?;
    let generator: Box<dyn Generator> = match arguments.model.as_deref().filter(|model| is_url(model)) {
        Some(url) => {
            let options = HttpOptions { model: arguments.model_name.clone(), ..HttpOptions::new(url) };
            Box::new(runtime.block_on(HttpGenerator::connect(options))?)
        }
        None => Box::new(local(arguments, config.n, &settings)?),
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

fn local(arguments: &RunArguments, n: u32, settings: &Settings) -> anyhow::Result<LocalGenerator> {
    // The limit guards a server against its clients; here sample i is choice i of one request, however many.
    let settings = &Settings { max_n: settings.max_n.max(n as usize), ..settings.clone() };
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

/// All but the directory, whose usual name needs the model's. A flag wins over the preset, the preset over the suite.
fn config(arguments: &RunArguments) -> anyhow::Result<RunConfig> {
    let preset = arguments.preset.as_deref().map(Preset::named).transpose().map_err(usage)?;
    let options = OpenOptions {
        languages: arguments.languages.clone(),
        data: arguments.data.clone(),
        prompts: arguments.prompts.clone().or_else(|| preset.as_ref()?.prompts.clone()),
        variants: arguments.variants.clone(),
    };
    let suite = Suite::open_with(&arguments.suite, &options).map_err(usage)?;
    let preset = preset.map_or_else(Protocol::default, |preset| preset.protocol);
    let protocol = preset.over(&suite.protocol);
    let n = arguments.n.or(protocol.n).unwrap_or(32);
    protocol.check_samples(n).map_err(usage)?;
    let usual = Sampling::default();
    Ok(RunConfig {
        languages: arguments.languages.clone(),
        limit: arguments.limit,
        shots: arguments.shots.unwrap_or(protocol.shots.unwrap_or_default() as usize),
        n,
        sampling: Sampling {
            temperature: arguments.temperature.or(protocol.temperature).unwrap_or(usual.temperature),
            top_p: arguments.top_p.or(protocol.top_p).unwrap_or(usual.top_p),
            top_k: arguments.top_k.or(protocol.top_k).unwrap_or(usual.top_k),
            min_p: arguments.min_p.or(protocol.min_p).unwrap_or(usual.min_p),
            max_tokens: arguments
                .max_tokens
                .or(protocol.max_tokens.map(|tokens| tokens as usize))
                .unwrap_or(usual.max_tokens),
        },
        seed: arguments.seed,
        concurrency: arguments.concurrency.max(1),
        out: PathBuf::new(),
        scorers: arguments.scorers.options(),
        suite,
    })
}

/// Names and numbers of the command line that a suite does not know.
fn usage(error: SuiteError) -> anyhow::Error {
    match error {
        SuiteError::UnknownPreset { .. }
        | SuiteError::UnknownPrompts { .. }
        | SuiteError::UnknownVariant { .. }
        | SuiteError::TooFewSamples { .. } => Failure::usage(error).into(),
        error => error.into(),
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
        match Suite::summary(&name) {
            Ok(suite) => {
                let codes: Vec<&str> = suite.languages.iter().map(|language| language.code()).collect();
                let data = match suite.data {
                    DataState::Own => "built in".to_owned(),
                    DataState::Present { languages } => format!("data of {languages} languages"),
                    DataState::Missing { .. } => "data missing".to_owned(),
                };
                let (task, codes, description) = (suite.task.name(), codes.join(","), &suite.description);
                writeln!(out, "{name}  {task}  {data}  {codes}  {description}")?;
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
