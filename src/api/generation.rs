//! One HTTP request's prompts in the engine: submitted, merged into one stream of outputs, metered.
//!
//! The first prompt decides whether the request is taken (429 when the queue is full). The others of a long list
//! wait here for room in the queue, so that a list longer than the queue can be served at all; and a list has its
//! share of the queue and no more, so that others are served beside it. Dropping a [`Generation`] cancels what
//! still runs, and charges what was computed of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use tokio::time::{Interval, MissedTickBehavior};

use super::admission::{self, Allowance};
use super::error::ApiError;
use super::metrics::{ABORT, LENGTH, Meter, Metrics, STOP};
use super::request_log::RequestLog;
use crate::engine::output::{Output, OutputOptions, OutputStream};
use crate::engine::{EngineError, Fault, FinishReason, Guidance, Request, SamplingParams, SoftPrefix};
use crate::protocol::Usage;
use crate::registry::ServedModel;

/// How often prompts that found the queue full try again.
const RETRY_EVERY: Duration = Duration::from_millis(20);

/// One request's prompts take at most one place in so many of the queue's.
const QUEUE_SHARE: usize = 4;

const ENGINE_FAILED: &str = "the engine failed on this request; the log has the details under its id";

/// How many tokens a choice may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// What the request said; too long for the context is an error.
    Exactly(usize),
    /// A default, cut to what the context has left.
    UpTo(usize),
}

/// A prompt as the engine reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptIds {
    pub ids: Vec<u32>,
    /// Of a MindMerger model, or of a prompt that came as vectors.
    pub soft_prefix: Option<SoftPrefix>,
}

impl PromptIds {
    pub fn tokens_alone(ids: Vec<u32>) -> Self {
        Self { ids, soft_prefix: None }
    }

    /// Positions that it takes of the context: what usage counts.
    pub fn tokens(&self) -> usize {
        self.ids.len() + self.soft_prefix.as_ref().map_or(0, SoftPrefix::positions)
    }
}

/// What to generate; every prompt is sampled `params.n` times.
pub struct Task {
    pub model: Arc<ServedModel>,
    pub prompts: Vec<PromptIds>,
    pub params: SamplingParams,
    pub length: Length,
    /// What holds for every choice's tokens one by one.
    pub guidance: Option<Arc<Guidance>>,
    pub output: OutputOptions,
    pub cache_salt: Option<String>,
    pub priority: i32,
}

pub struct Generation {
    live: SelectAll<BoxStream<'static, (usize, Output)>>,
    /// Prompts the queue had no room for yet.
    pending: VecDeque<(usize, Request)>,
    /// Prompts that went into the queue and have not come out of it.
    queued: usize,
    retry: Interval,
    model: Arc<ServedModel>,
    output: OutputOptions,
    meters: Vec<Meter>,
    counts: Counts,
    /// Tokens that the engine computed, a counter a prompt that it has.
    computed: Vec<Arc<AtomicU64>>,
    log: Arc<RequestLog>,
    allowance: Allowance,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    prompt: u64,
    cached: u64,
    completion: u64,
}

