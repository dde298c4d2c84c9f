//! The engine's own thread: schedule, forward, sample, update, for as long as there is work.
//!
//! A step that fails, or panics, costs the requests that were in it (or all, if the scheduler itself panicked);
//! the thread goes on. A client that is gone is noticed at the start of the next step. The heartbeat is written
//! once a loop, busy or idle, and once a layer, so a watchdog must allow for the longest layer.

mod hold;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::model::Decoder;
use crate::ops::Workers;

use super::active::{ActiveRequest, Arrival, EngineFacts};
use super::block_pool::BLOCK_SIZE;
use super::config::EngineConfig;
use super::handle::{Command, EngineError, Shared};
use super::request::{Fault, FinishReason, TokenLogprobs};
use super::runner::{Adapters, Logits};
use super::sampler::SampleError;
use super::scheduler::{Progress, Scheduled, Scheduler, Step};
use super::soft_encoder::SoftEncoder;
use super::step_sampling::{StepSample, sample_step};
use hold::Hold;

/// How often an idle thread shows that it lives.
const IDLE_HEARTBEAT: Duration = Duration::from_millis(500);

/// What computes a step: the decoder over the KV cache, or a script in tests.
pub trait StepModel {
    /// Calls `beat` now and then: a step of a large model takes minutes on small hardware.
    ///
    /// # Errors
    /// Whatever makes the whole step worthless.
    fn forward(&mut self, step: &Step, adapters: &Adapters, beat: &dyn Fn()) -> candle_core::Result<Logits>;

    /// `None` while they are lent away; then `forward` is not called.
    fn weights(&self) -> Option<Arc<Decoder>>;

    /// # Errors
    /// `OtherModel`, with nothing changed.
    fn swap_weights(&mut self, weights: Option<Arc<Decoder>>) -> Result<(), EngineError>;
}

pub struct Worker<M> {
    model: M,
    /// Of a MindMerger model.
    encoder: Option<SoftEncoder>,
    scheduler: Scheduler,
    config: EngineConfig,
    requests: BTreeMap<u64, ActiveRequest>,
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    workers: Arc<Workers>,
    /// Which KV blocks were ever written; their number is in the statistics.
    touched: Vec<bool>,
    /// Who waits for the last request to end.
    drains: Vec<oneshot::Sender<()>>,
    hold: Hold,
}

impl<M: StepModel> Worker<M> {
    pub fn new(
        model: M,
        encoder: Option<SoftEncoder>,
        scheduler: Scheduler,
        config: EngineConfig,
        shared: Arc<Shared>,
        commands: Receiver<Command>,
        workers: Arc<Workers>,
    ) -> Self {
        let (requests, drains) = (BTreeMap::new(), Vec::new());
        let (touched, hold) = (vec![false; config.num_blocks], Hold::default());
        Self { model, encoder, scheduler, config, requests, shared, commands, workers, touched, drains, hold }
    }

