//! Completions from any OpenAI-compatible URL.
//!
//! One streaming request asks for the missing samples, at most [`CHOICES_MAX`] of them or what the server allows; a
//! further one asks for those still missing then, be it for that limit, a server that ignores `n`, a broken stream or a
//! choice that the server aborted. The API cannot name a choice index, so each further request gets a seed of its own
//! (derived from the problem's and all samples missing): no sample is lost or doubled. A request that was cut short by the
//! end of the run is asked again whole, by its seed, and only what is missing is kept: with a server whose choices follow
//! from seed and index a resumed run has the samples of an uninterrupted one.

mod answer;
mod echo;
mod patience;
mod rate;
mod request;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use super::sse::Events;
use super::{
    Completion, Draw, GenerationEvent, GenerationRequest, Generator, GeneratorError, GeneratorIdentity,
};
use crate::eval::seed::{continued_seed, cut_short};
use answer::Answer;
use patience::{Failure, Patience};
pub use rate::RateLimits;
use rate::{Admission, RateLimiter};

/// Where and how to ask.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// `http://host:port`, with or without `/v1`.
    pub url: String,
    /// `None`: the server's only model.
    pub model: Option<String>,
    pub api_key: Option<String>,
    /// Attempts at one request before the run stops; being told to wait is none.
    pub attempts: u32,
    /// The first wait between attempts; it doubles, up to a minute.
    pub backoff: Duration,
    /// Longest time that a server may answer one request with nothing but 429.
    pub busy_timeout: Duration,
    /// Longest silence of a server that is generating.
    pub read_timeout: Duration,
    /// What the provider allows.
    pub rate_limits: RateLimits,
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
            busy_timeout: Duration::from_mins(30),
            read_timeout: Duration::from_mins(10),
            rate_limits: RateLimits::default(),
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
    /// Parameters that the server does not know and that are not sent again.
    unknown: Mutex<BTreeSet<&'static str>>,
    rate: RateLimiter,
}

/// What OpenAI and this project's server allow.
const CHOICES_MAX: usize = 128;
/// A wrong URL should be said soon; patience is for servers that were there.
const CONNECT_ATTEMPTS: u32 = 2;
/// A silent host is as wrong as one that refuses; a busy server still lists its models within this.
const FIRST_CONTACT_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_AFTER_MAX: Duration = Duration::from_mins(10);
/// Characters of an answer that is none, in messages.
const BODY_SHOWN: usize = 120;

