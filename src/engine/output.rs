//! From an engine's token events to what a client reads: text deltas, stop strings, token counts.
//!
//! Shared by the HTTP routes and the evaluation harness. Runs on the caller's task, not on the engine's thread;
//! a stop string that matches is sent back as `finish_choice`, and tokens the engine made meanwhile are dropped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::weights::{IncrementalDecoder, Tokenizer, WeightsError};

use super::handle::EventStream;
use super::request::{Event, Fault, FinishReason, TokenLogprobs};
use super::stop_strings::StopMatcher;

/// How tokens become text. `n` and `min_tokens` must be the request's.
#[derive(Debug, Clone)]
pub struct OutputOptions {
    pub n: u32,
    /// Shared, for every prompt of a list and every choice holds them.
    pub stop: Arc<[String]>,
    /// Show the stop string, or the text of the stop token, that ended the choice.
    pub include_stop: bool,
    pub skip_special_tokens: bool,
    /// Stop strings completed before this many tokens do not count.
    pub min_tokens: usize,
}

impl Default for OutputOptions {
    fn default() -> Self {
        Self { n: 1, stop: Arc::new([]), include_stop: false, skip_special_tokens: true, min_tokens: 0 }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// As `Event::Scheduled`.
    Scheduled { queued: Duration, cached_tokens: usize, prompt_logprobs: Vec<Option<TokenLogprobs>> },
    /// Tokens a choice gained and the text that became certain with them; either may be empty.
    Delta { choice: u32, text: String, tokens: Vec<(u32, Option<TokenLogprobs>)> },
    Finished {
        choice: u32,
        reason: FinishReason,
        stop: Option<StopCause>,
        /// All tokens of the choice, up to and including the one that ended it.
        completion_tokens: usize,
        /// Of the weights that its last token was drawn with; `None` without a token.
        weight_version: Option<u64>,
    },
    /// Nothing follows.
    Failed { message: String, fault: Fault },
}

/// What of the request's own stops ended a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopCause {
    Text(String),
    Token(u32),
}

pub struct OutputStream {
    events: EventStream,
    choices: Vec<Choice>,
    options: OutputOptions,
    ready: VecDeque<Output>,
    ended: bool,
}

struct Choice {
    decoder: IncrementalDecoder,
    matcher: StopMatcher,
    tokens: usize,
    weight_version: Option<u64>,
    finished: bool,
}

impl OutputStream {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the tokenizer is a cheap handle that each choice clones"
    )]
    pub fn new(events: EventStream, tokenizer: Tokenizer, options: OutputOptions) -> Self {
        let choice = || Choice {
            decoder: IncrementalDecoder::new(tokenizer.clone(), options.skip_special_tokens),
            matcher: StopMatcher::new(options.stop.clone(), options.include_stop),
            tokens: 0,
            weight_version: None,
            finished: false,
        };
        let choices = (0..options.n).map(|_| choice()).collect();
        Self { events, choices, options, ready: VecDeque::new(), ended: false }
    }

    /// The next output; `None` after every choice has finished, or after `Failed`. Cancel safe.
    pub async fn next(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.ready.pop_front() {
                return Some(output);
            }
            if self.ended {
                return None;
            }
            let event = self.events.next().await;
            self.take(event);
        }
    }

    /// `next` for callers without an async runtime.
    pub fn blocking_next(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.ready.pop_front() {
                return Some(output);
            }
            if self.ended {
                return None;
            }
            let event = self.events.blocking_next();
            self.take(event);
        }
    }

    /// Stop one choice; its `Finished { reason: Cancelled }` comes unless it was done already.
    pub fn finish_choice(&self, choice: u32) {
        self.events.finish_choice(choice);
    }

    fn take(&mut self, event: Option<Event>) {
        let taken = match event {
            Some(Event::Scheduled { queued, cached_tokens, prompt_logprobs }) => {
                self.ready.push_back(Output::Scheduled { queued, cached_tokens, prompt_logprobs });
                Ok(())
            }
            Some(Event::Token { choice, token, logprobs, weight_version }) => {
                if let Some(choice) = self.choices.get_mut(choice as usize).filter(|choice| !choice.finished)
                {
                    choice.weight_version = Some(weight_version);
                }
                self.take_token(choice, token, logprobs)
            }
            Some(Event::Finished { choice, reason }) => self.take_finished(choice, reason),
            Some(Event::Failed { message, fault }) => {
                self.fail(message, fault);
                Ok(())
            }
            None => {
                self.fail("the engine stopped before the request was done".to_owned(), Fault::Engine);
                Ok(())
            }
        };
        if let Err(error) = taken {
            for choice in (0..self.options.n).filter(|&choice| !self.choices[choice as usize].finished) {
                self.events.finish_choice(choice);
            }
            self.fail(format!("a generated token could not be decoded: {error}"), Fault::Inside);
        }
        self.ended |= self.choices.iter().all(|choice| choice.finished);
    }

    fn take_token(
        &mut self,
        index: u32,
        token: u32,
        logprobs: Option<TokenLogprobs>,
    ) -> Result<(), WeightsError> {
        let ends = self.events.peek_finish(index);
        let Some(choice) = self.choices.get_mut(index as usize).filter(|choice| !choice.finished) else {
            return Ok(());
        };
        choice.tokens += 1;
        let stops = matches!(ends, Some(FinishReason::EndOfSequence(_) | FinishReason::StopToken(_)));
        let text =
            if stops && !self.options.include_stop { String::new() } else { choice.decoder.push(token)? };
        let matched = choice.matcher.push(&text, choice.tokens >= self.options.min_tokens);
        self.ready.push_back(Output::Delta {
            choice: index,
            text: matched.text,
            tokens: vec![(token, logprobs)],
        });
        if let Some(stop) = matched.stop {
            self.finish(index, FinishReason::StopString, Some(StopCause::Text(stop)));
            self.events.finish_choice(index);
        }
        Ok(())
    }

    /// Shows what was held back: an unfinished character, the beginning of a stop string.
    fn take_finished(&mut self, index: u32, reason: FinishReason) -> Result<(), WeightsError> {
        let Some(choice) = self.choices.get_mut(index as usize).filter(|choice| !choice.finished) else {
            return Ok(());
        };
        let mut matched =
            choice.matcher.push(&choice.decoder.finish()?, choice.tokens >= self.options.min_tokens);
        if matched.stop.is_none() {
            matched.text.push_str(&choice.matcher.finish());
        }
        if !matched.text.is_empty() {
            self.ready.push_back(Output::Delta { choice: index, text: matched.text, tokens: Vec::new() });
        }
        match (matched.stop, reason) {
            (Some(stop), _) => self.finish(index, FinishReason::StopString, Some(StopCause::Text(stop))),
            (None, FinishReason::StopToken(id)) => self.finish(index, reason, Some(StopCause::Token(id))),
            (None, _) => self.finish(index, reason, None),
        }
        Ok(())
    }

    fn finish(&mut self, index: u32, reason: FinishReason, stop: Option<StopCause>) {
        let choice = &mut self.choices[index as usize];
        choice.finished = true;
        let (completion_tokens, weight_version) = (choice.tokens, choice.weight_version);
        self.ready.push_back(Output::Finished {
            choice: index,
            reason,
            stop,
            completion_tokens,
            weight_version,
        });
    }

    fn fail(&mut self, message: String, fault: Fault) {
        self.ready.push_back(Output::Failed { message, fault });
        self.ended = true;
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