    /// The thread's life. Returns when drained, or when nobody can send commands any more.
    pub fn run(mut self) {
        while self.receive() {
            self.drop_unwanted();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.step())) {
                self.start_over(&format!("the engine failed: {}", panic_text(&*panic)));
            }
            self.audit();
            self.report();
        }
    }

    fn step(&mut self) {
        let mut step = self.scheduler.schedule();
        self.note_scheduled(&step);
        self.encode(&mut step);
        self.note_touched(&step);
        let started = Instant::now();
        match self.compute(&step) {
            Ok(samples) => {
                self.scheduler.learn_seconds(&step, started.elapsed().as_secs_f32());
                let (tokens, logprobs) = self.accept(&step, samples);
                let progress = self.scheduler.update(&step, &tokens);
                self.emit(progress, logprobs);
            }
            Err(message) => self.fail_step(&step, &message),
        }
    }

    /// Computes the soft prefixes that the step reads. Requests whose texts cannot be encoded fail, and leave the step.
    fn encode(&mut self, step: &mut Step) {
        let Some(encoder) = &self.encoder else { return };
        for (ticket, message) in encoder.fill(step, &|| self.shared.beat()) {
            self.fail(ticket, &message, Fault::Inside);
            step.scheduled.retain(|scheduled| scheduled.key.ticket != ticket);
        }
    }

    /// Forward and sample.
    fn compute(&mut self, step: &Step) -> Result<Vec<Result<StepSample, SampleError>>, String> {
        let adapters = self.adapters(step);
        let computed = catch_unwind(AssertUnwindSafe(|| {
            let logits = self.model.forward(step, &adapters, &|| self.shared.beat())?;
            sample_step(step, &logits, &self.scheduler, &self.requests, &self.workers)
        }));
        match computed {
            Ok(Ok(samples)) => Ok(samples),
            Ok(Err(error)) => Err(format!("the model failed: {error}")),
            Err(panic) => Err(format!("the model failed: {}", panic_text(&*panic))),
        }
    }

    fn adapters(&self, step: &Step) -> Adapters {
        let tickets = step.scheduled.iter().map(|scheduled| scheduled.key.ticket);
        tickets.filter_map(|ticket| Some((ticket, self.requests.get(&ticket)?.adapter.clone()?))).collect()
    }

    /// Sorts out what was sampled: requests whose sampling failed are removed, prompt logprobs and `Scheduled`
    /// events filed; the tokens go on to the scheduler and their logprobs wait for `emit`.
    fn accept(
        &mut self,
        step: &Step,
        samples: Vec<Result<StepSample, SampleError>>,
    ) -> (Vec<Vec<u32>>, Logprobs) {
        let mut logprobs = Logprobs::new();
        let mut tokens = Vec::with_capacity(samples.len());
        for (scheduled, sample) in step.scheduled.iter().zip(samples) {
            let ticket = scheduled.key.ticket;
            let sample = sample.unwrap_or_else(|error| {
                self.fail(ticket, &error.to_string(), error.fault());
                StepSample::default()
            });
            if let Some(request) = self.requests.get_mut(&ticket) {
                if scheduled.prompt_logprobs {
                    request.extend_prompt_logprobs(scheduled.start, sample.prompt_logprobs);
                }
                let sequence =
                    self.scheduler.sequence(scheduled.key).filter(|_| !scheduled.choices.is_empty());
                if sequence.is_some_and(|sequence| request.announce(sequence.num_cached)) {
                    let prompt_tokens = sequence.map_or(0, |sequence| sequence.prompt_len);
                    self.shared.stats.prompt_tokens.fetch_add(prompt_tokens as u64, Relaxed);
                }
            }
            tokens.push(sample.tokens.iter().map(|sampled| sampled.token).collect());
            self.note_drafts(scheduled, sample.tokens.len());
            // The tokens of drafts follow a single choice's own.
            let choices = scheduled.choices.iter().chain(scheduled.choices.last().into_iter().cycle());
            for (&choice, sampled) in choices.zip(sample.tokens) {
                if let Some(of_token) = sampled.logprobs {
                    logprobs.entry((ticket, choice)).or_default().push_back(of_token);
                }
            }
        }
        (tokens, logprobs)
    }

    fn emit(&mut self, progress: Vec<Progress>, mut logprobs: Logprobs) {
        self.shared.stats.generation_tokens.fetch_add(progress.len() as u64, Relaxed);
        let weight_version = self.shared.stats.weight_version.load(Relaxed);
        let mut touched = BTreeSet::new();
        for Progress { ticket, choice, token, finished } in progress {
            let Some(request) = self.requests.get_mut(&ticket) else { continue };
            let of_token = logprobs.get_mut(&(ticket, choice)).and_then(VecDeque::pop_front);
            request.push_token(choice, token, of_token, weight_version);
            if let Some(reason) = finished {
                request.push_finished(choice, reason);
            }
            touched.insert(ticket);
        }
        for ticket in touched {
            self.flush(ticket);
        }
    }

    /// Takes in commands; with nothing to do, waits for them. `false` ends the thread.
    fn receive(&mut self) -> bool {
        loop {
            self.shared.beat();
            self.close_if_idle();
            let busy = !self.scheduler.is_idle() && !self.hold.stands_still();
            let command = match self.commands.try_recv() {
                Ok(command) => command,
                Err(_) if busy => return true,
                Err(_) if !self.drains.is_empty() => return false,
                Err(_) => match self.commands.recv_timeout(IDLE_HEARTBEAT) {
                    Ok(command) => command,
                    Err(RecvTimeoutError::Timeout) => {
                        // Clients of requests that stand still hang up too.
                        self.drop_unwanted();
                        self.report();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return false,
                },
            };
            self.obey(command);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Generate(arrival) => self.arrive(*arrival),
            Command::FinishChoice { ticket, choice } => self.finish_choice(ticket, choice),
            Command::ResetPrefixCache { done } => {
                // Behind the answer nobody holds what clients brought along that are gone by now.
                self.drop_unwanted();
                self.scheduler.reset_prefix_cache();
                // The asker may have stopped waiting.
                let _ = done.send(());
            }
            Command::FailAll { message } => self.fail_all(&message, Fault::Engine),
            Command::Weights { done } => drop(done.send(self.model.weights())),
            Command::SwapWeights { weights, done } => drop(done.send(self.swap_weights(weights))),
            Command::Pause { mode, done } => self.pause(mode, done),
            Command::Resume { done } => {
                self.resume();
                let _ = done.send(());
            }
            Command::BeginUpdate { done } => drop(done.send(self.begin_update())),
            Command::EndUpdate => self.end_update(),
            Command::Drain { done } => {
                self.let_go();
                self.drains.push(done);
            }
        }
    }

    fn add(&mut self, arrival: Arrival) {
        let ticket = arrival.ticket;
        let facts = EngineFacts {
            eos_token_ids: &self.config.eos_token_ids,
            max_model_len: self.config.max_model_len,
            weight_version: self.shared.stats.weight_version.load(Relaxed),
        };
        let (request, group) = ActiveRequest::new(arrival, &facts);
        self.requests.insert(ticket, request);
        self.scheduler.add(group);
    }

    fn finish_choice(&mut self, ticket: u64, choice: u32) {
        let Some(request) = self.requests.get_mut(&ticket) else { return };
        if self.scheduler.finish_choice(request.key(choice)) {
            request.push_finished(choice, FinishReason::Cancelled);
            self.flush(ticket);
            self.report();
        }
    }

    /// Requests whose clients are gone.
    fn drop_unwanted(&mut self) {
        self.drop_unwanted_arrivals();
        let gone =
            self.requests.iter().filter(|(_, request)| !request.is_wanted()).map(|(ticket, _)| *ticket);
        for ticket in gone.collect::<Vec<_>>() {
            self.scheduler.remove(ticket);
            self.forget(ticket);
        }
    }

    fn fail(&mut self, ticket: u64, message: &str, fault: Fault) {
        self.scheduler.remove(ticket);
        if let Some(request) = self.forget(ticket) {
            request.fail(message, fault);
        }
    }

    fn fail_step(&mut self, step: &Step, message: &str) {
        tracing::error!(message, sequences = step.scheduled.len(), "a step failed");
        for scheduled in &step.scheduled {
            self.fail(scheduled.key.ticket, message, Fault::Inside);
        }
    }

    /// After a panic outside the model nothing the scheduler holds can be trusted.
    fn start_over(&mut self, message: &str) {
        tracing::error!(message, "the engine starts over");
        self.scheduler = Scheduler::new(self.config.scheduler());
        self.fail_all(message, Fault::Inside);
    }

    fn fail_all(&mut self, message: &str, fault: Fault) {
        for ticket in self.requests.keys().copied().collect::<Vec<_>>() {
            self.fail(ticket, message, fault);
        }
    }

    /// With nothing to do, every block must be free.
    fn audit(&mut self) {
        if self.scheduler.is_idle()
            && let Err(problem) = self.scheduler.check_integrity()
        {
            self.start_over(&format!("the engine lost count of its KV blocks: {problem}"));
        }
    }

    /// Sends a request's events and lets it go if it is done.
    fn flush(&mut self, ticket: u64) {
        let Some(request) = self.requests.get_mut(&ticket) else { return };
        request.flush();
        if request.is_finished() {
            self.forget(ticket);
        }
    }

    fn forget(&mut self, ticket: u64) -> Option<ActiveRequest> {
        let request = self.requests.remove(&ticket)?;
        let stats = &self.shared.stats;
        let gauge = if request.queued.is_some() { &stats.requests_running } else { &stats.requests_waiting };
        gauge.fetch_sub(1, Relaxed);
        Some(request)
    }

    /// Marks the blocks this step writes.
    fn note_touched(&mut self, step: &Step) {
        let written = step.scheduled.iter().flat_map(|scheduled| {
            let end = (scheduled.start + scheduled.ids.len()).div_ceil(BLOCK_SIZE);
            scheduled.block_table.iter().take(end).skip(scheduled.start / BLOCK_SIZE).copied()
        });
        let copied = step.copies.iter().map(|copy| copy.to);
        let mut fresh = 0;
        for block in written.chain(copied) {
            if let Some(touched) = self.touched.get_mut(block as usize).filter(|touched| !**touched) {
                *touched = true;
                fresh += 1;
            }
        }
        self.shared.stats.kv_blocks_touched.fetch_add(fresh, Relaxed);
    }

    /// `sampled` counts the sequence's own token and those that right drafts gave.
    fn note_drafts(&self, scheduled: &Scheduled, sampled: usize) {
        if scheduled.drafts > 0 {
            let accepted = sampled.saturating_sub(1);
            self.shared.stats.draft_tokens.fetch_add(scheduled.drafts as u64, Relaxed);
            self.shared.stats.accepted_draft_tokens.fetch_add(accepted as u64, Relaxed);
        }
    }

    fn note_scheduled(&mut self, step: &Step) {
        let stats = &self.shared.stats;
        for scheduled in &step.scheduled {
            let first = self.requests.get_mut(&scheduled.key.ticket).is_some_and(ActiveRequest::start);
            if first {
                stats.requests_waiting.fetch_sub(1, Relaxed);
                stats.requests_running.fetch_add(1, Relaxed);
            }
        }
        stats.steps.fetch_add(1, Relaxed);
        stats.preemptions.fetch_add(step.preempted as u64, Relaxed);
    }

    fn report(&self) {
        let stats = &self.shared.stats;
        let cache = self.scheduler.cache_counters();
        stats.kv_blocks_in_use.store(self.scheduler.blocks_in_use(), Relaxed);
        stats.prefix_cache_queries.store(cache.queries, Relaxed);
        stats.prefix_cache_hits.store(cache.hits, Relaxed);
    }
}

/// However the thread ends, it says so, and nobody waits for it in vain.
impl<M> Drop for Worker<M> {
    fn drop(&mut self) {
        let reason = if std::thread::panicking() { "its thread panicked" } else { "it was shut down" };
        // Set by nobody else; a second value would be as true.
        let _ = self.shared.stopped.set(reason.to_owned());
        let message = format!("the engine has stopped: {reason}");
        for (_, request) in std::mem::take(&mut self.requests) {
            request.fail(&message, Fault::Engine);
        }
        for done in self.drains.drain(..) {
            let _ = done.send(());
        }
    }
}

/// Logprobs of the step's tokens by (ticket, choice), in the tokens' order; empty where nobody asked for them.
type Logprobs = HashMap<(u64, u32), VecDeque<TokenLogprobs>>;

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
