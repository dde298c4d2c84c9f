//! Shapes outputs as chat completions. As with text completions, the whole response is its chunks folded together.

use super::choice_text::ChoiceText;
use super::completion_writer::stop_reason;
use super::generation::finish_reason;
use super::language_watch::LanguageWatch;
use super::metrics::STOP;
use super::sse::ChunkWriter;
use super::token_text::TokenText;
use crate::engine::output::Output;
use crate::protocol::Usage;
use crate::protocol::chat::{ChatAnswer, ChatChoice, ChatChunk, ChatChunkChoice, ChatDelta, ChatResponse};
use crate::protocol::language::LanguageReport;
use crate::protocol::logprobs::PromptLogprobs;
use crate::protocol::tools::{CalledFunction, ToolCall};
use crate::protocol::usage::CompletionTokensDetails;

/// How a choice ends that calls tools.
const TOOL_CALLS: &str = "tool_calls";

pub struct ChatWriter {
    pub id: String,
    pub created: u64,
    pub model: String,
    pub tokens: TokenText,
    pub logprobs: bool,
    pub prompt_token_ids: Option<Vec<u32>>,
    pub choices: Vec<ChoiceText>,
    /// Kept for the unstreamed response.
    pub prompt_logprobs: Option<PromptLogprobs>,
    pub prompt_logprobs_asked: Option<u32>,
    /// Tokens of the choices' traces so far, marks included.
    pub reasoning_tokens: u64,
    /// Where a language was asked for.
    pub language: Option<LanguageWatch>,
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
                    ..ChatDelta::default()
                };
                let opened = |index| ChatChunkChoice { delta: role.clone(), ..empty(index) };
                (0..self.choices.len() as u32).map(opened).collect()
            }
            Output::Delta { choice, text, tokens } => {
                if let Some(watch) = &mut self.language {
                    watch.push(choice, &text);
                }
                let choice_text = &mut self.choices[choice as usize];
                let was_reasoning = choice_text.in_reasoning();
                let delta = choice_text.push(text);
                if was_reasoning || choice_text.in_reasoning() {
                    self.reasoning_tokens += tokens.len() as u64;
                }
                let shows_tokens = !tokens.is_empty() && (self.logprobs || token_ids);
                if delta == ChatDelta::default() && !shows_tokens {
                    return Vec::new();
                }
                let logprobs = self.logprobs.then(|| self.tokens.chat(&tokens));
                let token_ids = token_ids.then(|| tokens.iter().map(|(id, _)| *id).collect());
                vec![ChatChunkChoice { delta, logprobs, token_ids, ..empty(choice) }]
            }
            Output::Finished { choice, reason, stop, weight_version, .. } => {
                let text = &mut self.choices[choice as usize];
                let delta = text.finish();
                let ends = finish_reason(reason);
                let part = ChatChunkChoice {
                    delta,
                    finish_reason: Some(
                        if ends == STOP && text.has_calls() { TOOL_CALLS } else { ends }.to_owned(),
                    ),
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
            language: None,
        }
    }

    fn counted(&self, usage: Usage) -> Usage {
        let tells_apart = self.choices.iter().any(ChoiceText::tells_reasoning);
        let details = CompletionTokensDetails { reasoning_tokens: self.reasoning_tokens };
        Usage { completion_tokens_details: tells_apart.then_some(details), ..usage }
    }

    /// Of each choice, once they are whole.
    pub async fn languages(&mut self) -> Vec<LanguageReport> {
        match &mut self.language {
            Some(watch) => watch.measure().await,
            None => Vec::new(),
        }
    }

    pub async fn response(mut self, mut choices: Vec<ChatChoice>, usage: Usage) -> ChatResponse {
        let usage = Some(self.counted(usage));
        for message in choices.iter_mut().map(|choice| &mut choice.message) {
            // As OpenAI says it where a model calls and says nothing.
            if message.tool_calls.is_some() && message.content.as_deref() == Some("") {
                message.content = None;
            }
        }
        let mut language = None;
        let mut reports = self.languages().await;
        if reports.len() == 1 {
            language = reports.pop();
        }
        for (choice, report) in choices.iter_mut().zip(reports) {
            choice.language = Some(report);
        }
        ChatResponse {
            id: self.id,
            object: "chat.completion".to_owned(),
            created: self.created,
            model: self.model,
            choices,
            usage,
            prompt_token_ids: self.prompt_token_ids,
            prompt_logprobs: self.prompt_logprobs,
            language,
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
            language: None,
        };
        (0..self.choices.len() as u32).map(blank).collect()
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
        self.chunk(Vec::new(), Some(self.counted(usage)))
    }

    fn set_usage(&self, chunk: &mut ChatChunk, usage: Usage) {
        chunk.usage = Some(self.counted(usage));
    }

    async fn last_chunks(&mut self) -> Vec<ChatChunk> {
        let mut reports = self.languages().await;
        match reports.len() {
            1 => vec![ChatChunk { language: reports.pop(), ..self.chunk(Vec::new(), None) }],
            _ => (0..)
                .zip(reports)
                .map(|(index, report)| ChatChunkChoice { language: Some(report), ..empty(index) })
                .map(|part| self.chunk(vec![part], None))
                .collect(),
        }
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
    for more in part.delta.tool_calls.into_iter().flatten() {
        let calls = choice.message.tool_calls.get_or_insert_default();
        if let (Some(id), Some(name)) = (more.id, more.function.name) {
            let function = CalledFunction { name, arguments: String::new() };
            calls.push(ToolCall { id, kind: "function".to_owned(), function });
        }
        if let Some(call) = calls.get_mut(more.index as usize) {
            call.function.arguments.push_str(&more.function.arguments);
        }
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

fn empty(index: u32) -> ChatChunkChoice {
    ChatChunkChoice {
        index,
        delta: ChatDelta::default(),
        logprobs: None,
        finish_reason: None,
        stop_reason: None,
        token_ids: None,
        weight_version: None,
        language: None,
    }
}
