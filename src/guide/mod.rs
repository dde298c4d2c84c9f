//! Grammars of structured output over a model's tokens: which tokens may follow what a choice has written.
//!
//! A [`Grammar`] is compiled once a request into a [`Guide`], within budgets of size and work that the parser counts itself, so
//! that no schema and no expression costs more than a bounded time. Each choice of the request walks it with a [`GuideState`] of
//! its own. Knows tokens and bytes; knows no sampling, no messages and no HTTP.

mod compile;
mod environment;
mod error;
mod scripts;
mod token_set;

use std::sync::{Arc, Mutex, PoisonError};

use llguidance::api::StopReason;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Matcher, ParserFactory};
use serde_json::Value;

use crate::weights::Tokenizer;

pub use compile::bounded_schema;
pub use error::GuideError;
pub use scripts::tokens_of_other_scripts;
pub use token_set::TokenSet;

/// What an answer must look like, from its first token to the end of the sequence.
#[derive(Debug, Clone, PartialEq)]
pub enum Grammar {
    /// A JSON text that the schema describes.
    JsonSchema(Value),
    /// A regular expression, in the syntax of Rust's `regex`, that the whole answer matches.
    Regex(String),
    /// A context-free grammar in llguidance's variant of Lark; its start symbol is `start`.
    Lark(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// Lark that names its parts by `@name`.
    Composed { lark: String, parts: Vec<(String, Grammar)> },
}

/// Compiles grammars for one tokenizer. Costs memory for a tree of its vocabulary (some 10 bytes a byte of it).
pub struct Guides {
    factory: ParserFactory,
}

impl Guides {
    /// Any of `end_tokens` may end an answer that is complete.
    ///
    /// # Errors
    /// `Vocabulary`: no end token, or a vocabulary that the tree cannot hold.
    pub fn new(tokenizer: &Tokenizer, end_tokens: &[u32]) -> Result<Self, GuideError> {
        let environment = environment::of(tokenizer, end_tokens)?;
        let slices = SlicedBiasComputer::general_slices();
        let factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices);
        let mut factory = factory.map_err(|error| GuideError::Vocabulary(error.to_string()))?;
        *factory.limits_mut() = compile::limits();
        factory.quiet();
        Ok(Self { factory })
    }

    /// Takes milliseconds; the largest schemas within the budgets tenths of a second.
    ///
    /// # Errors
    /// `Grammar` names the part of a schema at fault, by its JSON pointer.
    pub fn compile(&self, grammar: &Grammar) -> Result<Guide, GuideError> {
        let matcher = compile::matcher(&self.factory, grammar)?;
        Ok(Guide { start: Arc::new(Mutex::new(matcher)) })
    }
}

/// A grammar, ready to be walked. Clones share it.
#[derive(Clone)]
pub struct Guide {
    start: Arc<Mutex<Matcher>>,
}

impl Guide {
    /// At the beginning of an answer.
    pub fn start(&self) -> GuideState {
        // A panic while it was cloned leaves it as it was.
        let start = self.start.lock().unwrap_or_else(PoisonError::into_inner);
        // Deep: clones that share a lexer share its budget and its lock.
        GuideState { matcher: start.deep_clone() }
    }
}

impl std::fmt::Debug for Guide {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Guide").finish_non_exhaustive()
    }
}

/// How far an answer has come.
pub struct GuideState {
    matcher: Matcher,
}

impl GuideState {
    /// The tokens that may come next; end tokens are among them where the answer may end, and alone where it must.
    ///
    /// # Errors
    /// `Work`: the grammar costs more here than a token may.
    pub fn allowed(&mut self) -> Result<TokenSet, GuideError> {
        if !self.stop_is_sound() {
            return Err(self.failed());
        }
        let mask = self.matcher.compute_mask_or_eos();
        mask.map(TokenSet::new).map_err(|_| self.failed())
    }

    /// Whether nothing but the end may follow.
    pub fn is_complete(&self) -> bool {
        self.matcher.is_stopped() && self.stop_is_sound()
    }

    /// Goes on by a token of those allowed.
    ///
    /// # Errors
    /// `Work`, as [`Self::allowed`]; also for a token that may not come here.
    pub fn take(&mut self, token: u32) -> Result<(), GuideError> {
        if self.is_complete() {
            return Ok(());
        }
        self.matcher.consume_token(token).map_err(|_| self.failed())
    }

    fn stop_is_sound(&self) -> bool {
        self.matcher.stop_reason().is_ok()
    }

    fn failed(&self) -> GuideError {
        match self.matcher.stop_reason() {
            StopReason::LexerTooComplex | StopReason::ParserTooComplex => GuideError::Work,
            _ => GuideError::Stuck(self.matcher.get_error().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests;
