//! Problems of several turns (MT-Bench): the model is asked again after it answered, with its answer before it.
//!
//! A generator around the run's own. The first turns of a problem's samples are one request, as ever; each further turn
//! is a request a sample, since each has its own history. A sample is finished when its last turn is, so a run that is
//! killed in between begins that sample anew. Its completion is all turns in one text, divided by [`TURN_MARK`].

use std::sync::Mutex;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use super::generator::{
    Completion, Draw, Finish, GenerationEvent, GenerationRequest, Generator, GeneratorError,
    GeneratorIdentity, Message,
};
use super::seed::turn_seed;
use super::suite::Problem;
use crate::score::extract::split;

/// The line between two turns of a completion.
pub(super) const TURN_MARK: &str = "\n\n<|next turn|>\n\n";

/// More turns would be a mistake in the data.
const TURNS_MAX: usize = 16;

/// The further turns of a problem: what its field `turns` holds after the first.
pub(super) fn further_turns(problem: &Problem) -> Vec<String> {
    let turns = problem.fields.get("turns").and_then(Value::as_array);
    let texts = turns.into_iter().flatten().skip(1).take(TURNS_MAX);
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The turns of a completion, each with its trace.
pub(super) fn turns(completion: &str) -> impl Iterator<Item = &str> {
    completion.split(TURN_MARK)
}

pub(super) struct Conversation<'a> {
    inner: &'a dyn Generator,
    /// The problem's turns after the first; most have none.
    further: Vec<String>,
}

/// A sample on its way through the turns.
struct Talk {
    sample: u32,
    draw: Draw,
    messages: Vec<Message>,
    /// The turns finished so far.
    completion: Completion,
}

impl<'a> Conversation<'a> {
    pub fn new(inner: &'a dyn Generator, problem: &Problem) -> Self {
        Self { inner, further: further_turns(problem) }
    }

    async fn talk(
        &self,
        request: &GenerationRequest,
        further: &[String],
        events: &(dyn Fn(GenerationEvent) + Send + Sync),
    ) -> Result<(), GeneratorError> {
        for mut talk in self.first_turns(request, events).await? {
            for (at, prompt) in further.iter().enumerate() {
                // Cut short, it has no answer to go on from.
                if talk.completion.finish != Finish::Stop {
                    break;
                }
                self.next_turn(request, &mut talk, at + 1, prompt, events).await?;
            }
            let Talk { sample, draw, completion, .. } = talk;
            events(GenerationEvent::Finished { sample, draw, completion });
        }
        Ok(())
    }

    async fn first_turns(
        &self,
        request: &GenerationRequest,
        events: &(dyn Fn(GenerationEvent) + Send + Sync),
    ) -> Result<Vec<Talk>, GeneratorError> {
        let finished = self.ask(request, events).await?;
        let talks = finished.into_iter().map(|(sample, draw, completion)| {
            let completion = Completion { text: unmarked(&completion.text), ..completion };
            Talk { sample, draw, messages: request.messages.clone(), completion }
        });
        Ok(talks.collect())
    }

    async fn next_turn(
        &self,
        request: &GenerationRequest,
        talk: &mut Talk,
        turn: usize,
        prompt: &str,
        events: &(dyn Fn(GenerationEvent) + Send + Sync),
    ) -> Result<(), GeneratorError> {
        let last = turns(&talk.completion.text).last().unwrap_or_default();
        let said = last[split(last).answer].trim().to_owned();
        let message = |role: &str, content: String| Message { role: role.to_owned(), content };
        talk.messages.push(message("assistant", said));
        talk.messages.push(message("user", prompt.to_owned()));
        let request = GenerationRequest {
            id: format!("{}-turn-{}-sample-{}", request.id, turn + 1, talk.sample),
            messages: talk.messages.clone(),
            language: request.language,
            opening: request.opening.clone(),
            n: request.n,
            samples: vec![talk.sample],
            kept: Vec::new(),
            seed: turn_seed(request.seed, turn),
            sampling: request.sampling.clone(),
        };
        let finished = self.ask(&request, events).await?.into_iter().next();
        let (_, _, next) = finished.ok_or_else(|| GeneratorError::Unavailable {
            message: format!("{}: no completion came", request.id),
        })?;
        let so_far = &mut talk.completion;
        so_far.text = format!("{}{TURN_MARK}{}", so_far.text, unmarked(&next.text));
        so_far.finish = next.finish;
        let sum = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a + b);
        so_far.tokens = sum(so_far.tokens, next.tokens);
        so_far.thinking_tokens = sum(so_far.thinking_tokens, next.thinking_tokens);
        Ok(())
    }

    /// What is finished, once all is; the rest of the events is passed on as it comes.
    async fn ask(
        &self,
        request: &GenerationRequest,
        events: &(dyn Fn(GenerationEvent) + Send + Sync),
    ) -> Result<Vec<(u32, Draw, Completion)>, GeneratorError> {
        let finished = Mutex::new(Vec::new());
        let keep = |event| match event {
            GenerationEvent::Finished { sample, draw, completion } => {
                let mut finished = finished.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                finished.push((sample, draw, completion));
            }
            other => events(other),
        };
        self.inner.generate(request, &keep).await?;
        Ok(finished.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// A text of one turn, which must not look like several.
fn unmarked(text: &str) -> String {
    text.replace("<|next turn|>", "<| next turn |>")
}

impl Generator for Conversation<'_> {
    fn identity(&self) -> GeneratorIdentity {
        self.inner.identity()
    }

    fn generate<'a>(
        &'a self,
        request: &'a GenerationRequest,
        events: &'a (dyn Fn(GenerationEvent) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), GeneratorError>> {
        if self.further.is_empty() {
            self.inner.generate(request, events)
        } else {
            self.talk(request, &self.further, events).boxed()
        }
    }
}