/// A request that the server took.
struct Asked<'a> {
    /// Choice i is the i-th of these.
    samples: Vec<u32>,
    seed: u64,
    response: Response,
    admission: Admission<'a>,
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
        let mut generator = Self {
            client,
            base,
            model: String::new(),
            rate: RateLimiter::new(options.rate_limits),
            options,
            choices_max: AtomicUsize::new(CHOICES_MAX),
            unknown: Mutex::default(),
        };
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
        let models: Value = self.first_contact().with(|| self.models()).await?;
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
        let attempt = || async {
            match self.models_request().send().await {
                Err(error) if error.is_connect() => Err(self.broken(&error)),
                _ => Ok(()),
            }
        };
        self.first_contact().with(attempt).await
    }

    fn patience(&self) -> Patience {
        let HttpOptions { attempts, backoff, busy_timeout, .. } = self.options;
        Patience { attempts, backoff, busy: busy_timeout }
    }

    fn first_contact(&self) -> Patience {
        let patience = self.patience();
        Patience { attempts: patience.attempts.min(CONNECT_ATTEMPTS), ..patience }
    }

    fn models_request(&self) -> reqwest::RequestBuilder {
        self.client.get(format!("{}/models", self.base)).timeout(FIRST_CONTACT_TIMEOUT)
    }

    async fn models(&self) -> Result<Value, Failure> {
        let response = self.send(self.models_request()).await?;
        self.json(response).await
    }

    /// A whole body; one that is no JSON is shown by its start, for it is somebody else's (a proxy, a login page).
    async fn json(&self, response: Response) -> Result<Value, Failure> {
        let text = response.text().await.map_err(|error| self.broken(&error))?;
        serde_json::from_str(&text).map_err(|error| {
            let start: String = text.chars().take(BODY_SHOWN).collect();
            let message = format!("{} answered what is no JSON ({error}): {start:?}", self.base);
            Failure::Passing { message, wait: None }
        })
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
        match status {
            StatusCode::TOO_MANY_REQUESTS => Failure::Busy { message, wait },
            status if status == StatusCode::REQUEST_TIMEOUT || status.is_server_error() => {
                Failure::Passing { message, wait }
            }
            // The prompt's fault, or the whole set-up's.
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Failure::Refused { message, parameter }
            }
            _ => Failure::Final(GeneratorError::Unavailable { message }),
        }
    }

    /// Ask for the first of `wanted`: for half as many whenever the server finds `n` too large, and without what is
    /// off and it does not know. `None`, if none of so many is missing.
    async fn ask(
        &self,
        request: &GenerationRequest,
        wanted: &[u32],
        missing: &[u32],
    ) -> Result<Option<Asked<'_>>, Failure> {
        let seed = continued_seed(request.seed, request.n, wanted);
        let url = format!("{}/chat/completions", self.base);
        loop {
            let count = wanted.len().min(self.choices_max.load(Ordering::Relaxed));
            let samples = &wanted[..count];
            if !samples.iter().any(|sample| missing.contains(sample)) {
                return Ok(None);
            }
            let unknown = lock(&self.unknown).clone();
            let body = request::body(&self.model, request, count, seed, &unknown);
            let admission = self.rate.admit().await;
            match self.send(self.client.post(&url).json(&body)).await {
                Ok(response) => {
                    return Ok(Some(Asked { samples: samples.to_vec(), seed, response, admission }));
                }
                Err(Failure::Refused { parameter, .. }) if parameter.as_deref() == Some("n") && count > 1 => {
                    self.choices_max.fetch_min(count / 2, Ordering::Relaxed);
                }
                Err(Failure::Refused { message, parameter }) => {
                    let sampling = &request.sampling;
                    let name = request::dispensable(sampling, &unknown, parameter.as_deref(), &message);
                    let Some(name) = name else { return Err(Failure::Refused { message, parameter }) };
                    tracing::warn!(%message, "{name} is off and is not sent any more");
                    lock(&self.unknown).insert(name);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// One request, for the samples that are missing or for those of a request that was `cut_short`; those finished are reported
    /// and removed from `missing` even if it breaks off.
    async fn attempt(
        &self,
        request: &GenerationRequest,
        cut_short: Option<&[u32]>,
        missing: &Mutex<Vec<u32>>,
        events: &(dyn Fn(GenerationEvent) + Send + Sync),
    ) -> Result<(), Failure> {
        let before = lock(missing).clone();
        let asked = self.ask(request, cut_short.unwrap_or(&before), &before).await?;
        let Some(Asked { samples, seed, response, admission }) = asked else { return Ok(()) };
        let report = |tokens, finished: Vec<(usize, Completion)>| {
            events(GenerationEvent::Tokens(tokens));
            for (choice, completion) in finished {
                let Some(sample) = samples.get(choice).copied() else { continue };
                let mut missing = lock(missing);
                if let Some(at) = missing.iter().position(|known| *known == sample) {
                    missing.remove(at);
                    let draw = Draw { seed, choice: choice as u32 };
                    let completion = Completion { text: request.opened(completion.text), ..completion };
                    events(GenerationEvent::Finished { sample, draw, completion });
                }
            }
        };
        let mut answer = Answer::new(samples.len());
        let read = self.read(response, &mut answer, &report).await;
        report(0, answer.rest());
        let usage = answer.usage();
        admission.settle(usage.prompt_tokens + usage.completion_tokens);
        events(GenerationEvent::Usage(usage));
        if samples.iter().all(|sample| !lock(missing).contains(sample)) {
            // All that was asked for is there, however the connection ended.
            return Ok(());
        }
        if cut_short.is_some() {
            // What does not come of it this time is asked for by itself.
            return Ok(());
        }
        read?;
        let passing = |message: String| Err(Failure::Passing { message, wait: None });
        match answer.broken_by() {
            Some(reason) => passing(format!("{} ended a choice with finish_reason {reason:?}", self.base)),
            // A stream may end early without an error: a proxy's limit, a worker that died.
            None if lock(missing).len() == before.len() => {
                passing(format!("{} answered without a finished choice", self.base))
            }
            None => Ok(()),
        }
    }

    /// Take all of a response in; `report` hears of tokens and finished choices as they come.
    async fn read(
        &self,
        response: Response,
        answer: &mut Answer,
        report: &(dyn Fn(u64, Vec<(usize, Completion)>) + Send + Sync),
    ) -> Result<(), Failure> {
        if !request::is_stream(&response) {
            let body = self.json(response).await?;
            report(answer.take_body(&body), Vec::new());
            return Ok(());
        }
        let mut lines = Events::default();
        let mut bytes = response.bytes_stream();
        let broke_off = |message| Failure::Passing { message, wait: None };
        while let Some(piece) = bytes.next().await {
            let piece = piece.map_err(|error| self.broken(&error))?;
            for payload in lines.push(&piece).map_err(broke_off)? {
                let tokens = answer.take(&payload).map_err(broke_off)?;
                report(tokens, answer.finished());
            }
        }
        Ok(())
    }

    /// One answer to a request of the caller's own making, whole, with the usual patience.
    pub(in crate::eval) async fn ask_once(&self, body: &Value) -> Result<Value, GeneratorError> {
        let url = format!("{}/chat/completions", self.base);
        let attempt = || async {
            let admission = self.rate.admit().await;
            let response = self.send(self.client.post(&url).json(body)).await?;
            let answer = self.json(response).await?;
            admission.settle(answer["usage"]["total_tokens"].as_u64().unwrap_or_default());
            Ok(answer)
        };
        self.patience().with(attempt).await
    }

    async fn generate_samples(
        &self,
        request: &GenerationRequest,
        events: &(dyn Fn(GenerationEvent) + Send + Sync),
    ) -> Result<(), GeneratorError> {
        let missing = Mutex::new(request.samples.clone());
        if let Some(wanted) = cut_short(request.seed, request.n, &request.samples, &request.kept) {
            self.patience().with(|| self.attempt(request, Some(&wanted), &missing, events)).await?;
        }
        // An attempt that succeeds finished a sample.
        while !lock(&missing).is_empty() {
            self.patience().with(|| self.attempt(request, None, &missing, events)).await?;
        }
        Ok(())
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
            weights_sha256: None,
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
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
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
