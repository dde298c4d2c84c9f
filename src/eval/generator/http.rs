//! Completions from any OpenAI-compatible URL.
//!
//! One streaming request asks for the missing samples, at most [`CHOICES_MAX`] of them or what the server allows; a
//! further one asks for those still missing then, be it for that limit, a server that ignores `n`, a broken stream or
//! a resumed run. The API cannot name a choice index, so each such request gets a seed of its own (derived from the
//! problem's and all samples missing): no sample is lost or doubled, but those of a resumed problem need not be the
//! ones an uninterrupted run would have drawn. In-process runs do not have this limit.

mod answer;
mod request;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use super::sse::Events;
use super::{Draw, GenerationEvent, GenerationRequest, Generator, GeneratorError, GeneratorIdentity};
use crate::eval::seed::continued_seed;
use answer::{Answer, choices_of_body};

/// Where and how to ask.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// `http://host:port`, with or without `/v1`.
    pub url: String,
    /// `None`: the server's only model.
    pub model: Option<String>,
    pub api_key: Option<String>,
    /// Attempts at one request before the run stops.
    pub attempts: u32,
    /// The first wait between attempts; it doubles, up to a minute.
    pub backoff: Duration,
    /// Longest silence of a server that is generating.
    pub read_timeout: Duration,
}

impl HttpOptions {
    /// The usual patience, and the key of `XENOGLOT_API_KEY` or `OPENAI_API_KEY`.
    pub fn new(url: &str) -> Self {
        let key = |name| std::env::var(name).ok().filter(|key: &String| !key.trim().is_empty());
        Self {
            url: url.to_owned(),
            model: None,
            api_key: key("XENOGLOT_API_KEY").or_else(|| key("OPENAI_API_KEY")),
            attempts: 6,
            backoff: Duration::from_secs(1),
            read_timeout: Duration::from_mins(10),
        }
    }
}

pub struct HttpGenerator {
    client: Client,
    base: String,
    model: String,
    options: HttpOptions,
    /// Choices asked for at once; falls when the server refuses so many.
    choices_max: AtomicUsize,
}

/// What OpenAI and this project's server allow.
const CHOICES_MAX: usize = 128;
/// A wrong URL should be said soon; patience is for servers that were there.
const CONNECT_ATTEMPTS: u32 = 2;
/// A silent host is as wrong as one that refuses; a busy server still lists its models within this.
const FIRST_CONTACT_TIMEOUT: Duration = Duration::from_secs(30);
const BACKOFF_MAX: Duration = Duration::from_mins(1);
const RETRY_AFTER_MAX: Duration = Duration::from_mins(10);

/// Why one attempt failed.
#[derive(Debug)]
enum Failure {
    /// Worth another attempt, after the wait the server asked for.
    Passing {
        message: String,
        wait: Option<Duration>,
    },
    /// This request is at fault, in the named parameter where the server says which.
    Refused {
        message: String,
        parameter: Option<String>,
    },
    Final(GeneratorError),
}

/// A request that the server took.
struct Asked {
    /// Choice i is the i-th of these.
    samples: Vec<u32>,
    seed: u64,
    response: Response,
}

impl HttpGenerator {
    /// Reach the server and learn the model's name.
    ///
    /// # Errors
    /// `Unavailable`: no answer, a wrong key, or several models and none chosen.
    pub async fn connect(options: HttpOptions) -> Result<Self, GeneratorError> {
        let unavailable = |message: String| GeneratorError::Unavailable { message };
        // An error means that a provider is installed already, which is all that is needed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(options.read_timeout)
            .build()
            .map_err(|error| {
                unavailable(format!("the HTTP client cannot be set up: {}", describe(&error)))
            })?;
        let base = request::base_url(&options.url).map_err(unavailable)?;
        let mut generator =
            Self { client, base, model: String::new(), options, choices_max: AtomicUsize::new(CHOICES_MAX) };
        generator.model = match generator.options.model.clone() {
            Some(model) => {
                generator.reach().await?;
                model
            }
            None => generator.only_model().await?,
        };
        Ok(generator)
    }

    pub fn model(&self) -> &str {
        &self.model
    }

    async fn only_model(&self) -> Result<String, GeneratorError> {
        let models: Value =
            self.patiently(CONNECT_ATTEMPTS.min(self.options.attempts), || self.models()).await?;
        let names: Vec<&str> = models["data"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|model| model["id"].as_str())
            .collect();
        match names.as_slice() {
            [only] => Ok((*only).to_owned()),
            [] => Err(GeneratorError::Unavailable { message: format!("{} serves no model", self.base) }),
            many => Err(GeneratorError::Unavailable {
                message: format!("{} serves several models, name one of: {}", self.base, many.join(", ")),
            }),
        }
    }

    /// Whether anybody is there; what is answered does not matter, since not every server lists its models.
    async fn reach(&self) -> Result<(), GeneratorError> {
        self.patiently(CONNECT_ATTEMPTS.min(self.options.attempts), || async {
            match self.models_request().send().await {
                Err(error) if error.is_connect() => Err(self.broken(&error)),
                _ => Ok(()),
            }
        })
        .await
    }

    fn models_request(&self) -> reqwest::RequestBuilder {
        self.client.get(format!("{}/models", self.base)).timeout(FIRST_CONTACT_TIMEOUT)
    }

    async fn models(&self) -> Result<Value, Failure> {
        let response = self.send(self.models_request()).await?;
        response.json().await.map_err(|error| self.broken(&error))
    }

