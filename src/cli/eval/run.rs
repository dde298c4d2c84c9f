//! `xenoglot eval run`: a suite against a model in this process or any OpenAI-compatible URL.

use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use tokio::sync::watch;

use crate::eval::{
    self, CacheStore, CachedGenerator, ChoiceGenerator, ContinuationScorer, EvalError, Generator,
    HttpGenerator, HttpOptions, LocalGenerator, Metered, OpenOptions, Preset, Prices, Protocol, RateLimits,
    RunConfig, RunReport, Session, Spent, Suite, SuiteError, Task, Usage, weights_sha256,
};
use crate::language::Language;
use crate::settings::{ByteSize, Settings};

use super::bar::ProgressLine;
use super::ignored;
use super::scorers::ScorerArguments;
use crate::cli::failure::Failure;
use crate::cli::options::{GlobalOptions, ModelOptions, settings};
use crate::cli::start;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Name of a suite, or its folder
    suite: String,
    /// A directory, a GGUF file, a name below the models directory, or the URL of an OpenAI-compatible server
    /// [default: SmolLM2-135M-Instruct]
    #[arg(long, value_name = "NAME_OR_URL")]
    model: Option<String>,
    /// Which of the server's models, if it has several
    #[arg(long, value_name = "NAME")]
    pub(super) model_name: Option<String>,
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
    /// The k of pass@k that n has to reach, such as 1,4; all up to n are reported [default: the preset's, else the suite's]
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    k: Vec<NonZeroU32>,
    /// Worked examples shown before each problem, as turns of a chat; small models need them to answer in a box
    /// [default: the suite's, else 0]
    #[arg(long, value_name = "EXAMPLES")]
    shots: Option<u32>,
    /// Directory of the run; one that holds the same run is resumed [default: runs/SUITE-MODEL]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Sampling temperature; 0 takes the likeliest token [default: the suite's, else 0.6]
    #[arg(allow_negative_numbers = true, long)]
    pub(super) temperature: Option<f32>,
    /// Keep the likeliest tokens that reach this probability together [default: the suite's, else 0.95]
    #[arg(allow_negative_numbers = true, long)]
    pub(super) top_p: Option<f32>,
    /// Keep this many of the likeliest tokens; 0 keeps all [default: the suite's, else 0]
    #[arg(allow_negative_numbers = true, long)]
    pub(super) top_k: Option<u32>,
    /// Keep tokens of at least this part of the likeliest one's probability [default: the suite's, else 0]
    #[arg(allow_negative_numbers = true, long)]
    pub(super) min_p: Option<f32>,
    /// Longest completion, in tokens [default: the suite's, else 2048]
    #[arg(allow_negative_numbers = true, long)]
    pub(super) max_tokens: Option<u32>,
    /// Begin every trace with the prompts' thinking prefix, such as "As I was asked to, I will think in English"
    /// [default: the preset's or suite's, else false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    thinking_prefix: Option<bool>,
    /// The same seed draws the same samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Problems in flight at once
    #[arg(allow_negative_numbers = true, long, default_value_t = 4)]
    pub(super) concurrency: usize,
    /// Folder of completions drawn before, which are not generated again; over HTTP the model must still be the same
    #[arg(long, default_value = "off", value_name = "DIR|off")]
    pub(super) cache: String,
    /// What the cache may take; the completions used longest ago go [default: 10GiB]
    #[arg(long, value_name = "SIZE")]
    pub(super) cache_size: Option<ByteSize>,
    #[command(flatten)]
    pub(super) provider: ProviderOptions,
    #[command(flatten)]
    pub(super) scorers: ScorerArguments,
    #[command(flatten)]
    pub(super) model_options: ModelOptions,
}

/// What a provider of models allows and asks for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Provider options (with a URL)")]
pub(super) struct ProviderOptions {
    /// Requests that may begin in any minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) requests_per_minute: Option<u32>,
    /// Prompt and completion tokens of any minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) tokens_per_minute: Option<u64>,
    /// Price of a million prompt tokens; with a price the run's cost is recorded
    #[arg(long, value_name = "PRICE")]
    pub(super) prompt_price: Option<f64>,
    /// Price of a million completion tokens
    #[arg(long, value_name = "PRICE")]
    pub(super) completion_price: Option<f64>,
}

