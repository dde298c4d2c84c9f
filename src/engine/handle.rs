//! The door to an engine: cheap to clone, safe from any thread, the only way in from the layers above.
//!
//! Commands travel over a channel to the engine's own OS thread; events come back over one channel a request,
//! all events of a step in one message.
//! A caller that drops its `EventStream` has cancelled: the engine sees the closed channel and frees the
//! request's blocks within one step.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::mpsc as events;

use crate::model::Decoder;

use super::active::Arrival;
use super::request::{Event, FinishReason, Request};

/// How long an engine that has nothing left to do may take to stop: one step.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the engine did not take a request.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// Try again later; nothing was queued.
    #[error("the queue is full ({waiting} waiting, {limit} allowed): retry later, or raise --max-queue")]
    QueueFull { waiting: usize, limit: usize },
    #[error(
        "the prompt has {prompt_tokens} tokens and max_tokens is {max_tokens}, but the model's context holds \
         {max_model_len}: shorten the prompt or lower max_tokens"
    )]
    ContextExceeded { prompt_tokens: usize, max_tokens: usize, max_model_len: usize },
    #[error(
        "one choice of the request needs {needed} KV blocks of {block_size} tokens and the whole cache has \
         {available}: shorten the prompt, lower max_tokens, or raise --kv-cache-memory"
    )]
    NeverFits { needed: usize, available: usize, block_size: usize },
    /// A value no sampler can work with; `parameter` is the field's wire name.
    #[error("{parameter}: {message}")]
    InvalidParameter { parameter: &'static str, message: String },
    /// Weights for another model than the engine's.
    #[error(
        "the weights are of a model with another config than the engine's, whose KV cache was made for that: load it as a \
         model of its own"
    )]
    OtherModel,
    #[error("the engine is shutting down")]
    Draining,
    #[error("the engine has stopped: {reason}")]
    Stopped { reason: String },
}

/// Facts that do not change while the engine runs.
#[derive(Debug, Clone)]
pub struct EngineInfo {
    pub max_model_len: usize,
    pub vocab_size: usize,
    /// Width of a position's vector.
    pub hidden_size: usize,
    pub block_size: usize,
    pub num_blocks: usize,
    /// The longest text, in tokens, that the encoder of a MindMerger model reads; `None`: there is no encoder.
    pub encoder_tokens_max: Option<usize>,
    /// Requests that may wait at once.
    pub max_waiting: usize,
    /// Choices a request may ask for.
    pub max_n: u32,
    /// Most likely tokens a request may ask for, a token.
    pub max_logprobs: u32,
    /// The model's own end-of-sequence tokens.
    pub eos_token_ids: Vec<u32>,
}

/// Counters and gauges, written by the engine thread and read by /metrics and /health.
#[derive(Debug, Default)]
pub struct EngineStats {
    pub requests_running: AtomicUsize,
    pub requests_waiting: AtomicUsize,
    /// Blocks held by live sequences. Cached blocks that nobody uses do not count.
    pub kv_blocks_in_use: AtomicUsize,
    /// Blocks written at least once: memory the system has handed over, and does not get back before the end.
    pub kv_blocks_touched: AtomicUsize,
    pub prompt_tokens: AtomicU64,
    pub generation_tokens: AtomicU64,
    pub preemptions: AtomicU64,
    /// Tokens guessed by speculation, and how many of them were right.
    pub draft_tokens: AtomicU64,
    pub accepted_draft_tokens: AtomicU64,
    pub prefix_cache_queries: AtomicU64,
    pub prefix_cache_hits: AtomicU64,
    pub steps: AtomicU64,
    /// Milliseconds since the engine's start at which the thread last went round its loop or came to a layer's
    /// attention; the watchdog
    /// compares it with `EngineHandle::uptime_ms`.
    pub heartbeat_ms: AtomicU64,
    pub weight_version: AtomicU64,
    /// Nothing is computed, though there may be work.
    pub paused: AtomicBool,
}

