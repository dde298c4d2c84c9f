//! Continuations scored by the engine of this process: the log-probabilities of a prompt's tokens.

use futures::FutureExt;
use futures::future::{BoxFuture, try_join_all};

use super::GeneratorError;
use super::continuation::{Continuation, ContinuationRequest, ContinuationScorer, sum_up};
use super::local::LocalGenerator;
use crate::engine::{Event, Request, SamplingParams};

impl ContinuationScorer for LocalGenerator {
    fn score<'a>(
        &'a self,
        request: &'a ContinuationRequest,
    ) -> BoxFuture<'a, Result<Vec<Continuation>, GeneratorError>> {
        async move {
            let (context, texts) = request.texts()?;
            let context_tokens = self.ids(context)?.len();
            let one = |text: String| self.score_text(request, context_tokens, text);
            try_join_all(texts.into_iter().map(one)).await
        }
        .boxed()
    }
}

impl LocalGenerator {
    fn ids(&self, text: &str) -> Result<Vec<u32>, GeneratorError> {
        let refused =
            |error| GeneratorError::Refused { message: format!("the prompt cannot be tokenized: {error}") };
        self.tokenizer.encode(text, true).map_err(refused)
    }

    async fn score_text(
        &self,
        request: &ContinuationRequest,
        context_tokens: usize,
        text: String,
    ) -> Result<Continuation, GeneratorError> {
        let engine_request = Request {
            id: request.id.clone(),
            prompt: self.ids(&text)?,
            // The engine always makes a token; it plays no part.
            sampling: SamplingParams {
                temperature: 0.0,
                max_tokens: 1,
                prompt_logprobs: Some(0),
                ..SamplingParams::default()
            },
            adapter: self.adapter.clone(),
            cache_salt: None,
            priority: 0,
        };
        let mut events = self.hand_in(&engine_request).await?;
        let unavailable = |message: String| Err(GeneratorError::Unavailable { message });
        loop {
            match events.next().await {
                Some(Event::Scheduled { prompt_logprobs, .. }) => {
                    let tokens: Vec<Option<(f64, bool)>> = prompt_logprobs
                        .iter()
                        .map(|token| {
                            let chosen = token.as_ref()?.chosen;
                            Some((f64::from(chosen.logprob), chosen.rank == 1))
                        })
                        .collect();
                    return Ok(sum_up(context_tokens, &tokens));
                }
                Some(Event::Failed { message }) => return unavailable(message),
                Some(_) => {}
                None => return unavailable("the engine stopped before a prompt was scored".to_owned()),
            }
        }
    }
}
