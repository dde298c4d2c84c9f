//! Continuations scored by a server: its text completions, with the prompt echoed and each token's log-probability.
//!
//! The request is lm-evaluation-harness's: one token is generated, for not every server takes `max_tokens` 0, and left
//! out. The context goes along as a prompt of its own, so that its number of tokens is the server's.

use serde_json::{Value, json};

use super::HttpGenerator;
use super::patience::Failure;
use crate::eval::generator::GeneratorError;
use crate::eval::generator::continuation::{Continuation, ContinuationRequest, ContinuationScorer, sum_up};
use futures::FutureExt;
use futures::future::BoxFuture;

impl ContinuationScorer for HttpGenerator {
    fn score<'a>(
        &'a self,
        request: &'a ContinuationRequest,
    ) -> BoxFuture<'a, Result<Vec<Continuation>, GeneratorError>> {
        self.score_continuations(request).boxed()
    }
}

impl HttpGenerator {
    async fn score_continuations(
        &self,
        request: &ContinuationRequest,
    ) -> Result<Vec<Continuation>, GeneratorError> {
        let (context, texts) = request.texts()?;
        let mut prompts = vec![context];
        prompts.extend(texts.iter().map(String::as_str));
        let body = json!({
            "model": self.model(),
            "prompt": prompts,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 1,
            "echo": true,
        });
        let url = format!("{}/completions", self.base);
        let attempt = || async {
            let admission = self.rate.admit().await;
            let response = self.send(self.client.post(&url).json(&body)).await?;
            let answer = self.json(response).await?;
            admission.settle(answer["usage"]["total_tokens"].as_u64().unwrap_or_default());
            read(&answer, prompts.len()).map_err(|message| {
                Failure::Final(GeneratorError::Unavailable { message: format!("{}: {message}", self.base) })
            })
        };
        let tokens = self.patience().with(attempt).await?;
        let context_tokens = tokens[0].len();
        Ok(tokens[1..].iter().map(|tokens| sum_up(context_tokens, tokens)).collect())
    }
}

/// The prompts' tokens, by prompt.
type Tokens = Vec<Vec<Option<(f64, bool)>>>;

fn read(answer: &Value, prompts: usize) -> Result<Tokens, String> {
    let mut tokens: Vec<Option<Vec<_>>> = vec![None; prompts];
    for (position, choice) in answer["choices"].as_array().into_iter().flatten().enumerate() {
        let index = choice["index"].as_u64().map_or(position, |index| index as usize);
        let Some(place) = tokens.get_mut(index) else { continue };
        *place = Some(of_choice(&choice["logprobs"])?);
    }
    let missing = || "the answer lacks a prompt that was asked for".to_owned();
    tokens.into_iter().map(|of_prompt| of_prompt.ok_or_else(missing)).collect()
}

/// All tokens but the generated one.
fn of_choice(logprobs: &Value) -> Result<Vec<Option<(f64, bool)>>, String> {
    let (Some(chosen), Some(top)) =
        (logprobs["token_logprobs"].as_array(), logprobs["top_logprobs"].as_array())
    else {
        return Err("the server echoes no log-probabilities, which tasks by log-likelihood need".to_owned());
    };
    let token = |(chosen, top): (&Value, &Value)| {
        let chosen = chosen.as_f64()?;
        let best = top.as_object().into_iter().flat_map(|top| top.values()).filter_map(Value::as_f64);
        Some((chosen, best.fold(f64::NEG_INFINITY, f64::max) <= chosen))
    };
    let all = chosen.iter().zip(top).map(token);
    Ok(all.take(chosen.len().saturating_sub(1)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_by_index_and_without_the_generated_token() {
        let choice = |index: u64, logprobs: Value| json!({"index": index, "text": "x", "logprobs": logprobs});
        let first =
            json!({"token_logprobs": [null, -1.0, -3.0], "top_logprobs": [null, {"a": -1.0}, {"b": -0.1}]});
        let second =
            json!({"token_logprobs": [null, -2.0, -3.0], "top_logprobs": [null, {"a": -1.0}, {"b": -0.1}]});
        let answer = json!({"choices": [choice(1, second), choice(0, first.clone())]});
        let expected = vec![vec![None, Some((-1.0, true))], vec![None, Some((-2.0, false))]];
        assert_eq!(read(&answer, 2), Ok(expected));
        assert!(read(&json!({"choices": [choice(0, first)]}), 2).unwrap_err().contains("lacks a prompt"));
        let silent = json!({"choices": [choice(0, Value::Null)]});
        assert!(read(&silent, 1).unwrap_err().contains("echoes no log-probabilities"));
    }
}
