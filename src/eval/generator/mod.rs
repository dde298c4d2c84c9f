//! Where completions come from: one trait, two implementations (this process's engine, any OpenAI URL).

pub mod cache;
pub mod choices;
pub mod continuation;
pub mod http;
pub mod local;
mod local_continuation;
mod sse;
mod usage;

use std::sync::Arc;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::language::Language;
use continuation::{Continuation, ContinuationRequest, ContinuationScorer};
pub use usage::{Metered, Usage};

/// Generates several completions of one prompt.
pub trait Generator: Send + Sync {
    /// What is asked, for the run's provenance.
    fn identity(&self) -> GeneratorIdentity;

    /// What decides an answer and no request says: a cache tells answers apart by it.
    fn asked_beside(&self, _request: &GenerationRequest) -> Option<serde_json::Value> {
        None
    }

    /// Generate `request.samples`, each reported once through `events`, in any order.
    fn generate<'a>(
        &'a self,
        request: &'a GenerationRequest,
        events: &'a (dyn Fn(GenerationEvent) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), GeneratorError>>;
}

/// Whoever generates and scores continuations: all that a suite's task may ask of a model.
pub trait Model: Generator + ContinuationScorer {}

impl<T: Generator + ContinuationScorer> Model for T {}

impl<T: Generator + ?Sized> Generator for Arc<T> {
    fn identity(&self) -> GeneratorIdentity {
        (**self).identity()
    }

    fn asked_beside(&self, request: &GenerationRequest) -> Option<serde_json::Value> {
        (**self).asked_beside(request)
    }

    fn generate<'a>(
        &'a self,
        request: &'a GenerationRequest,
        events: &'a (dyn Fn(GenerationEvent) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), GeneratorError>> {
        (**self).generate(request, events)
    }
}

impl<T: ContinuationScorer + ?Sized> ContinuationScorer for Arc<T> {
    fn score<'a>(
        &'a self,
        request: &'a ContinuationRequest,
    ) -> BoxFuture<'a, Result<Vec<Continuation>, GeneratorError>> {
        (**self).score(request)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct GenerationRequest {
    /// Names the request in logs.
    pub id: String,
    pub messages: Vec<Message>,
    /// Of the problem; models whose encoder is told the language of a text read it.
    pub language: Option<Language>,
    /// What the model's turn begins with, in its own name: it goes on from there, and completions begin with it.
    pub opening: Option<String>,
    /// Samples the problem has in the whole run.
    pub n: u32,
    /// Those still missing, ascending, each below n.
    pub samples: Vec<u32>,
    /// Those that an earlier call has drawn, each with the seed of its request.
    pub kept: Vec<(u32, u64)>,
    /// Sample i is choice i of a request with this seed, where choices can be named.
    pub seed: u64,
    pub sampling: Sampling,
}

impl GenerationRequest {
    /// A completion as it reads with the opening before it. Servers that take reasoning apart answer with the trace's
    /// tag again, which the opening brings itself.
    pub(super) fn opened(&self, text: String) -> String {
        let Some(opening) = &self.opening else { return text };
        let rest = match text.strip_prefix(TRACE_OPEN) {
            Some(rest) if opening.starts_with(TRACE_OPEN) => rest.strip_prefix('\n').unwrap_or(rest),
            _ => &text,
        };
        format!("{opening}{rest}")
    }
}

/// What a trace begins with.
pub(super) const TRACE_OPEN: &str = "<think>";

/// The id of the request for a problem in a language.
pub fn request_id(problem: &str, language: Language) -> String {
    format!("{problem}-{language}")
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub role: String,
    pub content: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    pub temperature: f32,
    pub top_p: f32,
    /// 0 is off.
    pub top_k: u32,
    /// 0 is off.
    pub min_p: f32,
    /// Upper bound on a completion; prompt and completion must fit the model's context.
    pub max_tokens: usize,
}

impl Default for Sampling {
    /// The protocol of Budget Alignment, with a limit that fits small models.
    fn default() -> Self {
        Self { temperature: 0.6, top_p: 0.95, top_k: 0, min_p: 0.0, max_tokens: 2048 }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum GenerationEvent {
    /// So many tokens more, all samples together.
    Tokens(u64),
    /// What a request took, when it has been answered.
    Usage(Usage),
    Finished {
        sample: u32,
        draw: Draw,
        completion: Completion,
    },
}

/// The request that drew a completion: asked the same again, it gives the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    pub seed: u64,
    /// Index among that request's choices.
    pub choice: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Trace and answer in one text, the trace in `<think>` tags.
    pub text: String,
    pub finish: Finish,
    /// `None` where the server only counts all choices together.
    pub tokens: Option<u64>,
    /// Those of the trace, its marks included; 0 without one. `None` where the server does not tell them.
    pub thinking_tokens: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    Stop,
    /// Cut by the token limit or the context.
    Length,
    /// Cut by a filter of the server. It is not asked for again: leaving out what was filtered would flatter the figures.
    ContentFilter,
    /// There is no completion.
    Error,
}

/// Who generates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratorIdentity {
    /// `local` or `http`.
    pub kind: String,
    pub model: String,
    pub endpoint: Option<String>,
    pub dtype: Option<String>,
    /// Digest of the chat template, where it is known.
    pub template_sha256: Option<String>,
    /// Digest of the weights' files, an adapter's too, where they are read here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_sha256: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GeneratorError {
    /// This prompt cannot be served; others may.
    #[error("{message}")]
    Refused { message: String },
    /// Nothing can be served now.
    #[error("{message}")]
    Unavailable { message: String },
}