/// What becomes of running and waiting requests while an engine is paused. New ones wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseMode {
    /// They stand still, and go on with their keys and values.
    Keep,
    /// They end as cancelled, with the tokens that they have.
    Abort,
    /// They go on to their end first.
    Wait,
}

/// What the handle asks of the engine thread.
pub(crate) enum Command {
    Generate(Box<Arrival>),
    /// Stop one choice of the request (a stop string matched); the others go on.
    FinishChoice {
        ticket: u64,
        choice: u32,
    },
    ResetPrefixCache {
        done: tokio::sync::oneshot::Sender<()>,
    },
    /// The weights that are computed with, if they are not lent away.
    Weights {
        done: tokio::sync::oneshot::Sender<Option<Arc<Decoder>>>,
    },
    /// Compute with other weights from the next step on. `None`: let go of them, and stand still until others come.
    SwapWeights {
        weights: Option<Arc<Decoder>>,
        done: tokio::sync::oneshot::Sender<Result<u64, EngineError>>,
    },
    Pause {
        mode: PauseMode,
        done: tokio::sync::oneshot::Sender<()>,
    },
    Resume {
        done: tokio::sync::oneshot::Sender<()>,
    },
    /// End everything that runs and waits, and stand still until as many `EndUpdate` have come.
    BeginUpdate {
        done: tokio::sync::oneshot::Sender<bool>,
    },
    EndUpdate,
    /// Fail everything that runs and waits.
    FailAll {
        message: String,
    },
    /// Finish what runs and waits, refuse what is new, then end the thread.
    Drain {
        done: tokio::sync::oneshot::Sender<()>,
    },
}

pub(crate) struct Shared {
    pub info: EngineInfo,
    pub stats: EngineStats,
    pub started: std::time::Instant,
    pub draining: AtomicBool,
    /// Set once, with the reason, when the thread ends.
    pub stopped: std::sync::OnceLock<String>,
    pub next_ticket: AtomicU64,
}

impl Shared {
    /// Shows that the engine thread moves on.
    pub fn beat(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.stats.heartbeat_ms.store(elapsed, Ordering::Relaxed);
    }
}

#[derive(Clone)]
pub struct EngineHandle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) shared: Arc<Shared>,
}

impl EngineHandle {
    /// What can be told of a request without queueing it: values out of range, no room in context or cache.
    ///
    /// # Errors
    /// As [`Self::generate`] would give, but for those about the engine's state.
    pub fn check(&self, request: &Request) -> Result<(), EngineError> {
        super::validate::validate(request, &self.shared.info)
    }

    /// Queue a request. Validation that needs only the request and `info` happens here, on the caller's thread.
    ///
    /// # Errors
    /// See [`EngineError`]; after `Ok`, whatever goes wrong comes as `Event::Failed`.
    pub fn generate(&self, request: Request) -> Result<EventStream, EngineError> {
        if let Some(reason) = self.shared.stopped.get() {
            return Err(EngineError::Stopped { reason: reason.clone() });
        }
        if self.is_draining() {
            return Err(EngineError::Draining);
        }
        self.check(&request)?;
        let limit = self.shared.info.max_waiting;
        let waiting = self.shared.stats.requests_waiting.fetch_add(1, Ordering::AcqRel);
        if waiting >= limit {
            self.shared.stats.requests_waiting.fetch_sub(1, Ordering::AcqRel);
            return Err(EngineError::QueueFull { waiting, limit });
        }
        let ticket = self.shared.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = events::unbounded_channel();
        let queued_at = std::time::Instant::now();
        let stream = EventStream::new(receiver, self.commands.clone(), ticket);
        let arrival = Arrival { request, events: sender, computed: stream.computed(), queued_at, ticket };
        let command = Command::Generate(Box::new(arrival));
        self.send(command).inspect_err(|_| {
            self.shared.stats.requests_waiting.fetch_sub(1, Ordering::AcqRel);
        })?;
        Ok(stream)
    }

    #[must_use]
    pub fn info(&self) -> &EngineInfo {
        &self.shared.info
    }

    #[must_use]
    pub fn stats(&self) -> &EngineStats {
        &self.shared.stats
    }

