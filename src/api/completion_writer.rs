//! Shapes outputs as text completions. The whole response is its chunks folded together, so that streamed and
//! unstreamed answers cannot differ.

use super::generation::{PromptIds, finish_reason};
use super::sse::ChunkWriter;
use super::token_text::TokenText;
use tokio::sync::OwnedSemaphorePermit;

use crate::engine::TokenLogprobs;
use crate::engine::output::{Output, StopCause};
use crate::protocol::Usage;
use crate::protocol::completions::{CompletionChoice, CompletionResponse, StopReason};
use crate::protocol::logprobs::CompletionLogprobs;

/// A prompt as the response shows it.
pub struct PromptText {
    pub prompt: PromptIds,
    /// Its text, if it is to be echoed.
    pub echo: Option<String>,
}

pub struct CompletionWriter {
    pub id: String,
    pub created: u64,
    pub model: String,
    pub n: u32,
    pub prompts: Vec<PromptText>,
    pub tokens: TokenText,
    /// How many of the likeliest tokens each list shows; the engine was asked for the larger number.
    pub logprobs: Option<u32>,
    pub prompt_logprobs: Option<u32>,
    pub token_ids: bool,
    /// The prompt was scored; the one token the engine made for it is not shown.
    pub score_only: bool,
    /// What prompts of vectors take of the room that there is for all.
    #[expect(dead_code, reason = "held until the answer is done, and never looked at")]
    pub vector_room: Option<OwnedSemaphorePermit>,
    /// By choice: how many characters its tokens have so far.
    pub offsets: Vec<usize>,
}

impl CompletionWriter {
    /// The parts of choices that one output adds.
    pub fn choices(&mut self, prompt: usize, output: Output) -> Vec<CompletionChoice> {
        match output {
            Output::Scheduled { prompt_logprobs, .. } => self.open(prompt, &prompt_logprobs),
            Output::Delta { .. } if self.score_only => Vec::new(),
            Output::Delta { choice, text, tokens } => {
                let index = self.index(prompt, choice);
                let mut part = empty(index);
                let shows_tokens = !tokens.is_empty() && (self.logprobs.is_some() || self.token_ids);
                if text.is_empty() && !shows_tokens {
                    return Vec::new();
                }
                part.text = text;
                if let Some(k) = self.logprobs {
                    let offset = &mut self.offsets[index as usize];
                    let mut logprobs = CompletionLogprobs::default();
                    for (id, token) in &tokens {
                        self.tokens.append(&mut logprobs, offset, *id, token.as_ref(), k);
                    }
                    part.logprobs = Some(logprobs);
                }
                part.token_ids = self.token_ids.then(|| tokens.iter().map(|(id, _)| *id).collect());
                vec![part]
            }
            Output::Finished { choice, reason, stop, weight_version, .. } => {
                let mut part = empty(self.index(prompt, choice));
                let reason = if self.score_only { "length" } else { finish_reason(reason) };
                part.finish_reason = Some(reason.to_owned());
                part.stop_reason = stop.filter(|_| !self.score_only).map(stop_reason);
                part.weight_version = weight_version;
                vec![part]
            }
            Output::Failed { .. } => Vec::new(),
        }
    }

    /// Before its first token a choice gets its echo and what was asked about the prompt.
    fn open(&mut self, prompt: usize, prompt_logprobs: &[Option<TokenLogprobs>]) -> Vec<CompletionChoice> {
        let PromptText { prompt: PromptIds { ids, .. }, echo } = &self.prompts[prompt];
        if echo.is_none() && !self.token_ids && self.prompt_logprobs.is_none() {
            return Vec::new();
        }
        let mut opened = empty(self.index(prompt, 0));
        let mut offset = 0;
        if let Some(echo) = echo {
            opened.text.clone_from(echo);
            if let Some(k) = self.logprobs {
                let mut logprobs = CompletionLogprobs::default();
                for (i, id) in ids.iter().enumerate() {
                    let token = prompt_logprobs.get(i).and_then(Option::as_ref);
                    self.tokens.append(&mut logprobs, &mut offset, *id, token, k);
                }
                opened.logprobs = Some(logprobs);
            }
        }
        opened.prompt_logprobs = self.prompt_logprobs.map(|k| self.tokens.prompt(prompt_logprobs, k));
        if self.token_ids {
            opened.prompt_token_ids = Some(ids.clone());
            opened.token_ids = Some(Vec::new());
        }
        (0..self.n)
            .map(|choice| {
                let index = self.index(prompt, choice);
                self.offsets[index as usize] = offset;
                CompletionChoice { index, ..opened.clone() }
            })
            .collect()
    }

