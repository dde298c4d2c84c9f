//! Completions from an engine in this process.
//!
//! Draws depend on (seed, choice, position) alone, so a resumed problem asks for all n choices again, with the
//! same seed, and cancels those it has before they cost a token: sample i is the same, bit for bit, as in a run
//! that was never interrupted.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use crate::chat::{ChatTemplate, RenderOptions, opens_reasoning};
use crate::engine::{
    EngineError, EngineHandle, EventStream, Fault, FinishReason, Output, OutputOptions, OutputStream,
    Request, RequestAdapter, SamplingParams, SoftPrefix,
};
use crate::language::Language;
use crate::model::augmented::{AugmentedPrompt, AugmentedPrompts};
use crate::score::extract::split;
use crate::weights::Tokenizer;

use super::{
    Completion, Draw, Finish, GenerationEvent, GenerationRequest, Generator, GeneratorError,
    GeneratorIdentity, Message, Usage,
};

/// An engine with what turns messages into its tokens and back.
pub struct LocalGenerator {
    pub model: String,
    /// As the memory plan names it: f32, bf16, gguf.
    pub dtype: String,
    pub handle: EngineHandle,
    /// The model is asked with this beside its weights.
    pub adapter: Option<RequestAdapter>,
    pub tokenizer: Tokenizer,
    /// Without one, messages are joined by blank lines and continued: the way to evaluate a base model.
    pub template: Option<ChatTemplate>,
    /// Of a MindMerger model, whose templates take a chat template's place: it answers the last user message.
    pub augmented: Option<Arc<AugmentedPrompts>>,
    /// Digest of the weights' files, an adapter's too, where it is known.
    pub weights_sha256: Option<String>,
}

/// A prompt as the engine reads it.
struct Prompt {
    ids: Vec<u32>,
    soft_prefix: Option<SoftPrefix>,
    /// Whether it ends in a trace that it opened.
    opens_reasoning: bool,
}

impl Prompt {
    fn tokens(&self) -> usize {
        self.ids.len() + self.soft_prefix.as_ref().map_or(0, SoftPrefix::positions)
    }
}

/// How long a full queue is waited for before trying again.
const QUEUE_RETRY: Duration = Duration::from_millis(50);

impl Generator for LocalGenerator {
    fn identity(&self) -> GeneratorIdentity {
        let template = self.template.as_ref().map(ChatTemplate::source);
        let template =
            template.or_else(|| self.augmented.as_deref().map(|prompts| prompts.prompt_template().as_str()));
        GeneratorIdentity {
            kind: "local".to_owned(),
            model: self.model.clone(),
            endpoint: None,
            dtype: Some(self.dtype.clone()),
            template_sha256: template.map(|source| format!("{:x}", Sha256::digest(source.as_bytes()))),
            weights_sha256: self.weights_sha256.clone(),
        }
    }

    fn generate<'a>(
        &'a self,
        request: &'a GenerationRequest,
        events: &'a (dyn Fn(GenerationEvent) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), GeneratorError>> {
        self.generate_samples(request, events).boxed()
    }
}

impl LocalGenerator {
    async fn generate_samples(
        &self,
        request: &GenerationRequest,
        events: &(dyn Fn(GenerationEvent) + Send + Sync),
    ) -> Result<(), GeneratorError> {
        let refused = |message: String| GeneratorError::Refused { message };
        let prompt = self.prompt(request).map_err(refused)?;
        let prefix = match &request.opening {
            Some(opening) => opening.as_str(),
            // What the template opened in the prompt belongs to the completion's trace.
            None if prompt.opens_reasoning => "<think>\n",
            None => "",
        };
        let mut usage = Usage { requests: 1, prompt_tokens: prompt.tokens() as u64, ..Usage::default() };
        let mut outputs = self.submit(request, prompt).await?;
        let wanted = |choice: u32| request.samples.contains(&choice);
        for choice in (0..request.n).filter(|choice| !wanted(*choice)) {
            outputs.finish_choice(choice);
        }
        let mut texts = vec![prefix.to_owned(); request.n as usize];
        let mut deltas = vec![Vec::new(); request.n as usize];
        while let Some(output) = outputs.next().await {
            match output {
                Output::Delta { choice, text, tokens } => {
                    deltas[choice as usize].push((texts[choice as usize].len(), tokens.len()));
                    texts[choice as usize].push_str(&text);
                    if wanted(choice) {
                        events(GenerationEvent::Tokens(tokens.len() as u64));
                    }
                }
                Output::Finished { choice, reason, completion_tokens, .. } if wanted(choice) => {
                    let finish = finish(reason)?;
                    let text = std::mem::take(&mut texts[choice as usize]);
                    let thinking = thinking_tokens(&text, &deltas[choice as usize]);
                    let completion = Completion {
                        text,
                        finish,
                        tokens: Some(completion_tokens as u64),
                        thinking_tokens: Some(thinking as u64),
                    };
                    usage.completion_tokens += completion_tokens as u64;
                    events(GenerationEvent::Finished {
                        sample: choice,
                        draw: Draw { seed: request.seed, choice },
                        completion,
                    });
                }
                Output::Scheduled { .. } | Output::Finished { .. } => {}
                Output::Failed { message, fault: Fault::Request } => {
                    return Err(GeneratorError::Refused { message });
                }
                Output::Failed { message, fault: Fault::Engine | Fault::Inside } => {
                    return Err(GeneratorError::Unavailable { message });
                }
            }
        }
        events(GenerationEvent::Usage(usage));
        Ok(())
    }

