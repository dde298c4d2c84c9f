//! The run itself: what is missing, generated, scored, written, until nothing is missing.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use tokio::sync::{mpsc, watch};

use crate::language::Language;

use super::directory::RunDirectory;
use super::error::EvalError;
use super::generator::{
    Completion, Draw, GenerationEvent, GenerationRequest, Generator, GeneratorError, Message, Sampling,
};
use super::progress::{Plan, Progress};
use super::record::{FORMAT, RunFile, SampleRecord, SuiteReference};
use super::report::{Results, Scored};
use super::scoring::{Place, Scoring, check_task};
use super::seed::problem_seed;
use super::suite::{LanguageProblems, Problem, Suite};

/// What to run.
#[derive(Debug, Clone)]
pub struct RunConfig {
    pub suite: Suite,
    /// `None`: all of the suite's.
    pub languages: Option<Vec<Language>>,
    /// The first so many problems of each language.
    pub limit: Option<usize>,
    /// Worked examples shown before each problem, the first so many of its language.
    pub shots: usize,
    /// Samples a problem.
    pub n: u32,
    pub sampling: Sampling,
    pub seed: u64,
    /// Problems in flight at once.
    pub concurrency: usize,
    /// The run's directory; one that holds the same run is resumed.
    pub out: PathBuf,
}

impl RunConfig {
    /// Whether any run can work with this, before a model is loaded for it; `out` plays no part.
    ///
    /// # Errors
    /// `InvalidSetting`, `LanguageMissing` or `TooFewExamples`.
    pub fn validate(&self) -> Result<(), EvalError> {
        check_settings(self)?;
        check_task(self.suite.task)?;
        choose(self).map(drop)
    }
}

/// A finished run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunReport {
    pub run: RunFile,
    pub results: Results,
    /// Samples found finished when the run was opened.
    pub resumed: usize,
}

pub const SAMPLES_PER_PROBLEM_MAX: u32 = 10_000;

/// Run, or go on with, an evaluation. Setting `stop` to true ends it cleanly with `Interrupted`.
///
/// # Errors
/// See [`EvalError`]; whatever was finished before stays in the directory.
pub async fn run(
    config: RunConfig,
    generator: &dyn Generator,
    progress: &dyn Progress,
    stop: watch::Receiver<bool>,
) -> Result<RunReport, EvalError> {
    config.validate()?;
    let chosen = choose(&config)?;
    let scoring = Arc::new(Scoring::new(&config.suite));
    let mut file = run_file(&config, &chosen, generator, &scoring);
    let mut directory = RunDirectory::open(&config.out, &mut file)?;
    let mut items = items(&chosen, &config);
    let mut scored = Vec::new();
    recover(&mut directory, &mut items, &mut scored)?;
    let resumed = scored.len();
    let total = items.len() * config.n as usize;
    if file.complete && resumed < total {
        // Samples of a finished run were taken away: what it said of them all does not hold.
        (file.finished, file.complete, file.results) = (None, false, None);
        directory.write_run(&file)?;
    }
    progress.planned(Plan { total, done: resumed });
    let refusals_max = (REFUSALS_MAX + chosen.len()).saturating_add(config.concurrency);
    let mut run = Run { directory, scoring, progress, scored, total, refusals: Vec::new(), refusals_max };
    run.generate(&items, &config, generator, stop).await?;
    let results = Results::new(&run.scored, &file.languages, config.n, config.seed);
    file.finished = file.finished.or(Some(now()));
    file.complete = true;
    file.results = Some(results.clone());
    run.directory.write_run(&file)?;
    Ok(RunReport { run: file, results, resumed })
}

/// One problem in one language, with the samples it still lacks.
struct Item<'a> {
    prompt: &'a LanguageProblems,
    problem: &'a Problem,
    seed: u64,
    missing: Vec<u32>,
}

fn check_settings(config: &RunConfig) -> Result<(), EvalError> {
    let invalid = |field, message: &str| EvalError::InvalidSetting { field, message: message.to_owned() };
    if config.n == 0 || config.n > SAMPLES_PER_PROBLEM_MAX {
        return Err(invalid("n", &format!("must be between 1 and {SAMPLES_PER_PROBLEM_MAX}")));
    }
    if config.limit == Some(0) {
        return Err(invalid("limit", "must be at least 1"));
    }
    if config.sampling.max_tokens == 0 {
        return Err(invalid("sampling.max_tokens", "must be at least 1"));
    }
    let sampling = &config.sampling;
    if !(sampling.temperature >= 0.0 && sampling.temperature.is_finite()) {
        return Err(invalid("sampling.temperature", "must be 0 or more"));
    }
    if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
        return Err(invalid("sampling.top_p", "must be above 0 and at most 1"));
    }
    if !(0.0..=1.0).contains(&sampling.min_p) {
        return Err(invalid("sampling.min_p", "must be between 0 and 1"));
    }
    if config.languages.as_ref().is_some_and(Vec::is_empty) {
        return Err(invalid("languages", "must name at least one"));
    }
    Ok(())
}

