//! A request between its arrival at the engine thread and its last event: parameters, timing, and the events of
//! the step at hand.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::model::Adapter;

use super::guidance::ChoiceGuidance;
use super::prefix_cache::BlockKey;
use super::request::{Event, Fault, FinishReason, Request, SamplingParams, TokenLogprobs};
use super::scheduler::NewGroup;
use super::sequence::{SequenceKey, StopRules};
use super::soft_prefix::{SoftKey, SoftRows};

pub struct ActiveRequest {
    pub sampling: SamplingParams,
    /// One a choice, if the request has any. A step samples a choice in one place, so that no lock is ever waited for.
    pub guidance: Vec<Mutex<ChoiceGuidance>>,
    /// What the model is answered with beside its own weights.
    pub adapter: Option<Arc<Adapter>>,
    /// The model's end-of-sequence tokens; empty when the request ignores them.
    pub eos_token_ids: Vec<u32>,
    /// Set when the request is first scheduled: how long it had waited.
    pub queued: Option<Duration>,
    /// One a prompt token so far; starts again if the prompt is preempted half-way.
    pub prompt_logprobs: Vec<Option<TokenLogprobs>>,
    key: SequenceKey,
    cache_name: CacheName,
    queued_at: Instant,
    announced: bool,
    unfinished: u32,
    events: UnboundedSender<Vec<Event>>,
    outbox: Vec<Event>,
}

impl ActiveRequest {
    /// Splits what arrived into what is kept here and what the scheduler needs.
    pub fn new(arrival: Arrival, engine: &EngineFacts<'_>) -> (Self, NewGroup) {
        let Arrival { request, events, queued_at, ticket } = arrival;
        let Request { prompt, soft_prefix, sampling, guidance, adapter, cache_salt, priority, .. } = request;
        let eos_token_ids = if sampling.ignore_eos { Vec::new() } else { engine.eos_token_ids.to_vec() };
        let soft = soft_prefix.map(|prefix| Arc::new(SoftRows::new(prefix, engine.weight_version)));
        let cache_name = CacheName {
            salt: cache_salt,
            adapter: adapter.as_ref().map(|adapter| adapter.version),
            soft: soft.as_ref().map(|soft| soft.key),
        };
        let group = NewGroup {
            ticket,
            priority,
            prompt: match &soft {
                Some(soft) => soft.laid_into(prompt),
                None => prompt,
            },
            n: sampling.n,
            rules: StopRules {
                eos_token_ids: eos_token_ids.clone(),
                stop_token_ids: sampling.stop_token_ids.clone(),
                max_tokens: sampling.max_tokens,
                max_model_len: engine.max_model_len,
            },
            prompt_logprobs: sampling.prompt_logprobs.is_some(),
            cache_root: cache_name.root(engine.weight_version),
            soft,
        };
        let active = Self {
            key: SequenceKey { priority, ticket, choice: 0 },
            cache_name,
            unfinished: sampling.n,
            guidance: guidance.map_or_else(Vec::new, |rules| {
                let of_choice = |_| Mutex::new(ChoiceGuidance::new(Arc::clone(&rules)));
                (0..sampling.n).map(of_choice).collect()
            }),
            sampling,
            adapter: adapter.map(|adapter| adapter.weights),
            eos_token_ids,
            queued: None,
            prompt_logprobs: Vec::new(),
            queued_at,
            announced: false,
            events,
            outbox: Vec::new(),
        };
        (active, group)
    }

    pub fn key(&self, choice: u32) -> SequenceKey {
        SequenceKey { choice, ..self.key }
    }

    /// Where the names of its blocks begin under other weights.
    pub fn cache_root(&self, weight_version: u64) -> BlockKey {
        self.cache_name.root(weight_version)
    }

    /// `true` the first time.
    pub fn start(&mut self) -> bool {
        let first = self.queued.is_none();
        self.queued.get_or_insert_with(|| self.queued_at.elapsed());
        first
    }

    /// Whether the client is still there.
    pub fn is_wanted(&self) -> bool {
        !self.events.is_closed()
    }

    /// Adds the logprobs of a chunk of the prompt. `start` is the position of its first token.
    pub fn extend_prompt_logprobs(&mut self, start: usize, rows: Vec<TokenLogprobs>) {
        if start == 0 {
            // Nothing predicts the first token.
            self.prompt_logprobs = vec![None];
        }
        self.prompt_logprobs.extend(rows.into_iter().map(Some));
    }

    /// The prompt is computed; `true` the first time.
    pub fn announce(&mut self, cached_tokens: usize) -> bool {
        if std::mem::replace(&mut self.announced, true) {
            return false;
        }
        let prompt_logprobs = std::mem::take(&mut self.prompt_logprobs);
        let queued = self.queued.unwrap_or_default();
        self.outbox.push(Event::Scheduled { queued, cached_tokens, prompt_logprobs });
        true
    }

    pub fn push_token(
        &mut self,
        choice: u32,
        token: u32,
        logprobs: Option<TokenLogprobs>,
        weight_version: u64,
    ) {
        self.outbox.push(Event::Token { choice, token, logprobs, weight_version });
    }

    pub fn push_finished(&mut self, choice: u32, reason: FinishReason) {
        self.outbox.push(Event::Finished { choice, reason });
        self.unfinished -= 1;
    }

    pub fn is_finished(&self) -> bool {
        self.unfinished == 0
    }

    /// Sends the step's events. A client that is gone is noticed before the next step.
    pub fn flush(&mut self) {
        if !self.outbox.is_empty() {
            let _ = self.events.send(std::mem::take(&mut self.outbox));
        }
    }

    pub fn fail(mut self, message: &str, fault: Fault) {
        self.outbox.push(Event::Failed { message: message.to_owned(), fault });
        self.flush();
    }
}

/// What the names of a request's blocks depend on, beside its tokens and the version of the weights.
struct CacheName {
    salt: Option<String>,
    /// The version of its adapter.
    adapter: Option<u64>,
    soft: Option<SoftKey>,
}

impl CacheName {
    fn root(&self, weight_version: u64) -> BlockKey {
        let root = BlockKey::root(weight_version, self.salt.as_deref());
        let root = self.adapter.map_or(root, |version| root.adapted(version));
        self.soft.map_or(root, |soft| root.beside(&soft.0))
    }
}

/// A request as it comes through the door.
pub struct Arrival {
    pub request: Request,
    pub events: UnboundedSender<Vec<Event>>,
    pub queued_at: Instant,
    pub ticket: u64,
}

pub struct EngineFacts<'a> {
    pub eos_token_ids: &'a [u32],
    pub max_model_len: usize,
    pub weight_version: u64,
}