impl ProviderOptions {
    fn prices(&self) -> Option<Prices> {
        let (prompt, completion) = (self.prompt_price, self.completion_price);
        let price = |price: Option<f64>| price.unwrap_or_default();
        (prompt.is_some() || completion.is_some())
            .then(|| Prices { prompt: price(prompt), completion: price(completion) })
    }
}

pub(super) fn run(global: &GlobalOptions, arguments: &Arguments) -> anyhow::Result<()> {
    let settings = settings(global, arguments.model_options.overrides())?;
    start::logging(&settings, true)?;
    // Before a model is loaded: a wrong name or number is said at once.
    let mut config = config(arguments)?;
    ignored::refuse(arguments, &config.suite, arguments.model.as_deref().is_some_and(is_url))?;
    config.validate().map_err(classify)?;
    let runtime = start::runtime()?;
    let cache = cache(arguments)?;
    let generator = Metered::new(runtime.block_on(generator(arguments, &config, &settings, cache))?);
    let out = arguments.out.clone().unwrap_or_else(|| usual_out(&config.suite, &generator.identity().model));
    config.out.clone_from(&out);
    eprintln!("run in {}", out.display());
    let progress = ProgressLine::new();
    let started = now();
    let report = runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                // The run may have ended meanwhile.
                let _ = stop.send(true);
            }
        });
        eval::run(config, &generator, &progress, stopped).await
    });
    progress.finish();
    let usage = generator.total();
    if usage != Usage::default() {
        let cost = arguments.provider.prices().map(|prices| prices.cost(usage));
        let session = Session { started, finished: now(), complete: report.is_ok(), usage, cost };
        // What became of the run is said before what became of its accounts.
        if let Err(error) = session.append(&out) {
            tracing::warn!(%error, "the tokens of this call are not on file");
        }
    }
    print(&report.map_err(classify)?, &out)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn cache(arguments: &Arguments) -> anyhow::Result<Option<Arc<CacheStore>>> {
    if arguments.cache == "off" {
        return Ok(None);
    }
    let bytes = arguments.cache_size.map_or(CACHE_BYTES_MAX, |size| size.0);
    Ok(Some(Arc::new(CacheStore::open(Path::new(&arguments.cache), bytes)?)))
}

const CACHE_BYTES_MAX: u64 = 10 << 30;

async fn generator(
    arguments: &Arguments,
    config: &RunConfig,
    settings: &Settings,
    cache: Option<Arc<CacheStore>>,
) -> anyhow::Result<Box<dyn Generator>> {
    if let Some(url) = arguments.model.as_deref().filter(|model| is_url(model)) {
        let ProviderOptions { requests_per_minute, tokens_per_minute, .. } = arguments.provider;
        let rate_limits = RateLimits { requests_per_minute, tokens_per_minute };
        let model = arguments.model_name.clone();
        let options = HttpOptions { model, rate_limits, ..HttpOptions::new(url) };
        return Ok(for_task(HttpGenerator::connect(options).await?, config, cache, None));
    }
    let generator = local(arguments, config.n, settings)?;
    let weights = generator.weights_sha256.clone();
    Ok(for_task(generator, config, cache, weights))
}

/// What the suite's task asks of a model.
fn for_task<G: Generator + ContinuationScorer + 'static>(
    model: G,
    config: &RunConfig,
    cache: Option<Arc<CacheStore>>,
    weights: Option<String>,
) -> Box<dyn Generator> {
    if config.suite.task == Task::Loglikelihood {
        return cached(ChoiceGenerator::new(model, &config.suite), cache, weights);
    }
    cached(model, cache, weights)
}

fn cached<G: Generator + 'static>(
    generator: G,
    cache: Option<Arc<CacheStore>>,
    weights: Option<String>,
) -> Box<dyn Generator> {
    match cache {
        None => Box::new(generator),
        Some(store) => Box::new(CachedGenerator::new(generator, store, weights)),
    }
}

fn is_url(model: &str) -> bool {
    model.starts_with("http://") || model.starts_with("https://")
}