/// The languages to run, each with what the run needs of it.
fn choose(config: &RunConfig) -> Result<Vec<&LanguageProblems>, EvalError> {
    let suite = &config.suite;
    let mut chosen: Vec<&LanguageProblems> = Vec::new();
    match &config.languages {
        None => chosen.extend(&suite.languages),
        Some(languages) => {
            for language in languages {
                let found = suite.language(*language).ok_or_else(|| missing(suite, *language))?;
                // Naming a language twice asks for nothing more.
                if !chosen.iter().any(|known| known.language == *language) {
                    chosen.push(found);
                }
            }
        }
    }
    match chosen.iter().find(|entry| entry.examples.len() < config.shots) {
        None => Ok(chosen),
        Some(entry) => Err(EvalError::TooFewExamples {
            suite: suite.name.clone(),
            language: entry.language,
            available: entry.examples.len(),
            asked: config.shots,
        }),
    }
}

fn missing(suite: &Suite, language: Language) -> EvalError {
    let available: Vec<&str> = suite.offered.iter().map(|known| known.code()).collect();
    EvalError::LanguageMissing { suite: suite.name.clone(), language, available: available.join(", ") }
}

fn run_file(
    config: &RunConfig,
    chosen: &[&LanguageProblems],
    generator: &dyn Generator,
    scoring: &Scoring,
) -> RunFile {
    let suite = &config.suite;
    RunFile {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        suite: SuiteReference::from(suite),
        generator: generator.identity(),
        languages: chosen.iter().map(|entry| entry.language).collect(),
        limit: config.limit,
        shots: config.shots,
        n: config.n,
        seed: config.seed,
        sampling: config.sampling.clone(),
        scorer: scoring.profile(),
        started: now(),
        finished: None,
        complete: false,
        results: None,
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Language by language within each problem, so that a run cut short has seen all languages.
fn items<'a>(chosen: &[&'a LanguageProblems], config: &RunConfig) -> Vec<Item<'a>> {
    let limit = config.limit.unwrap_or(usize::MAX);
    let longest = chosen.iter().map(|entry| entry.problems.len()).max().unwrap_or_default();
    let mut items = Vec::new();
    for index in 0..longest.min(limit) {
        for prompt in chosen {
            let Some(problem) = prompt.problems.get(index) else { continue };
            let seed = problem_seed(config.seed, &problem.id, prompt.language);
            items.push(Item { prompt, problem, seed, missing: (0..config.n).collect() });
        }
    }
    items
}

/// Take finished samples off what is missing.
fn recover(
    directory: &mut RunDirectory,
    items: &mut [Item<'_>],
    scored: &mut Vec<Scored>,
) -> Result<(), EvalError> {
    let keys = items.iter().enumerate();
    let index: HashMap<(Language, String), usize> =
        keys.map(|(at, item)| ((item.prompt.language, item.problem.id.clone()), at)).collect();
    directory.recover(|record| {
        if let Some(at) = index.get(&(record.language, record.problem.clone())) {
            items[*at].missing.retain(|sample| *sample != record.sample);
            scored.push(Scored::from(&record));
        }
    })
}

/// A run in progress.
struct Run<'a> {
    directory: RunDirectory,
    scoring: Arc<Scoring>,
    progress: &'a dyn Progress,
    scored: Vec<Scored>,
    total: usize,
    /// Items refused of which no later one succeeded: either these prompts are at fault or the whole set-up is, and
    /// nothing is written before it is known which.
    refusals: Vec<(usize, String)>,
    refusals_max: usize,
}

/// Refusals without a success after which the set-up is taken to be at fault, on top of those that one long problem
/// brings in all its languages and that come while the requests of other slots are still being served.
const REFUSALS_MAX: usize = 10;

