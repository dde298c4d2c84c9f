//! What a run is made of, before anything is generated: its items in order, and what is written down of it.
//!
//! The same configuration gives the same plan in any process, so that several workers can share a run: an item is
//! known by its position.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::language::Language;

use super::error::EvalError;
use super::generator::{GenerationRequest, GeneratorIdentity, Message, Sampling, TRACE_OPEN, request_id};
use super::item::Lacking;
use super::record::{FORMAT, RunFile, SampleRecord, SuiteReference};
use super::scoring::{Place, ScorerOptions, Scoring};
use super::seed::problem_seed;
use super::suite::{LanguageProblems, Problem, Suite, Task};

/// What to run.
#[derive(Debug, Clone)]
pub struct RunConfig {
    pub suite: Suite,
    /// `None`: all of the suite's.
    pub languages: Option<Vec<Language>>,
    /// The first so many problems of each language.
    pub limit: Option<usize>,
    /// Worked examples shown before each problem, the first so many of those that are for it.
    pub shots: usize,
    /// Samples a problem.
    pub n: u32,
    pub sampling: Sampling,
    /// Whether traces begin with the prompts' thinking prefix.
    pub thinking_prefix: bool,
    pub seed: u64,
    /// Problems in flight at once.
    pub concurrency: usize,
    /// The run's directory, if it lives in one; one that holds the same run is resumed.
    pub out: PathBuf,
    pub scorers: ScorerOptions,
}

pub const SAMPLES_PER_PROBLEM_MAX: u32 = 10_000;

/// A configuration that was checked, with its items.
pub struct RunPlan {
    pub config: RunConfig,
    /// In the order of reports.
    pub languages: Vec<Language>,
    pub(super) scoring: Arc<Scoring>,
    items: Vec<Item>,
}

/// One problem in one language.
struct Item {
    /// Index among the suite's languages.
    language: usize,
    /// Index among the language's problems.
    problem: usize,
    seed: u64,
}

impl RunConfig {
    /// Whether any run can work with this, before a model is loaded for it; `out` plays no part.
    ///
    /// # Errors
    /// `InvalidSetting`, `LanguageMissing` or `TooFewExamples`.
    pub fn validate(&self) -> Result<(), EvalError> {
        self.check_settings()?;
        self.choose()?;
        Scoring::open(&self.suite, &self.scorers).map(drop)
    }

    fn check_settings(&self) -> Result<(), EvalError> {
        let invalid =
            |field, message: &str| Err(EvalError::InvalidSetting { field, message: message.to_owned() });
        if self.n == 0 || self.n > SAMPLES_PER_PROBLEM_MAX {
            return invalid("n", &format!("must be between 1 and {SAMPLES_PER_PROBLEM_MAX}"));
        }
        if self.n > 1 && self.suite.task == Task::Loglikelihood {
            return invalid("n", "must be 1 where choices are scored: every sample would be the same");
        }
        if self.limit == Some(0) {
            return invalid("limit", "must be at least 1");
        }
        if self.sampling.max_tokens == 0 {
            return invalid("sampling.max_tokens", "must be at least 1");
        }
        let sampling = &self.sampling;
        if !(sampling.temperature >= 0.0 && sampling.temperature.is_finite()) {
            return invalid("sampling.temperature", "must be 0 or more");
        }
        if !(sampling.top_p > 0.0 && sampling.top_p <= 1.0) {
            return invalid("sampling.top_p", "must be above 0 and at most 1");
        }
        if !(0.0..=1.0).contains(&sampling.min_p) {
            return invalid("sampling.min_p", "must be between 0 and 1");
        }
        if self.languages.as_ref().is_some_and(Vec::is_empty) {
            return invalid("languages", "must name at least one");
        }
        Ok(())
    }