impl Generation {
    /// # Errors
    /// What the engine says about a prompt. Prompts already taken are cancelled.
    pub fn start(mut task: Task, metrics: &Metrics, log: Arc<RequestLog>) -> Result<Self, ApiError> {
        admission::check_priority(&log, task.priority)?;
        task.cache_salt = admission::cache_salt(&log, task.cache_salt);
        // A second setting fails and changes nothing: a request has one model.
        let _ = log.model.set(task.model.name.clone());
        let counts = Counts {
            prompt: task.prompts.iter().map(|prompt| prompt.tokens() as u64).sum(),
            ..Counts::default()
        };
        log.prompt_tokens.store(counts.prompt, Ordering::Relaxed);
        let (prompts, choices) = (task.prompts.len(), task.params.n);
        let (model, output) = (task.model.clone(), task.output.clone());
        let mut retry = tokio::time::interval(RETRY_EVERY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut generation = Self {
            live: SelectAll::new(),
            pending: requests(task, &log.id).into_iter().enumerate().collect(),
            queued: 0,
            retry,
            model,
            output,
            meters: Vec::new(),
            counts,
            computed: Vec::new(),
            allowance: Allowance::none(&log),
            log,
        };
        // A list is refused before any of it costs a step, not when its turn comes in the middle of a stream.
        for (_, request) in &generation.pending {
            generation.model.handle.check(request)?;
        }
        let sampling = generation.pending.iter().map(|(_, request)| &request.sampling);
        let longest =
            sampling.map(|sampling| sampling.max_tokens as u64 * u64::from(sampling.n)).sum::<u64>();
        generation.allowance.reserve(counts.prompt, longest)?;
        if let Some((index, first)) = generation.pending.pop_front() {
            generation.submit(index, first)?;
        }
        generation.allowance.begin();
        // The request is taken: what stops the rest of a list, `next` meets again and tells in its turn.
        let _ = generation.submit_pending();
        // Only now: a meter dropped with a refused request would count its choices as aborted.
        let meter = || Meter::start(metrics, &generation.model, choices);
        generation.meters = std::iter::repeat_with(meter).take(prompts).collect();
        Ok(generation)
    }

    /// The next output with its prompt's index; `None` when all is done. An error ends the stream.
    pub async fn next(&mut self) -> Option<Result<(usize, Output), ApiError>> {
        loop {
            if self.live.is_empty() && self.pending.is_empty() {
                return None;
            }
            tokio::select! {
                biased;
                _ = self.retry.tick(), if !self.pending.is_empty() => {
                    if let Err(error) = self.submit_pending() {
                        return Some(Err(self.cut_off(error.into())));
                    }
                }
                output = self.live.next(), if !self.live.is_empty() => {
                    // `None` closes the merged stream; prompts may still be pending.
                    let Some((prompt, output)) = output else { continue };
                    self.count(prompt, &output);
                    return Some(match output {
                        Output::Failed { message, fault: Fault::Engine } => {
                            Err(self.cut_off(ApiError::internal(message)))
                        }
                        Output::Failed { message, fault: Fault::Inside } => {
                            Err(self.cut_off(self.inside(&message)))
                        }
                        Output::Failed { message, fault: Fault::Request } => {
                            Err(ApiError::cannot_go_on(message))
                        }
                        output => Ok((prompt, output)),
                    });
                }
            }
        }
    }

    /// Tokens so far.
    pub fn usage(&self) -> Usage {
        Usage::new(self.counts.prompt, self.counts.completion, self.counts.cached)
    }

    fn submit(&mut self, index: usize, request: Request) -> Result<(), EngineError> {
        let events = self.model.handle.generate(request)?;
        self.computed.push(events.computed());
        let outputs = OutputStream::new(events, self.model.tokenizer.clone(), self.output.clone());
        let outputs = futures::stream::unfold(outputs, move |mut outputs| async move {
            let output = outputs.next().await?;
            Some(((index, output), outputs))
        });
        self.live.push(outputs.boxed());
        self.queued += 1;
        Ok(())
    }

    /// What a client is told of a failure whose words are for the log.
    fn inside(&self, cause: &str) -> ApiError {
        tracing::error!(id = self.log.id, model = self.model.name, cause, "the engine failed on a request");
        ApiError::internal(ENGINE_FAILED)
    }

    /// Why a request that was taken is not finished. At the end of the process connections are cut before engines
    /// drain, so an engine that drains beneath a request is a model's that is being unloaded.
    fn cut_off(&self, error: ApiError) -> ApiError {
        if self.model.handle.is_draining() { ApiError::model_unloaded(&self.model.name) } else { error }
    }

    fn submit_pending(&mut self) -> Result<(), EngineError> {
        let share = (self.model.handle.info().max_waiting / QUEUE_SHARE).max(1);
        while self.queued < share
            && let Some((index, request)) = self.pending.pop_front()
        {
            match self.submit(index, request.clone()) {
                Ok(()) => {}
                Err(error) => {
                    self.pending.push_front((index, request));
                    return if matches!(error, EngineError::QueueFull { .. }) { Ok(()) } else { Err(error) };
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, prompt: usize, output: &Output) {
        let meter = &mut self.meters[prompt];
        match output {
            Output::Scheduled { queued, cached_tokens, .. } => {
                self.counts.cached += *cached_tokens as u64;
                meter.scheduled(*queued);
                self.queued = self.queued.saturating_sub(1);
                // The next prompt need not wait for the tick.
                self.retry.reset_immediately();
            }
            Output::Delta { choice, tokens, .. } => {
                self.counts.completion += tokens.len() as u64;
                self.log.completion_tokens.store(self.counts.completion, Ordering::Relaxed);
                meter.tokens(*choice, tokens.len());
            }
            Output::Finished { reason, .. } => meter.finished(finish_reason(*reason)),
            Output::Failed { .. } => {}
        }
    }
}

/// What was computed is used, though nobody read it; a prompt that never came to the engine is not.
impl Drop for Generation {
    fn drop(&mut self) {
        let held_back: usize = self.pending.iter().map(|(_, request)| request.prompt_tokens()).sum();
        self.log.prompt_tokens.fetch_sub(held_back as u64, Ordering::Relaxed);
        // Of choices that all have ended, the engine may have computed more than a stop string let through.
        if !self.live.is_empty() {
            let computed: u64 = self.computed.iter().map(|count| count.load(Ordering::Relaxed)).sum();
            self.log.completion_tokens.fetch_max(computed, Ordering::Relaxed);
        }
    }
}

/// In the API's words.
pub fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::EndOfSequence(_) | FinishReason::StopToken(_) | FinishReason::StopString => STOP,
        FinishReason::Length => LENGTH,
        FinishReason::Cancelled => ABORT,
    }
}

fn requests(task: Task, id: &str) -> Vec<Request> {
    let context = task.model.max_model_len;
    let several = task.prompts.len() > 1;
    let request = |(index, prompt): (usize, PromptIds)| {
        let max_tokens = match task.length {
            Length::Exactly(tokens) => tokens,
            // At least one, so that a prompt that fills the context is refused and not answered with nothing.
            Length::UpTo(tokens) => tokens.min(context.saturating_sub(prompt.tokens())).max(1),
        };
        let sampling = SamplingParams { max_tokens, ..task.params.clone() };
        let id = if several { format!("{id}-{index}") } else { id.to_owned() };
        let PromptIds { ids, soft_prefix } = prompt;
        let (adapter, cache_salt) = (task.model.request_adapter(), task.cache_salt.clone());
        let guidance = task.guidance.clone();
        let priority = task.priority;
        Request { id, prompt: ids, soft_prefix, sampling, guidance, adapter, cache_salt, priority }
    };
    task.prompts.into_iter().enumerate().map(request).collect()
}
