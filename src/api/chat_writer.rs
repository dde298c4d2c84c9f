//! Shapes outputs as chat completions. As with text completions, the whole response is its chunks folded together.

use super::completion_writer::stop_reason;
use super::generation::finish_reason;
use super::sse::ChunkWriter;
use super::token_text::TokenText;
use crate::chat::ReasoningSplitter;
use crate::engine::output::Output;
use crate::protocol::Usage;
use crate::protocol::chat::{ChatAnswer, ChatChoice, ChatChunk, ChatChunkChoice, ChatDelta, ChatResponse};
use crate::protocol::logprobs::PromptLogprobs;

pub struct ChatWriter {
    pub id: String,
    pub created: u64,
    pub model: String,
    pub tokens: TokenText,
    pub logprobs: bool,
    pub prompt_token_ids: Option<Vec<u32>>,
    /// By choice; `None` leaves thinking marks in the content.
    pub splitters: Vec<Option<ReasoningSplitter>>,
    /// Kept for the unstreamed response.
    pub prompt_logprobs: Option<PromptLogprobs>,
    pub prompt_logprobs_asked: Option<u32>,
}

impl ChatWriter {
    /// The parts of choices that one output adds.
    pub fn choices(&mut self, output: Output) -> Vec<ChatChunkChoice> {
        let token_ids = self.prompt_token_ids.is_some();
        match output {
            Output::Scheduled { prompt_logprobs, .. } => {
                let asked = self.prompt_logprobs_asked;
                self.prompt_logprobs = asked.map(|k| self.tokens.prompt(&prompt_logprobs, k));
                let role = ChatDelta {
                    role: Some("assistant".to_owned()),
                    content: Some(String::new()),
                    reasoning_content: None,
                };
                let opened = |index| ChatChunkChoice { delta: role.clone(), ..empty(index) };
                (0..self.splitters.len() as u32).map(opened).collect()
            }
            Output::Delta { choice, text, tokens } => {
                let delta = match &mut self.splitters[choice as usize] {
                    Some(splitter) => delta(splitter.push(&text)),
                    None => delta((String::new(), text)),
                };
                let shows_tokens = !tokens.is_empty() && (self.logprobs || token_ids);
                if delta == ChatDelta::default() && !shows_tokens {
                    return Vec::new();
                }
                let logprobs = self.logprobs.then(|| self.tokens.chat(&tokens));
                let token_ids = token_ids.then(|| tokens.iter().map(|(id, _)| *id).collect());
                vec![ChatChunkChoice { delta, logprobs, token_ids, ..empty(choice) }]
            }
            Output::Finished { choice, reason, stop, weight_version, .. } => {
                let rest = self.splitters[choice as usize].as_mut().map(ReasoningSplitter::finish);
                let part = ChatChunkChoice {
                    delta: delta(rest.unwrap_or_default()),
                    finish_reason: Some(finish_reason(reason).to_owned()),
                    stop_reason: stop.map(stop_reason),
                    weight_version,
                    ..empty(choice)
                };
                vec![part]
            }
            Output::Failed { .. } => Vec::new(),
        }
    }

    fn chunk(&self, choices: Vec<ChatChunkChoice>, usage: Option<Usage>) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk".to_owned(),
            created: self.created,
            model: self.model.clone(),
            choices,
            usage,
            prompt_token_ids: None,
        }
    }

    pub fn response(self, choices: Vec<ChatChoice>, usage: Usage) -> ChatResponse {
        ChatResponse {
            id: self.id,
            object: "chat.completion".to_owned(),
            created: self.created,
            model: self.model,
            choices,
            usage: Some(usage),
            prompt_token_ids: self.prompt_token_ids,
            prompt_logprobs: self.prompt_logprobs,
        }
    }

    /// The choices of a whole response, before their first part.
    pub fn blank_choices(&self) -> Vec<ChatChoice> {
        let blank = |index| ChatChoice {
            index,
            message: ChatAnswer { role: "assistant".to_owned(), ..ChatAnswer::default() },
            logprobs: None,
            finish_reason: None,
            stop_reason: None,
            token_ids: None,
            weight_version: None,
        };
        (0..self.splitters.len() as u32).map(blank).collect()
    }
}

impl ChunkWriter for ChatWriter {
    type Chunk = ChatChunk;

    fn chunks(&mut self, _prompt: usize, output: Output) -> Vec<ChatChunk> {
        let opens = matches!(output, Output::Scheduled { .. });
        let parts = self.choices(output);
        let mut chunks: Vec<ChatChunk> = parts.into_iter().map(|part| self.chunk(vec![part], None)).collect();
        if let Some(first) = chunks.first_mut().filter(|_| opens) {
            first.prompt_token_ids.clone_from(&self.prompt_token_ids);
        }
        chunks
    }

    fn usage_chunk(&self, usage: Usage) -> ChatChunk {
        self.chunk(Vec::new(), Some(usage))
    }

    fn set_usage(&self, chunk: &mut ChatChunk, usage: Usage) {
        chunk.usage = Some(usage);
    }
}

/// Adds a part to the choice it belongs to.
pub fn fold(choice: &mut ChatChoice, part: ChatChunkChoice) {
    if let Some(content) = part.delta.content {
        choice.message.content.get_or_insert_default().push_str(&content);
    }
    if let Some(reasoning) = part.delta.reasoning_content {
        choice.message.reasoning_content.get_or_insert_default().push_str(&reasoning);
    }
    if let Some(more) = part.logprobs {
        let content = choice.logprobs.get_or_insert_default().content.get_or_insert_default();
        content.extend(more.content.into_iter().flatten());
    }
    if let Some(more) = part.token_ids {
        choice.token_ids.get_or_insert_default().extend(more);
    }
    choice.finish_reason = part.finish_reason.or(choice.finish_reason.take());
    choice.stop_reason = part.stop_reason.or(choice.stop_reason.take());
    choice.weight_version = part.weight_version.or(choice.weight_version);
}

fn delta((reasoning, content): (String, String)) -> ChatDelta {
    let some = |text: String| (!text.is_empty()).then_some(text);
    ChatDelta { role: None, content: some(content), reasoning_content: some(reasoning) }
}

fn empty(index: u32) -> ChatChunkChoice {
    ChatChunkChoice {
        index,
        delta: ChatDelta::default(),
        logprobs: None,
        finish_reason: None,
        stop_reason: None,
        token_ids: None,
        weight_version: None,
    }
}