    /// Which of the suite's languages to run, each with what the run needs of it.
    fn choose(&self) -> Result<Vec<usize>, EvalError> {
        let suite = &self.suite;
        let mut chosen = Vec::new();
        match &self.languages {
            None => chosen.extend(0..suite.languages.len()),
            Some(languages) => {
                for language in languages {
                    let found = suite.languages.iter().position(|entry| entry.language == *language);
                    let found = found.ok_or_else(|| missing(suite, *language))?;
                    // Naming a language twice asks for nothing more.
                    if !chosen.contains(&found) {
                        chosen.push(found);
                    }
                }
            }
        }
        let entries = || chosen.iter().map(|at| &suite.languages[*at]);
        if self.thinking_prefix {
            self.check_prefixes(entries())?;
        }
        // Of the problem that has the fewest.
        let available = |entry: &LanguageProblems| {
            let asked = entry.problems.iter().take(self.limit.unwrap_or(usize::MAX));
            asked.map(|problem| entry.examples_for(problem).count()).min().unwrap_or_default()
        };
        let too_few = entries()
            .filter(|_| self.shots > 0)
            .map(|entry| (entry.language, available(entry)))
            .find(|(_, available)| *available < self.shots);
        match too_few {
            None => Ok(chosen),
            Some((language, available)) => Err(EvalError::TooFewExamples {
                suite: suite.name.clone(),
                language,
                available,
                asked: self.shots,
            }),
        }
    }
}

impl RunConfig {
    fn check_prefixes<'a>(
        &self,
        mut entries: impl Iterator<Item = &'a LanguageProblems>,
    ) -> Result<(), EvalError> {
        let invalid = |message: String| Err(EvalError::InvalidSetting { field: "thinking_prefix", message });
        if self.suite.task == Task::Loglikelihood {
            return invalid("has no meaning where choices are scored and nothing is generated".to_owned());
        }
        match entries.find(|entry| entry.prompt.thinking_prefix.is_none()) {
            None => Ok(()),
            Some(entry) => invalid(format!(
                "the prompts have none for {}: use a set that has, such as budget-alignment, or leave it off",
                entry.language
            )),
        }
    }
}

fn missing(suite: &Suite, language: Language) -> EvalError {
    let available: Vec<&str> = suite.offered.iter().map(|known| known.code()).collect();
    EvalError::LanguageMissing { suite: suite.name.clone(), language, available: available.join(", ") }
}

impl RunPlan {
    /// # Errors
    /// `InvalidSetting`, `LanguageMissing` or `TooFewExamples`.
    pub fn new(config: RunConfig) -> Result<Self, EvalError> {
        config.check_settings()?;
        let chosen = config.choose()?;
        Ok(Self {
            languages: chosen.iter().map(|at| config.suite.languages[*at].language).collect(),
            scoring: Arc::new(Scoring::open(&config.suite, &config.scorers)?),
            items: items(&chosen, &config),
            config,
        })
    }

    /// Ask whoever judges answers, before any is generated.
    ///
    /// # Errors
    /// What a scorer lacks: a judge that does not answer, a sandbox that does not hold.
    pub async fn reach(&self) -> Result<(), EvalError> {
        let scoring = self.scoring.clone();
        let reached = tokio::task::spawn_blocking(move || scoring.reach());
        reached.await.map_err(|error| EvalError::Scoring { message: error.to_string() })?
    }

    /// Items, each a problem in a language with n samples.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Samples of the whole run.
    pub fn samples(&self) -> usize {
        self.items.len() * self.config.n as usize
    }

    /// The item at a position: its language, and its problem's id. `None` beyond the last.
    pub fn item(&self, position: usize) -> Option<(Language, &str)> {
        let item = self.items.get(position)?;
        let (entry, problem) = self.parts(item);
        Some((entry.language, &problem.id))
    }

    /// Positions by what names an item in a record.
    pub(super) fn positions(&self) -> HashMap<(Language, &str), usize> {
        let positions = (0..self.items.len()).filter_map(|at| Some((self.item(at)?, at)));
        positions.collect()
    }