    #[must_use]
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.shared.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Nothing new is taken: the model is being unloaded, or the process ends.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Acquire)
    }

    /// `Some(reason)` once the engine thread has ended.
    #[must_use]
    pub fn stopped(&self) -> Option<&str> {
        self.shared.stopped.get().map(String::as_str)
    }

    /// Forget every cached prefix that no live sequence holds.
    ///
    /// # Errors
    /// `Stopped` if the engine thread has ended.
    pub async fn reset_prefix_cache(&self) -> Result<(), EngineError> {
        self.ask(|done| Command::ResetPrefixCache { done }).await
    }

    /// The weights that are computed with; `None` while they are lent away.
    ///
    /// # Errors
    /// `Stopped` if the engine thread has ended.
    pub async fn weights(&self) -> Result<Option<Arc<Decoder>>, EngineError> {
        self.ask(|done| Command::Weights { done }).await
    }

    /// Computes with other weights of the same model from the next step on, under a new version, which is the result. Requests
    /// that run go on with the keys and values that they have; no later request reads those. With `None` the engine lets go
    /// of its weights, so that whoever shares them may change them, and stands still until they, or others, come back.
    ///
    /// # Errors
    /// `OtherModel`, with nothing changed; `Stopped`.
    pub async fn swap_weights(&self, weights: Option<Arc<Decoder>>) -> Result<u64, EngineError> {
        self.ask(|done| Command::SwapWeights { weights, done }).await?
    }

    /// [`Self::swap_weights`] for callers without an async runtime, such as a trainer in this process.
    ///
    /// # Errors
    /// As [`Self::swap_weights`].
    pub fn blocking_swap_weights(&self, weights: Option<Arc<Decoder>>) -> Result<u64, EngineError> {
        let (done, wait) = tokio::sync::oneshot::channel();
        self.send(Command::SwapWeights { weights, done })?;
        wait.blocking_recv().map_err(|_| self.stopped_error())?
    }

    /// Stands still after the step at hand. New requests are taken, and wait.
    ///
    /// # Errors
    /// `Stopped` if the engine thread has ended.
    pub async fn pause(&self, mode: PauseMode) -> Result<(), EngineError> {
        self.ask(|done| Command::Pause { mode, done }).await
    }

    /// Goes on after [`Self::pause`]; does nothing to an engine that runs.
    ///
    /// # Errors
    /// `Stopped` if the engine thread has ended.
    pub async fn resume(&self) -> Result<(), EngineError> {
        self.ask(|done| Command::Resume { done }).await
    }

    /// As [`Self::pause`] with `Abort`, for as long as the result lives: pauses and other updates, which begin and end meanwhile,
    /// change nothing of it, nor it of them.
    ///
    /// # Errors
    /// `Stopped` if the engine thread has ended.
    pub async fn stand_aside(&self) -> Result<StandsAside, EngineError> {
        // It is there before the engine stands still, so that a caller that stops waiting ends it too.
        let mut aside = StandsAside { was_paused: false, commands: self.commands.clone() };
        aside.was_paused = self.ask(|done| Command::BeginUpdate { done }).await?;
        Ok(aside)
    }

    /// Whether nothing is computed: for a pause, or for an update of the weights.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.shared.stats.paused.load(Ordering::Acquire)
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(tokio::sync::oneshot::Sender<T>) -> Command,
    ) -> Result<T, EngineError> {
        let (done, wait) = tokio::sync::oneshot::channel();
        self.send(command(done))?;
        wait.await.map_err(|_| self.stopped_error())
    }

    /// [`Self::reset_prefix_cache`] for callers without an async runtime. What the engine held of requests that have ended it has let
    /// go of when this returns.
    ///
    /// # Errors
    /// `Stopped` if the engine thread has ended.
    pub fn blocking_reset_prefix_cache(&self) -> Result<(), EngineError> {
        let (done, wait) = tokio::sync::oneshot::channel();
        self.send(Command::ResetPrefixCache { done })?;
        wait.blocking_recv().map_err(|_| self.stopped_error())
    }

    /// Refuse new requests, finish the accepted ones, end the thread.
    pub async fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
        let (done, wait) = tokio::sync::oneshot::channel();
        if self.send(Command::Drain { done }).is_ok() {
            // A closed channel means the thread has ended, which is what was asked for.
            let _ = wait.await;
        }
    }

    /// [`Self::drain`] for callers without an async runtime.
    pub fn blocking_drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
        let (done, wait) = tokio::sync::oneshot::channel();
        if self.send(Command::Drain { done }).is_ok() {
            // A closed channel means the thread has ended, which is what was asked for.
            let _ = wait.blocking_recv();
        }
    }

    /// [`Self::drain`], but what still runs after `timeout` fails. `false`: the engine did not stop even then, for
    /// it is stuck in a step.
    pub async fn drain_within(&self, timeout: Duration) -> bool {
        if tokio::time::timeout(timeout, self.drain()).await.is_ok() {
            return true;
        }
        let message = format!("the model was unloaded; its requests had {} s to finish", timeout.as_secs());
        // A closed channel means the engine has stopped in the meantime.
        let _ = self.send(Command::FailAll { message });
        tokio::time::timeout(STOP_TIMEOUT, self.drain()).await.is_ok()
    }

    fn send(&self, command: Command) -> Result<(), EngineError> {
        self.commands.send(command).map_err(|_| self.stopped_error())
    }

    fn stopped_error(&self) -> EngineError {
        let reason = self.shared.stopped.get().cloned().unwrap_or_else(|| "its thread ended".to_owned());
        EngineError::Stopped { reason }
    }
}