    fn index(&self, prompt: usize, choice: u32) -> u32 {
        prompt as u32 * self.n + choice
    }

    pub fn response(&self, choices: Vec<CompletionChoice>, usage: Option<Usage>) -> CompletionResponse {
        CompletionResponse {
            id: self.id.clone(),
            object: "text_completion".to_owned(),
            created: self.created,
            model: self.model.clone(),
            choices,
            usage,
        }
    }

    /// What the response shows of the tokens counted.
    pub fn usage(&self, counted: Usage) -> Usage {
        if !self.score_only {
            return counted;
        }
        let cached = counted.prompt_tokens_details.map_or(0, |details| details.cached_tokens);
        Usage::new(counted.prompt_tokens, 0, cached)
    }

    /// The choices of a whole response, before their first part.
    pub fn blank_choices(&self) -> Vec<CompletionChoice> {
        (0..self.prompts.len() as u32 * self.n).map(empty).collect()
    }
}

impl ChunkWriter for CompletionWriter {
    type Chunk = CompletionResponse;

    fn chunks(&mut self, prompt: usize, output: Output) -> Vec<CompletionResponse> {
        let parts = self.choices(prompt, output);
        parts.into_iter().map(|part| self.response(vec![part], None)).collect()
    }

    fn usage_chunk(&self, usage: Usage) -> CompletionResponse {
        self.response(Vec::new(), Some(self.usage(usage)))
    }

    fn set_usage(&self, chunk: &mut CompletionResponse, usage: Usage) {
        chunk.usage = Some(self.usage(usage));
    }
}

/// Adds a part to the choice it belongs to.
pub fn fold(choice: &mut CompletionChoice, part: CompletionChoice) {
    choice.text.push_str(&part.text);
    if let Some(more) = part.logprobs {
        let logprobs = choice.logprobs.get_or_insert_default();
        logprobs.text_offset.extend(more.text_offset);
        logprobs.token_logprobs.extend(more.token_logprobs);
        logprobs.tokens.extend(more.tokens);
        logprobs.top_logprobs.get_or_insert_default().extend(more.top_logprobs.into_iter().flatten());
        if let Some(more) = more.kept_mass {
            logprobs.kept_mass.get_or_insert_default().extend(more);
        }
    }
    if let Some(more) = part.token_ids {
        choice.token_ids.get_or_insert_default().extend(more);
    }
    choice.finish_reason = part.finish_reason.or(choice.finish_reason.take());
    choice.stop_reason = part.stop_reason.or(choice.stop_reason.take());
    choice.weight_version = part.weight_version.or(choice.weight_version);
    choice.prompt_token_ids = part.prompt_token_ids.or(choice.prompt_token_ids.take());
    choice.prompt_logprobs = part.prompt_logprobs.or(choice.prompt_logprobs.take());
}

pub fn stop_reason(cause: StopCause) -> StopReason {
    match cause {
        StopCause::Text(text) => StopReason::Text(text),
        StopCause::Token(id) => StopReason::TokenId(id),
    }
}

fn empty(index: u32) -> CompletionChoice {
    CompletionChoice {
        index,
        text: String::new(),
        logprobs: None,
        finish_reason: None,
        stop_reason: None,
        token_ids: None,
        weight_version: None,
        prompt_token_ids: None,
        prompt_logprobs: None,
    }
}