    /// Try until it works, cannot work, or has been tried often enough.
    async fn patiently<T, F>(&self, attempts: u32, attempt: impl Fn() -> F) -> Result<T, GeneratorError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut backoff = self.options.backoff;
        for tried in 1.. {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Refused { message, .. }) => return Err(GeneratorError::Refused { message }),
                Err(Failure::Passing { message, .. }) if tried >= attempts => {
                    return Err(GeneratorError::Unavailable {
                        message: format!("{message} ({tried} attempts)"),
                    });
                }
                Err(Failure::Passing { message, wait }) => {
                    let wait = wait.unwrap_or(backoff);
                    tracing::warn!(%message, ?wait, "retrying");
                    tokio::time::sleep(wait).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
        Err(GeneratorError::Unavailable { message: "no attempts are allowed".to_owned() })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Failure> {
        let request = match &self.options.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.status_failure(response).await) }
    }

    /// A connection that failed or broke off.
    fn broken(&self, error: &reqwest::Error) -> Failure {
        Failure::Passing {
            message: format!("{} cannot be reached: {}", self.base, describe(error)),
            wait: None,
        }
    }

    async fn status_failure(&self, response: Response) -> Failure {
        let status = response.status();
        let wait = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok())
            .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
            .map(|seconds| Duration::from_secs_f64(seconds.min(RETRY_AFTER_MAX.as_secs_f64())));
        let body = response.text().await.unwrap_or_default();
        let (said, parameter) = request::error_of(&body);
        let message = format!("{} answered {status}: {said}", self.base);
        if status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::REQUEST_TIMEOUT
            || status.is_server_error()
        {
            return Failure::Passing { message, wait };
        }
        // The prompt's fault, or the whole set-up's.
        match status {
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Failure::Refused { message, parameter }
            }
            _ => Failure::Final(GeneratorError::Unavailable { message }),
        }
    }

    /// Ask for the first of `missing`, for half as many whenever the server finds `n` too large.
    async fn ask(&self, request: &GenerationRequest, missing: &[u32]) -> Result<Asked, Failure> {
        let seed = continued_seed(request.seed, request.n, missing);
        let url = format!("{}/chat/completions", self.base);
        loop {
            let count = missing.len().min(self.choices_max.load(Ordering::Relaxed));
            let body = request::body(&self.model, request, count, seed);
            match self.send(self.client.post(&url).json(&body)).await {
                Ok(response) => return Ok(Asked { samples: missing[..count].to_vec(), seed, response }),
                Err(Failure::Refused { parameter, .. }) if parameter.as_deref() == Some("n") && count > 1 => {
                    self.choices_max.fetch_min(count / 2, Ordering::Relaxed);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// One request for samples that are missing; those finished are reported and removed from `missing` even if it breaks off.
    async fn attempt(
        &self,
        request: &GenerationRequest,
        missing: &std::sync::Mutex<Vec<u32>>,
        events: &(dyn Fn(GenerationEvent) + Send + Sync),
    ) -> Result<(), Failure> {
        let wanted = lock(missing).clone();
        let Asked { samples, seed, response } = self.ask(request, &wanted).await?;
        let report = |choice: usize, completion| {
            let Some(sample) = samples.get(choice).copied() else { return };
            let mut missing = lock(missing);
            if let Some(at) = missing.iter().position(|known| *known == sample) {
                missing.remove(at);
                let draw = Draw { seed, choice: choice as u32 };
                events(GenerationEvent::Finished { sample, draw, completion });
            }
        };
        if !request::is_stream(&response) {
            let body: Value = response.json().await.map_err(|error| self.broken(&error))?;
            for (choice, completion) in choices_of_body(&body) {
                events(GenerationEvent::Tokens(completion.tokens.unwrap_or_default()));
                report(choice, completion);
            }
            return Ok(());
        }
        let mut answer = Answer::new(samples.len());
        let mut lines = Events::default();
        let mut bytes = response.bytes_stream();
        let broke_off = |message| Failure::Passing { message, wait: None };
        while let Some(piece) = bytes.next().await {
            let piece = piece.map_err(|error| self.broken(&error))?;
            for payload in lines.push(&piece).map_err(broke_off)? {
                events(GenerationEvent::Tokens(answer.take(&payload).map_err(broke_off)?));
                // At once: the next payload may be an error, and what is finished must not be lost to it.
                for (choice, completion) in answer.finished() {
                    report(choice, completion);
                }
            }
        }
        Ok(())
    }

    async fn generate_samples(
        &self,
        request: &GenerationRequest,
        events: &(dyn Fn(GenerationEvent) + Send + Sync),
    ) -> Result<(), GeneratorError> {
        let missing = std::sync::Mutex::new(request.samples.clone());
        loop {
            let before = lock(&missing).len();
            if before == 0 {
                return Ok(());
            }
            self.patiently(self.options.attempts, || self.attempt(request, &missing, events)).await?;
            if lock(&missing).len() == before {
                let message = format!("{} answered without a finished choice", self.base);
                return Err(GeneratorError::Unavailable { message });
            }
        }
    }
}

impl Generator for HttpGenerator {
    fn identity(&self) -> GeneratorIdentity {
        GeneratorIdentity {
            kind: "http".to_owned(),
            model: self.model.clone(),
            endpoint: Some(self.base.clone()),
            dtype: None,
            template_sha256: None,
        }
    }

    fn generate<'a>(
        &'a self,
        request: &'a GenerationRequest,
        events: &'a (dyn Fn(GenerationEvent) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), GeneratorError>> {
        self.generate_samples(request, events).boxed()
    }
}

/// The lock is only held for list operations, so a poisoned one still guards a whole list.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// reqwest says "error sending request"; the reason stands further down the chain.
fn describe(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(next) = source.source() {
        source = next;
    }
    source.to_string()
}