/// The engine, with the digest of what it was read from.
fn local(arguments: &Arguments, n: u32, settings: &Settings) -> anyhow::Result<LocalGenerator> {
    // The limit guards a server against its clients; here sample i is choice i of one request, however many.
    let settings = &Settings { max_n: settings.max_n.max(n as usize), ..settings.clone() };
    let registry = start::registry(settings, start::workers(settings)?);
    let model = start::load(&registry, arguments.model.as_deref(), settings)?;
    let generator = LocalGenerator {
        model: model.name.clone(),
        dtype: model.dtype.to_owned(),
        handle: model.handle.clone(),
        adapter: model.request_adapter(),
        tokenizer: model.tokenizer.clone(),
        template: model.template.clone(),
        augmented: model.augmented.clone(),
        weights_sha256: Some(weights_sha256(&model.source)?),
    };
    Ok(generator)
}

fn usual_out(suite: &Suite, model: &str) -> PathBuf {
    let kept = |c: char| c.is_alphanumeric() || "._-".contains(c);
    Path::new("runs").join(format!("{}-{model}", suite.name).replace(|c| !kept(c), "-"))
}

/// All but the directory, whose usual name needs the model's. A flag wins over the preset, the preset over the suite.
fn config(arguments: &Arguments) -> anyhow::Result<RunConfig> {
    let preset = arguments.preset.as_deref().map(Preset::named).transpose().map_err(usage)?;
    let (task, own) = Suite::task_and_protocol(&arguments.suite).map_err(usage)?;
    let said = Protocol {
        n: arguments.n,
        k: arguments.k.iter().map(|k| k.get()).collect(),
        shots: arguments.shots,
        temperature: arguments.temperature,
        top_p: arguments.top_p,
        top_k: arguments.top_k,
        min_p: arguments.min_p,
        max_tokens: arguments.max_tokens,
        thinking_prefix: arguments.thinking_prefix,
    };
    let of_preset = preset.as_ref().map(|preset| preset.protocol.clone()).unwrap_or_default();
    let settled = said.of_task(task).over(&of_preset).over(&own).settled(32).map_err(usage)?;
    let prompts_of_preset = || preset.as_ref()?.prompts_of(task).map(str::to_owned);
    let options = OpenOptions {
        languages: arguments.languages.clone(),
        data: arguments.data.clone(),
        prompts: arguments.prompts.clone().or_else(prompts_of_preset),
        variants: arguments.variants.clone(),
        examples: settled.shots > 0,
    };
    let suite = Suite::open_with(&arguments.suite, &options).map_err(usage)?;
    Ok(RunConfig {
        languages: arguments.languages.clone(),
        limit: arguments.limit,
        shots: settled.shots,
        n: settled.n,
        sampling: settled.sampling,
        thinking_prefix: settled.thinking_prefix,
        seed: arguments.seed,
        concurrency: arguments.concurrency,
        scorers: arguments.scorers.options()?,
        out: PathBuf::new(),
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
pub(super) fn classify(error: EvalError) -> anyhow::Error {
    match error {
        EvalError::InvalidSetting { .. }
        | EvalError::LanguageMissing { .. }
        | EvalError::TooFewExamples { .. }
        | EvalError::DifferentRun { .. }
        | EvalError::DifferentSuites { .. }
        | EvalError::OutExists { .. } => Failure::usage(error).into(),
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
    spent(out)?;
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{}", eval::table(&report.results))?;
    Ok(())
}

/// Say what a run took, if that is known.
pub(super) fn spent(directory: &Path) -> anyhow::Result<()> {
    let Spent { usage, cost } = Spent::on(directory)?;
    if usage == Usage::default() {
        return Ok(());
    }
    let least = if usage.uncounted_requests > 0 { "at least " } else { "" };
    let cost = cost.map(|cost| format!(", cost {least}{cost:.4}")).unwrap_or_default();
    let uncounted = match usage.uncounted_requests {
        0 => String::new(),
        count => format!(" (the server did not count those of {count} requests)"),
    };
    let cached = match usage.cached_samples {
        0 => String::new(),
        count => format!(", {count} samples from the cache"),
    };
    eprintln!(
        "{} requests, {least}{} prompt and {} completion tokens{uncounted}{cached}{cost}",
        usage.requests, usage.prompt_tokens, usage.completion_tokens
    );
    Ok(())
}
