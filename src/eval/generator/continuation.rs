//! How likely a model finds given texts after a prompt: what multiple choice by log-likelihood asks.
//!
//! A trait beside `Generator`, for not whoever generates can do this: chat completions of most servers tell nothing of a
//! prompt. Two implementations: this process's engine, and servers whose text completions echo with log-probabilities.
//! The prompt is text as it stands, without a chat template, so that both ask the model the same.

use futures::future::BoxFuture;

use super::GeneratorError;

/// Scores continuations of one text.
pub trait ContinuationScorer: Send + Sync {
    /// One score a continuation, in the order asked.
    fn score<'a>(
        &'a self,
        request: &'a ContinuationRequest,
    ) -> BoxFuture<'a, Result<Vec<Continuation>, GeneratorError>>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContinuationRequest {
    /// Names the request in logs.
    pub id: String,
    pub context: String,
    /// Each with the space that may separate it from the context.
    pub continuations: Vec<String>,
}

/// How likely one continuation is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Continuation {
    /// Sum over its tokens of the natural logarithm of their probabilities.
    pub logprob: f64,
    pub tokens: usize,
    /// Whether each of its tokens was the likeliest.
    pub is_greedy: bool,
}

impl ContinuationRequest {
    /// The context up to its last character that is no space, and the text with each continuation. A tokenizer joins a
    /// space to the word after it, so that a space at the context's end belongs to the continuations.
    pub(super) fn texts(&self) -> Result<(&str, Vec<String>), GeneratorError> {
        let context = self.context.trim_end();
        if context.is_empty() {
            return Err(GeneratorError::Refused { message: "a continuation needs a context".to_owned() });
        }
        let whole = |continuation: &String| format!("{}{continuation}", self.context);
        Ok((context, self.continuations.iter().map(whole).collect()))
    }
}

/// Sum up the tokens after the context's, of which there are `context_tokens`. `None` is a token without a
/// log-probability, as the first of all is; where the last token of the context and the first of the continuation are
/// one, it is the continuation's.
pub(super) fn sum_up(context_tokens: usize, tokens: &[Option<(f64, bool)>]) -> Continuation {
    let start = context_tokens.min(tokens.len().saturating_sub(1));
    let scored: Vec<(f64, bool)> = tokens[start..].iter().copied().flatten().collect();
    Continuation {
        logprob: scored.iter().map(|(logprob, _)| logprob).sum(),
        tokens: scored.len(),
        is_greedy: scored.iter().all(|(_, is_likeliest)| *is_likeliest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_continuation_counts() {
        let tokens = [None, Some((-1.0, true)), Some((-2.0, false)), Some((-0.5, true))];
        let check = |context: usize, logprob: f64, count: usize, is_greedy: bool| {
            assert_eq!(sum_up(context, &tokens), Continuation { logprob, tokens: count, is_greedy });
        };
        check(1, -3.5, 3, false);
        check(3, -0.5, 1, true);
        check(4, -0.5, 1, true);
        check(0, -3.5, 3, false);
        assert_eq!(sum_up(0, &[]).tokens, 0);
    }

    #[test]
    fn a_space_at_the_end_belongs_to_the_continuation() {
        let request = |context: &str| ContinuationRequest {
            id: String::new(),
            context: context.to_owned(),
            continuations: vec!["yes".to_owned()],
        };
        assert_eq!(request("Is it? ").texts().unwrap(), ("Is it?", vec!["Is it? yes".to_owned()]));
        assert!(request(" \n").texts().is_err());
    }
}
