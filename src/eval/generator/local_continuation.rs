//! Continuations scored by the engine of this process: the log-probabilities of a prompt's tokens.

use futures::FutureExt;
use futures::future::{BoxFuture, try_join_all};

use super::GeneratorError;
use super::continuation::{Continuation, ContinuationRequest, ContinuationScorer, sum_up};
use super::local::LocalGenerator;
use crate::engine::{Event, Request, SamplingParams, SoftPrefix};
use crate::model::augmented::AugmentedPrompt;

impl ContinuationScorer for LocalGenerator {
    fn score<'a>(
        &'a self,
        request: &'a ContinuationRequest,
    ) -> BoxFuture<'a, Result<Vec<Continuation>, GeneratorError>> {
        async move {
            let (context, texts) = request.texts()?;
            let (context_ids, _) = self.read(context, "")?;
            let one = |text: String| {
                let read = self.read(context, &text[context.len()..]);
                async { self.score_prompt(request, context_ids.len(), read?).await }
            };
            try_join_all(texts.into_iter().map(one)).await
        }
        .boxed()
    }
}

impl LocalGenerator {
    /// The ids of a text that ends in `rest`. A MindMerger model reads the context as a question and `rest` as the answer.
    fn read(&self, context: &str, rest: &str) -> Result<(Vec<u32>, Option<SoftPrefix>), GeneratorError> {
        let refused = |error: String| GeneratorError::Refused {
            message: format!("the prompt cannot be tokenized: {error}"),
        };
        let Some(prompts) = &self.augmented else {
            let ids = self.tokenizer.encode(&format!("{context}{rest}"), true);
            return Ok((ids.map_err(|error| refused(error.to_string()))?, None));
        };
        let AugmentedPrompt { ids, encoder_ids } =
            prompts.read(context, None, rest).map_err(|error| refused(error.to_string()))?;
        Ok((ids, Some(SoftPrefix::Text { encoder_ids })))
    }

    async fn score_prompt(
        &self,
        request: &ContinuationRequest,
        context_tokens: usize,
        (prompt, soft_prefix): (Vec<u32>, Option<SoftPrefix>),
    ) -> Result<Continuation, GeneratorError> {
        let engine_request = Request {
            id: request.id.clone(),
            prompt,
            // The engine always makes a token; it plays no part.
            sampling: SamplingParams {
                temperature: 0.0,
                max_tokens: 1,
                prompt_logprobs: Some(0),
                ..SamplingParams::default()
            },
            adapter: self.adapter.clone(),
            soft_prefix,
            guidance: None,
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
                Some(Event::Failed { message, .. }) => return unavailable(message),
                Some(_) => {}
                None => return unavailable("the engine stopped before a prompt was scored".to_owned()),
            }
        }
    }
}