    /// What is written down of the run when it begins.
    pub fn record(&self, generator: GeneratorIdentity) -> RunFile {
        let RunConfig { suite, limit, shots, n, sampling, thinking_prefix, seed, .. } = &self.config;
        RunFile {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: crate::COMMIT.map(str::to_owned),
            suite: SuiteReference::from(suite),
            generator,
            languages: self.languages.clone(),
            limit: *limit,
            shots: *shots,
            n: *n,
            seed: *seed,
            sampling: sampling.clone(),
            thinking_prefix: *thinking_prefix,
            scorer: self.scoring.profile(),
            started: now(),
            finished: None,
            complete: false,
            results: None,
        }
    }

    /// The messages that put an item to the model.
    pub fn messages(&self, position: usize) -> Vec<Message> {
        let Some(item) = self.items.get(position) else { return Vec::new() };
        let (entry, problem) = self.parts(item);
        let prompt = &entry.prompt;
        let message = |role: &str, content: String| Message { role: role.to_owned(), content };
        let system = prompt.system.iter().map(|text| message("system", text.clone()));
        let examples = entry.examples_for(problem).take(self.config.shots).flat_map(|example| {
            let question = message("user", prompt.user_text_with(&example.problem, &example.choices));
            [question, message("assistant", example.solution.clone())]
        });
        let user = message("user", prompt.of_problem(problem));
        system.chain(examples).chain([user]).collect()
    }

    /// All that is sent for an item: the messages, and the beginning of the model's turn where the run has one.
    pub fn asked(&self, position: usize) -> Vec<Message> {
        let mut messages = self.messages(position);
        if let Some(content) = self.items.get(position).and_then(|item| self.opening(self.parts(item).0)) {
            messages.push(Message { role: "assistant".to_owned(), content });
        }
        messages
    }

    /// What the model's turn begins with, where the run asks for it.
    fn opening(&self, entry: &LanguageProblems) -> Option<String> {
        let prefix = entry.prompt.thinking_prefix.as_ref().filter(|_| self.config.thinking_prefix)?;
        Some(format!("{TRACE_OPEN}\n{prefix}"))
    }

    pub(super) fn request(&self, position: usize, lacking: &Lacking) -> GenerationRequest {
        let item = &self.items[position];
        let (entry, problem) = self.parts(item);
        GenerationRequest {
            id: request_id(&problem.id, entry.language),
            messages: self.messages(position),
            language: Some(entry.language),
            opening: self.opening(entry),
            n: self.config.n,
            samples: lacking.samples.clone(),
            kept: lacking.kept.clone(),
            seed: item.seed,
            sampling: self.config.sampling.clone(),
        }
    }

    /// The records of samples that the model refused for good.
    pub fn refused(&self, position: usize, missing: &[u32], message: &str) -> Vec<SampleRecord> {
        let Some(item) = self.items.get(position) else { return Vec::new() };
        let (entry, problem) = self.parts(item);
        let record = |sample: &u32| {
            let (language, seed) = (entry.language, item.seed);
            Scoring::refused(Place { problem, language, sample: *sample, seed, choice: None }, message)
        };
        missing.iter().map(record).collect()
    }

    pub(super) fn problem(&self, position: usize) -> (&Problem, Language) {
        let (entry, problem) = self.parts(&self.items[position]);
        (problem, entry.language)
    }

    fn parts(&self, item: &Item) -> (&LanguageProblems, &Problem) {
        let entry = &self.config.suite.languages[item.language];
        (entry, &entry.problems[item.problem])
    }
}

/// Language by language within each problem, so that a run cut short has seen all languages.
fn items(chosen: &[usize], config: &RunConfig) -> Vec<Item> {
    let entries = || chosen.iter().map(|at| (*at, &config.suite.languages[*at]));
    let longest = entries().map(|(_, entry)| entry.problems.len()).max().unwrap_or_default();
    let mut items = Vec::new();
    for problem in 0..longest.min(config.limit.unwrap_or(usize::MAX)) {
        for (language, entry) in entries() {
            let Some(found) = entry.problems.get(problem) else { continue };
            let seed = problem_seed(config.seed, &found.id, entry.language);
            items.push(Item { language, problem, seed });
        }
    }
    items
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