    fn prompt(&self, request: &GenerationRequest) -> Result<Prompt, String> {
        if let Some(prompts) = &self.augmented {
            return augmented_prompt(prompts, request);
        }
        let text = self.rendered(request)?;
        let ids = self.tokenizer.encode(&text, self.template.is_none());
        let ids = ids.map_err(|error| format!("the prompt cannot be tokenized: {error}"))?;
        Ok(Prompt { ids, soft_prefix: None, opens_reasoning: opens_reasoning(&text) })
    }

    fn rendered(&self, request: &GenerationRequest) -> Result<String, String> {
        let opening = request.opening.iter();
        let opening = opening.map(|text| Message { role: "assistant".to_owned(), content: text.clone() });
        let messages: Vec<Message> = request.messages.iter().cloned().chain(opening).collect();
        let Some(template) = &self.template else {
            let parts: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
            return Ok(parts.join("\n\n"));
        };
        let options = RenderOptions {
            messages: &json!(messages),
            tools: None,
            add_generation_prompt: request.opening.is_none(),
            continue_final_message: request.opening.is_some(),
            kwargs: &Map::new(),
        };
        template.render(&options).map_err(|error| error.to_string())
    }

    async fn submit(
        &self,
        request: &GenerationRequest,
        prompt: Prompt,
    ) -> Result<OutputStream, GeneratorError> {
        let options = OutputOptions { n: request.n, ..OutputOptions::default() };
        let events = self.hand_in(&self.engine_request(request, prompt)).await?;
        Ok(OutputStream::new(events, self.tokenizer.clone(), options))
    }

    /// Hand a request to the engine, waiting while its queue is full.
    pub(super) async fn hand_in(&self, request: &Request) -> Result<EventStream, GeneratorError> {
        loop {
            match self.handle.generate(request.clone()) {
                Ok(events) => return Ok(events),
                Err(EngineError::QueueFull { .. }) => tokio::time::sleep(QUEUE_RETRY).await,
                Err(error @ (EngineError::Draining | EngineError::Stopped { .. })) => {
                    return Err(GeneratorError::Unavailable { message: error.to_string() });
                }
                Err(error) => return Err(GeneratorError::Refused { message: error.to_string() }),
            }
        }
    }

    fn engine_request(&self, request: &GenerationRequest, prompt: Prompt) -> Request {
        let sampling = &request.sampling;
        // A limit above the context's rest means "to the end of the context".
        let room = self.handle.info().max_model_len.saturating_sub(prompt.tokens()).max(1);
        Request {
            id: request.id.clone(),
            prompt: prompt.ids,
            soft_prefix: prompt.soft_prefix,
            sampling: SamplingParams {
                n: request.n,
                temperature: sampling.temperature,
                top_p: sampling.top_p,
                top_k: sampling.top_k,
                min_p: sampling.min_p,
                max_tokens: sampling.max_tokens.min(room),
                seed: request.seed,
                ..SamplingParams::default()
            },
            adapter: self.adapter.clone(),
            guidance: None,
            cache_salt: None,
            priority: 0,
        }
    }
}

/// The language model reads the last user message through the model's own template, the encoder as it stands.
/// Tokens of the deltas that begin before the answer, where there is a trace. Of each delta: where it begins, and its tokens.
fn thinking_tokens(text: &str, deltas: &[(usize, usize)]) -> usize {
    let parts = split(text);
    let is_thinking = |at: usize| parts.trace.is_some() && at < parts.answer.start;
    deltas.iter().filter(|(at, _)| is_thinking(*at)).map(|(_, tokens)| tokens).sum()
}

fn augmented_prompt(prompts: &AugmentedPrompts, request: &GenerationRequest) -> Result<Prompt, String> {
    let question = request.messages.iter().rev().find(|message| message.role == "user");
    let question = question.ok_or("a MindMerger model answers a message of the role `user`")?;
    let language = request.language.map(Language::code);
    let opening = request.opening.as_deref().unwrap_or_default();
    let AugmentedPrompt { ids, encoder_ids } =
        prompts.read(&question.content, language, opening).map_err(|error| error.to_string())?;
    let opens_reasoning = opens_reasoning(&prompts.text(&question.content));
    Ok(Prompt { ids, soft_prefix: Some(SoftPrefix::Text { encoder_ids }), opens_reasoning })
}

fn finish(reason: FinishReason) -> Result<Finish, GeneratorError> {
    match reason {
        FinishReason::EndOfSequence(_) | FinishReason::StopToken(_) | FinishReason::StopString => {
            Ok(Finish::Stop)
        }
        FinishReason::Length => Ok(Finish::Length),
        FinishReason::Cancelled => {
            Err(GeneratorError::Unavailable { message: "the engine cancelled the request".to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_the_trace_are_those_before_the_answer() {
        let check = |pieces: &[(&str, usize)], expected: usize| {
            let mut text = String::new();
            let mut deltas = Vec::new();
            for (piece, tokens) in pieces {
                deltas.push((text.len(), *tokens));
                text.push_str(piece);
            }
            assert_eq!(thinking_tokens(&text, &deltas), expected, "{text}");
        };
        check(&[("<think>", 1), ("Twice ", 2), ("nine.", 2), ("</think>", 1), ("\n\n", 1), ("18", 1)], 6);
        check(&[("The answer", 2), (" is 18", 2)], 0);
        // Never closed: all of it.
        check(&[("<think>", 1), ("Twice nine", 3)], 4);
        check(&[], 0);
    }
}
