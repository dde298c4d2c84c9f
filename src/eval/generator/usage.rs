//! What generation took: requests, tokens, and samples that a cache had.

use std::ops::AddAssign;
use std::sync::{Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{GenerationEvent, GenerationRequest, Generator, GeneratorError, GeneratorIdentity};

/// Totals; servers that count no tokens leave them at what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Answers that came, also those that broke off.
    pub requests: u64,
    /// Tokens of the prompts, a request's n samples together.
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// Samples that were not generated, for a cache had them.
    pub cached_samples: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.cached_samples += other.cached_samples;
    }
}

/// A generator whose usage is added up.
pub struct Metered<G> {
    inner: G,
    total: Mutex<Usage>,
}

impl<G> Metered<G> {
    pub fn new(inner: G) -> Self {
        Self { inner, total: Mutex::default() }
    }

    pub fn total(&self) -> Usage {
        *self.total.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<G: Generator> Generator for Metered<G> {
    fn identity(&self) -> GeneratorIdentity {
        self.inner.identity()
    }

    fn asked_beside(&self, request: &GenerationRequest) -> Option<Value> {
        self.inner.asked_beside(request)
    }

    fn generate<'a>(
        &'a self,
        request: &'a GenerationRequest,
        events: &'a (dyn Fn(GenerationEvent) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), GeneratorError>> {
        async move {
            let metered = |event: GenerationEvent| {
                if let GenerationEvent::Usage(usage) = &event {
                    *self.total.lock().unwrap_or_else(PoisonError::into_inner) += *usage;
                }
                events(event);
            };
            self.inner.generate(request, &metered).await
        }
        .boxed()
    }
}

impl<G: Generator + ?Sized> Generator for Box<G> {
    fn identity(&self) -> GeneratorIdentity {
        (**self).identity()
    }

    fn asked_beside(&self, request: &GenerationRequest) -> Option<Value> {
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
