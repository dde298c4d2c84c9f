//! Evaluation end to end: suites, runs that are killed and resumed, the HTTP and the in-process generator, and the
//! documentation of what is written.

mod cache;
#[cfg(target_os = "linux")]
mod code;
mod commands;
mod compare;
mod examples;
mod export;
mod formats;
mod http;
mod local;
mod runs;
#[cfg(target_os = "linux")]
mod sandbox;
mod scorers;
mod shown;
mod suite_data;
mod suites;

use std::path::Path;
use std::sync::Mutex;

use futures::FutureExt;
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use xenoglot::eval::{
    Completion, Continuation, ContinuationRequest, ContinuationScorer, Draw, EvalError, Finish,
    GenerationEvent, GenerationRequest, Generator, GeneratorError, GeneratorIdentity, Message, Progress,
    RunConfig, RunReport, SampleRecord, Sampling, ScorerOptions, Suite, run,
};

/// Write a suite of three problems in German and English.
pub fn write_suite(folder: &Path) {
    let english = concat!(
        "{\"id\": \"p1\", \"problem\": \"What is 40 + 2?\", \"answer\": \"42\"}\n",
        "{\"id\": \"p2\", \"problem\": \"What is 1,000 + 234?\", \"answer\": \"1234\"}\n",
        "{\"id\": \"p3\", \"problem\": \"What is 1 / 2?\", \"answer\": \"1/2\"}\n",
    );
    let german = english.replace("What is", "Was ist");
    std::fs::write(folder.join("en.jsonl"), english).unwrap();
    std::fs::write(folder.join("de.jsonl"), &german).unwrap();
    std::fs::write(folder.join("suite.toml"), manifest(english, &german)).unwrap();
}

pub fn sha256(text: &str) -> String {
    format!("{:x}", Sha256::digest(text.as_bytes()))
}

pub fn manifest(english: &str, german: &str) -> String {
    format!(
        r#"name = "small"
version = "1"
description = "three sums"
licence = "Apache-2.0"
revision = "1"
languages = ["en", "de"]
task = "math"
file = "{{language}}.jsonl"
[sha256]
"en.jsonl" = "{}"
"de.jsonl" = "{}"
[prompts.en]
system = "Think in English."
user = "{{problem}} Put the answer in \\boxed{{}}."
[prompts.de]
user = "{{problem}} Schreibe die Antwort in \\boxed{{}}."
"#,
        sha256(english),
        sha256(german)
    )
}

pub fn config(folder: &Path, n: u32) -> RunConfig {
    let suite = folder.join("suite");
    if !suite.exists() {
        std::fs::create_dir_all(&suite).unwrap();
        write_suite(&suite);
    }
    RunConfig {
        suite: Suite::open(suite.to_str().unwrap()).unwrap(),
        languages: None,
        limit: None,
        shots: 0,
        n,
        sampling: Sampling::default(),
        thinking_prefix: false,
        seed: 7,
        concurrency: 2,
        out: folder.join("run"),
        scorers: ScorerOptions::default(),
    }
}

/// Says what its seed and sample decide, and keeps note of what it was asked.
#[derive(Default)]
pub struct Scripted {
    pub asked: Mutex<Vec<(String, Vec<u32>)>>,
    /// The samples, with their seeds, that each request was told to be there.
    pub kept: Mutex<Vec<Vec<(u32, u64)>>>,
    pub prompts: Mutex<Vec<(String, Vec<Message>)>>,
    /// What each request's turn was to begin with.
    pub openings: Mutex<Vec<Option<String>>>,
    /// Ids whose request is refused.
    pub refuse: Vec<String>,
    /// Whether every request is.
    pub refuse_all: bool,
    /// The id whose request finds the server gone after its first sample.
    pub gone_at: Option<&'static str>,
    /// The digest of its weights, if it knows one.
    pub weights: Option<&'static str>,
}

pub fn scripted_text(request: &GenerationRequest, sample: u32) -> (String, Finish) {
    let own = if request.id.ends_with("de") {
        "Wir rechnen die Aufgabe jetzt Schritt für Schritt aus."
    } else {
        "We work the problem out step by step now."
    };
    let draw = (request.seed >> 7).wrapping_add(u64::from(sample) * 2_654_435_761) % 5;
    match draw {
        0 => (format!("<think>{own}</think>{own} \\boxed{{42}}"), Finish::Stop),
        1 => (format!("{own} \\boxed{{1.234}}"), Finish::Stop),
        2 => (format!("{own} It is a half of the whole thing. \\boxed{{\\frac12}}"), Finish::Stop),
        3 => (format!("<think>{own}"), Finish::Length),
        _ => (own.to_owned(), Finish::Stop),
    }
}

impl Generator for Scripted {
    fn identity(&self) -> GeneratorIdentity {
        GeneratorIdentity {
            kind: "local".to_owned(),
            model: "scripted".to_owned(),
            endpoint: None,
            dtype: Some("f32".to_owned()),
            template_sha256: None,
            weights_sha256: self.weights.map(str::to_owned),
        }
    }

    fn generate<'a>(
        &'a self,
        request: &'a GenerationRequest,
        events: &'a (dyn Fn(GenerationEvent) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), GeneratorError>> {
        async move {
            self.asked.lock().unwrap().push((request.id.clone(), request.samples.clone()));
            self.kept.lock().unwrap().push(request.kept.clone());
            self.prompts.lock().unwrap().push((request.id.clone(), request.messages.clone()));
            self.openings.lock().unwrap().push(request.opening.clone());
            if self.refuse_all || self.refuse.contains(&request.id) {
                return Err(GeneratorError::Refused { message: "too long".to_owned() });
            }
            // Out of order, as real choices finish.
            for sample in request.samples.iter().rev() {
                tokio::task::yield_now().await;
                let (text, finish) = scripted_text(request, *sample);
                events(GenerationEvent::Tokens(10));
                let completion = Completion { text, finish, tokens: Some(10), thinking_tokens: Some(0) };
                let draw = Draw { seed: request.seed, choice: *sample };
                events(GenerationEvent::Finished { sample: *sample, draw, completion });
                if self.gone_at == Some(request.id.as_str()) {
                    return Err(GeneratorError::Unavailable { message: "gone".to_owned() });
                }
            }
            Ok(())
        }
        .boxed()
    }
}

/// The shorter, the likelier.
impl ContinuationScorer for Scripted {
    fn score<'a>(
        &'a self,
        request: &'a ContinuationRequest,
    ) -> BoxFuture<'a, Result<Vec<Continuation>, GeneratorError>> {
        let score = |text: &String| Continuation {
            logprob: -(text.chars().count() as f64),
            tokens: text.chars().count(),
            is_greedy: false,
        };
        futures::future::ready(Ok(request.continuations.iter().map(score).collect())).boxed()
    }
}

pub fn run_blocking(
    config: RunConfig,
    generator: &dyn Generator,
    progress: &dyn Progress,
    stop: tokio::sync::watch::Receiver<bool>,
) -> Result<RunReport, EvalError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(config, generator, progress, stop))
}

/// Samples of a finished run, in an order that does not depend on timing.
pub fn records(folder: &Path) -> Vec<SampleRecord> {
    let text = std::fs::read_to_string(folder.join("samples.jsonl")).unwrap();
    let mut records: Vec<SampleRecord> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    records.sort_by(|a, b| (&a.problem, a.language, a.sample).cmp(&(&b.problem, b.language, b.sample)));
    records
}