/// An engine that stands still for an update of its weights, until this is dropped.
pub struct StandsAside {
    /// It stood still before, for a pause, and will afterwards unless that ends meanwhile.
    pub was_paused: bool,
    commands: mpsc::Sender<Command>,
}

impl Drop for StandsAside {
    fn drop(&mut self) {
        // An engine that has stopped has nothing to go on with.
        let _ = self.commands.send(Command::EndUpdate);
    }
}

/// The events of one request. Dropping it cancels whatever still runs.
pub struct EventStream {
    receiver: events::UnboundedReceiver<Vec<Event>>,
    /// The rest of the step received last.
    received: VecDeque<Event>,
    commands: mpsc::Sender<Command>,
    ticket: u64,
    computed: Arc<AtomicU64>,
}

impl EventStream {
    pub(super) fn new(
        receiver: events::UnboundedReceiver<Vec<Event>>,
        commands: mpsc::Sender<Command>,
        ticket: u64,
    ) -> Self {
        Self { receiver, received: VecDeque::new(), commands, ticket, computed: Arc::default() }
    }

    /// The next event; `None` after every choice has finished. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        while self.received.is_empty() {
            self.received = self.receiver.recv().await?.into();
        }
        self.received.pop_front()
    }

    /// `next` for callers without an async runtime.
    pub fn blocking_next(&mut self) -> Option<Event> {
        while self.received.is_empty() {
            self.received = self.receiver.blocking_recv()?.into();
        }
        self.received.pop_front()
    }

    /// Counts the tokens that were computed for the request, those too that nobody took from here.
    #[must_use]
    pub fn computed(&self) -> Arc<AtomicU64> {
        self.computed.clone()
    }

    /// Stop one choice; the engine answers with its `Finished { reason: Cancelled }` unless it was done already.
    pub fn finish_choice(&self, choice: u32) {
        // A closed channel means the engine has stopped, and with it the choice.
        let _ = self.commands.send(Command::FinishChoice { ticket: self.ticket, choice });
    }

    /// After a `Token` event of `choice`: how the choice ended with that token, if it did. The engine sends both
    /// in one message, so nothing is waited for.
    pub(super) fn peek_finish(&self, choice: u32) -> Option<FinishReason> {
        match self.received.front() {
            Some(&Event::Finished { choice: finished, reason }) if finished == choice => Some(reason),
            _ => None,
        }
    }
}