impl Run<'_> {
    async fn generate(
        &mut self,
        items: &[Item<'_>],
        config: &RunConfig,
        generator: &dyn Generator,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), EvalError> {
        let (sender, mut events) = mpsc::unbounded_channel::<(usize, GenerationEvent)>();
        let pending = items.iter().enumerate().filter(|(_, item)| !item.missing.is_empty());
        let requests = pending.map(|(index, item)| {
            let sender = sender.clone();
            async move {
                let request = request(item, config);
                // The receiver lives as long as this loop; a closed channel means that nobody wants the event.
                let report = move |event| drop(sender.send((index, event)));
                (index, generator.generate(&request, &report).await)
            }
        });
        let mut running = futures::stream::iter(requests).buffer_unordered(config.concurrency.max(1));
        let mut left: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return Err(self.interrupted()),
                Some((index, event)) = events.recv() => self.take(&items[index], index, event, &mut left).await?,
                done = running.next() => {
                    // Events of a request precede its end.
                    while let Ok((index, event)) = events.try_recv() {
                        self.take(&items[index], index, event, &mut left).await?;
                    }
                    match done {
                        None => break,
                        Some((index, outcome)) => self.close(items, index, outcome, &left)?,
                    }
                }
            }
        }
        if self.scored.is_empty() && !self.refusals.is_empty() {
            return Err(self.refused());
        }
        self.write_refusals(items, items.len(), &left)
    }

    /// `left` holds, for each item that reported, the samples it reported.
    async fn take(
        &mut self,
        item: &Item<'_>,
        index: usize,
        event: GenerationEvent,
        left: &mut BTreeMap<usize, Vec<u32>>,
    ) -> Result<(), EvalError> {
        match event {
            GenerationEvent::Tokens(count) => {
                self.progress.tokens(count);
                Ok(())
            }
            GenerationEvent::Finished { sample, draw, completion } => {
                let reported = left.entry(index).or_default();
                // A generator that reports a sample twice, or one that nobody asked for, must not spoil the file.
                if reported.contains(&sample) || !item.missing.contains(&sample) {
                    return Ok(());
                }
                reported.push(sample);
                let record = self.score(item, sample, draw, completion).await?;
                self.keep(&record)
            }
        }
    }

    async fn score(
        &self,
        item: &Item<'_>,
        sample: u32,
        draw: Draw,
        completion: Completion,
    ) -> Result<SampleRecord, EvalError> {
        let scoring = self.scoring.clone();
        let (problem, language) = (item.problem.clone(), item.prompt.language);
        // Language models load on first use and long traces take milliseconds: not on the async threads.
        let scored = tokio::task::spawn_blocking(move || {
            let place =
                Place { problem: &problem, language, sample, seed: draw.seed, choice: Some(draw.choice) };
            scoring.record(place, completion)
        });
        scored.await.map_err(|error| EvalError::Scoring { message: error.to_string() })
    }

    fn keep(&mut self, record: &SampleRecord) -> Result<(), EvalError> {
        self.directory.append(record)?;
        self.scored.push(Scored::from(record));
        self.progress.sample(record);
        Ok(())
    }

    fn close(
        &mut self,
        items: &[Item<'_>],
        index: usize,
        outcome: Result<(), GeneratorError>,
        reported: &BTreeMap<usize, Vec<u32>>,
    ) -> Result<(), EvalError> {
        match outcome {
            Ok(()) => {
                let count = reported.get(&index).map_or(0, Vec::len);
                if count < items[index].missing.len() {
                    let (asked, id) = (items[index].missing.len(), &items[index].problem.id);
                    return Err(
                        self.stopped_by(format!("{id}: {count} completions came of {asked} asked for"))
                    );
                }
            }
            Err(GeneratorError::Unavailable { message }) => return Err(self.stopped_by(message)),
            Err(GeneratorError::Refused { message }) => {
                self.refusals.push((index, message));
                let set_up_is_at_fault = self.refusals.len() >= self.refusals_max;
                return if set_up_is_at_fault { Err(self.refused()) } else { Ok(()) };
            }
        }
        // Requests start in order: the set-up was well after those before this one were refused.
        self.write_refusals(items, index, reported)
    }

    /// Write the refusals of the items before this one.
    fn write_refusals(
        &mut self,
        items: &[Item<'_>],
        before: usize,
        reported: &BTreeMap<usize, Vec<u32>>,
    ) -> Result<(), EvalError> {
        let (final_ones, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.refusals).into_iter().partition(|(index, _)| *index < before);
        self.refusals = open;
        for (index, message) in final_ones {
            let item = &items[index];
            let done = reported.get(&index).map_or(&[][..], Vec::as_slice);
            for sample in item.missing.iter().copied().filter(|sample| !done.contains(sample)) {
                let (problem, language) = (item.problem, item.prompt.language);
                let place = Place { problem, language, sample, seed: item.seed, choice: None };
                self.keep(&Scoring::refused(place, &message))?;
            }
        }
        Ok(())
    }

    fn refused(&self) -> EvalError {
        let message = self.refusals.first().map(|(_, message)| message.clone()).unwrap_or_default();
        EvalError::Refused { count: self.refusals.len(), message, done: self.scored.len(), total: self.total }
    }

    fn stopped_by(&self, message: String) -> EvalError {
        EvalError::Generator { message, done: self.scored.len(), total: self.total }
    }

    fn interrupted(&self) -> EvalError {
        let directory = self.directory.path().to_owned();
        EvalError::Interrupted { directory, done: self.scored.len(), total: self.total }
    }
}

fn request(item: &Item<'_>, config: &RunConfig) -> GenerationRequest {
    let prompt = &item.prompt.prompt;
    let message = |role: &str, content: String| Message { role: role.to_owned(), content };
    let system = prompt.system.iter().map(|text| message("system", text.clone()));
    let examples = item.prompt.examples.iter().take(config.shots).flat_map(|example| {
        let question = message("user", prompt.user_text_with(&example.problem, &example.choices));
        [question, message("assistant", example.solution.clone())]
    });
    let user = message("user", prompt.of_problem(item.problem));
    GenerationRequest {
        id: format!("{}-{}", item.problem.id, item.prompt.language),
        messages: system.chain(examples).chain([user]).collect(),
        n: config.n,
        samples: item.missing.clone(),
        seed: item.seed,
        sampling: config.sampling.clone(),
    }
}

/// Resolves when the caller asks to stop; never, if it can no longer ask.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
