//! Multiple choice by log-likelihood: a generator whose completions say how likely each choice is.
//!
//! Nothing is generated, but a run goes as any other: a sample's completion is [`ChoiceScores`] as JSON, kept in its
//! record and judged from there, so that it can be judged again. The prompt is the messages' texts joined by blank lines,
//! without a chat template, and each choice follows it after a space, as in lm-evaluation-harness; so does an example's answer
//! follow its question.

use std::collections::HashMap;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::continuation::{Continuation, ContinuationRequest, ContinuationScorer};
use super::{
    Completion, Draw, Finish, GenerationEvent, GenerationRequest, Generator, GeneratorError,
    GeneratorIdentity, Message, Usage, request_id,
};
use crate::eval::suite::Suite;
use crate::score::statistics::{Normalisation, ScoredOption, likeliest};

/// How likely the choices of a problem are, in the order shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChoiceScores {
    pub choices: Vec<ChoiceScore>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChoiceScore {
    /// Sum over the choice's tokens.
    pub logprob: f64,
    pub tokens: usize,
    /// Whether each of its tokens was the likeliest.
    pub is_greedy: bool,
}

impl ChoiceScores {
    /// The index of the likeliest of these choices, given in the order shown; `None` unless each has a score.
    pub fn likeliest(&self, choices: &[String], normalisation: Normalisation) -> Option<usize> {
        if self.choices.len() != choices.len() {
            return None;
        }
        let options: Vec<ScoredOption<'_>> = choices
            .iter()
            .zip(&self.choices)
            .map(|(text, score)| ScoredOption { text, logprob: score.logprob })
            .collect();
        likeliest(&options, normalisation)
    }
}

/// Scores the choices of a suite's problems.
pub struct ChoiceGenerator<S> {
    scorer: S,
    /// By the id of a request.
    choices: HashMap<String, Vec<String>>,
}

impl<S: Generator + ContinuationScorer> ChoiceGenerator<S> {
    pub fn new(scorer: S, suite: &Suite) -> Self {
        let mut choices = HashMap::new();
        for entry in &suite.languages {
            for problem in &entry.problems {
                choices.insert(request_id(&problem.id, entry.language), problem.choices.clone());
            }
        }
        Self { scorer, choices }
    }

    async fn score(
        &self,
        request: &GenerationRequest,
        events: &(dyn Fn(GenerationEvent) + Send + Sync),
    ) -> Result<(), GeneratorError> {
        let choices = self.choices.get(&request.id).filter(|choices| !choices.is_empty());
        let choices = choices.ok_or_else(|| GeneratorError::Refused {
            message: format!("{}: the problem has no choices", request.id),
        })?;
        let asked = ContinuationRequest {
            id: request.id.clone(),
            context: context(&request.messages),
            continuations: choices.iter().map(|choice| format!(" {}", choice.trim())).collect(),
        };
        let found = self.scorer.score(&asked).await?;
        let score = |one: &Continuation| ChoiceScore {
            logprob: one.logprob,
            tokens: one.tokens,
            is_greedy: one.is_greedy,
        };
        let scores = ChoiceScores { choices: found.iter().map(score).collect() };
        let text = serde_json::to_string(&scores).map_err(|error| GeneratorError::Refused {
            message: format!("{}: a choice has no probability: {error}", request.id),
        })?;
        events(GenerationEvent::Usage(Usage { requests: 1, uncounted_requests: 1, ..Usage::default() }));
        // Every sample is the same: nothing is drawn.
        for sample in request.samples.iter().copied() {
            let completion = Completion {
                text: text.clone(),
                finish: Finish::Stop,
                tokens: Some(0),
                thinking_tokens: Some(0),
            };
            let draw = Draw { seed: request.seed, choice: sample };
            events(GenerationEvent::Finished { sample, draw, completion });
        }
        Ok(())
    }
}

/// The messages' texts; an example's answer follows its question as a choice follows the problem.
fn context(messages: &[Message]) -> String {
    let mut text = String::new();
    for Message { role, content } in messages {
        let between = if role == "assistant" { " " } else { "\n\n" };
        text.push_str(if text.is_empty() { "" } else { between });
        text.push_str(content);
    }
    text
}

impl<S: Generator + ContinuationScorer> Generator for ChoiceGenerator<S> {
    fn identity(&self) -> GeneratorIdentity {
        // No template plays a part, whatever the model has.
        GeneratorIdentity { template_sha256: None, ..self.scorer.identity() }
    }

    fn asked_beside(&self, request: &GenerationRequest) -> Option<Value> {
        Some(json!({"loglikelihood_of": self.choices.get(&request.id)}))
    }

    fn generate<'a>(
        &'a self,
        request: &'a GenerationRequest,
        events: &'a (dyn Fn(GenerationEvent) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), GeneratorError>> {
        self.score(request, events).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_read_as_problems_with_their_choice() {
        let message =
            |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
        let messages = [message("user", "1 + 1 ="), message("assistant", "2"), message("user", "1 + 2 =")];
        assert_eq!(context(&messages), "1 + 1 = 2\n\n1 + 2 =");
        assert_eq!(context(&messages[2..]), "1 + 2 =");
    }

    #[test]
    fn the_likeliest_choice_by_each_rule() {
        let score = |logprob| ChoiceScore { logprob, tokens: 1, is_greedy: false };
        let scores = ChoiceScores { choices: vec![score(-4.0), score(-3.0)] };
        let choices = ["four".to_owned(), "no".to_owned()];
        let text = serde_json::to_string(&scores).unwrap();
        assert_eq!(serde_json::from_str::<ChoiceScores>(&text).unwrap(), scores);
        assert_eq!(scores.likeliest(&choices, Normalisation::None), Some(1));
        assert_eq!(scores.likeliest(&choices, Normalisation::Characters), Some(0));
        assert_eq!(scores.likeliest(&choices[..1], Normalisation::None), None);
    }
}
