//! A model as judge: any behind an OpenAI-compatible URL, asked for a verdict in a fixed form.
//!
//! Two questions (`prompts`): a grade from 1 to 10 for an answer by itself, as in MT-Bench's single-answer grading
//! (Zheng et al. 2023, arXiv 2306.05685) with one or more turns, each graded after those before it; and whether an
//! answer says the same as a reference. Our own words, not that paper's. Answers are judged alone, never beside
//! another's, so that no order of answers can favour one.
//!
//! The verdict is asked for as JSON by a schema. A server that knows no schemas is asked without, and the last JSON
//! object that it says is read. Temperature 0 and a seed, so that asking again says the same where the server keeps
//! its part. What is not a valid verdict after all attempts is none: undecided, never a guess.

mod prompts;
mod verdict;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::eval::generator::GeneratorError;
use crate::eval::generator::http::{HttpGenerator, HttpOptions};
pub use prompts::{Question, Turn};
pub use verdict::Finding;

/// Whom to ask, and how.
#[derive(Debug, Clone)]
pub struct JudgeOptions {
    pub http: HttpOptions,
    /// Named, since figures depend on it.
    pub model: String,
    pub seed: u64,
    /// Of the judge's answer, its reasoning included.
    pub max_tokens: u32,
}

impl JudgeOptions {
    /// The key of `XENOGLOT_JUDGE_API_KEY`, or else the usual one's.
    pub fn new(url: &str, model: &str) -> Self {
        let mut http = HttpOptions::new(url);
        let key = std::env::var("XENOGLOT_JUDGE_API_KEY").ok().filter(|key| !key.trim().is_empty());
        http.api_key = key.or(http.api_key);
        Self { http, model: model.to_owned(), seed: 0, max_tokens: 4096 }
    }
}

/// Asks from threads that may wait. It has a runtime of its own, so that the caller needs none.
pub struct Judge {
    options: JudgeOptions,
    client: OnceLock<HttpGenerator>,
    runtime: Option<Runtime>,
    /// The server refused a schema once.
    without_schema: AtomicBool,
}

/// What the judge said of one answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// `None`: nothing valid after all attempts.
    pub finding: Option<Finding>,
    pub format: Format,
    /// Requests it took.
    pub attempts: u32,
    /// Its reason, shortened.
    pub explanation: String,
}

/// How the verdict was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    JsonSchema,
    LastObject,
}

/// Requests for one verdict before there is none.
const ATTEMPTS_MAX: u32 = 3;

impl Judge {
    /// # Errors
    /// The operating system gives no thread.
    pub fn new(options: JudgeOptions) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (client, without_schema) = (OnceLock::new(), AtomicBool::new(false));
        Ok(Self { options, client, runtime: Some(runtime), without_schema })
    }

    pub fn model(&self) -> &str {
        &self.options.model
    }

    /// Reach the judge's server. Blocks, and must not be called from an asynchronous task.
    ///
    /// # Errors
    /// `Unavailable`: nobody answers.
    pub fn reach(&self) -> Result<(), GeneratorError> {
        self.wait(self.client()).map(drop)
    }

    /// Ask for a verdict. A judge that answers without a valid one is asked again with another seed. Blocks, and must
    /// not be called from an asynchronous task.
    ///
    /// # Errors
    /// The server is gone, or refuses the request whatever its form.
    pub fn judge(&self, question: &Question<'_>) -> Result<Judged, GeneratorError> {
        self.wait(self.verdict(question))
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("it is only taken when dropped").block_on(future)
    }

    async fn client(&self) -> Result<&HttpGenerator, GeneratorError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let http = HttpOptions { model: Some(self.options.model.clone()), ..self.options.http.clone() };
        let client = HttpGenerator::connect(http).await?;
        // Two threads that come first both connect, and one of the clients stays.
        Ok(self.client.get_or_init(|| client))
    }

    async fn verdict(&self, question: &Question<'_>) -> Result<Judged, GeneratorError> {
        let client = self.client().await?;
        let mut said = (self.format(), String::new());
        for attempt in 0..ATTEMPTS_MAX {
            let seed = self.options.seed.wrapping_add(u64::from(attempt));
            said = self.ask(client, question, seed).await?;
            if let Some((finding, reason)) = verdict::read(&said.1, question.form()) {
                let (finding, explanation) = (Some(finding), shortened(&reason));
                return Ok(Judged { finding, format: said.0, attempts: attempt + 1, explanation });
            }
        }
        let (format, explanation) = (said.0, shortened(&said.1));
        Ok(Judged { finding: None, format, attempts: ATTEMPTS_MAX, explanation })
    }

    fn format(&self) -> Format {
        if self.without_schema.load(Ordering::Relaxed) { Format::LastObject } else { Format::JsonSchema }
    }

    async fn ask(
        &self,
        client: &HttpGenerator,
        question: &Question<'_>,
        seed: u64,
    ) -> Result<(Format, String), GeneratorError> {
        let format = self.format();
        let answer = match client.ask_once(&self.body(question, seed, format)).await {
            Err(GeneratorError::Refused { .. }) if format == Format::JsonSchema => {
                // Whatever is wrong with the request otherwise, the second refusal says it.
                let answer = client.ask_once(&self.body(question, seed, Format::LastObject)).await?;
                self.without_schema.store(true, Ordering::Relaxed);
                return Ok((Format::LastObject, content(&answer)));
            }
            other => other?,
        };
        Ok((format, content(&answer)))
    }

    fn body(&self, question: &Question<'_>, seed: u64, format: Format) -> Value {
        let mut body = json!({
            "model": self.options.model,
            "messages": [
                {"role": "system", "content": prompts::SYSTEM},
                {"role": "user", "content": question.text()},
            ],
            "temperature": 0.0,
            "seed": seed,
            "max_tokens": self.options.max_tokens,
            "stream": false,
        });
        if format == Format::JsonSchema {
            body["response_format"] = question.form().response_format();
        }
        body
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // A runtime that waits for its threads must not be dropped by a task; there is nothing to wait for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What the first choice says; nothing, where there is none.
fn content(answer: &Value) -> String {
    answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
}

/// So much of an explanation stays in a record.
const EXPLANATION_CHARACTERS: usize = 500;

fn shortened(text: &str) -> String {
    text.trim().chars().take(EXPLANATION_CHARACTERS).collect()
}
