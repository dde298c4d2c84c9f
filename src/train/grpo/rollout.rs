//! Completions sampled by an engine that holds the weights that are trained: one copy, in one process.
//!
//! The engine and the trainer take turns. While completions are sampled the engine holds the policy's decoder and adapter; before
//! an update it has let go of both, so that the update finds nobody else's hand on them. Where they work at once, the engine is given
//! a copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::super::{Policy, SamplerWeights, TrainError};
use super::words;
use crate::engine::{
    EngineHandle, Event, FinishReason, LogprobsMode, Request, RequestAdapter, SamplingParams,
};
use crate::model::Decoder;

/// One sampled completion.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// The token that ended it among them.
    #[serde(with = "words::ids")]
    pub tokens: Vec<u32>,
    /// The sampler's log-probability of each token at its temperature, before truncation.
    #[serde(with = "words::bits")]
    pub logprobs: Vec<f32>,
    /// The share of the distribution that truncation kept at each token: `logprobs` less its logarithm is what it was drawn with.
    #[serde(with = "words::bits")]
    pub kept: Vec<f32>,
    /// It was cut off by the longest completion allowed.
    pub is_truncated: bool,
}

/// What completions are sampled from.
#[derive(Debug, Clone, Copy)]
pub struct SampledPrompt<'a> {
    pub ids: &'a [u32],
    pub seed: u64,
}

/// Samples what a policy learns from.
pub trait Sampler: Send {
    /// So many completions of each prompt by these weights; `None` if it was stopped. Nobody holds the weights afterwards.
    ///
    /// # Errors
    /// `Sampling`.
    fn sample(
        &mut self,
        weights: SamplerWeights,
        prompts: &[SampledPrompt<'_>],
        group: usize,
        stop: &AtomicBool,
    ) -> Result<Option<Vec<Vec<Rollout>>>, TrainError>;
}

/// An engine on the policy's own decoder.
pub struct EngineSampler {
    handle: EngineHandle,
    sampling: SamplingParams,
    /// Of the adapter: cached prefixes are of one version.
    version: u64,
}

impl EngineSampler {
    /// `handle` is of an engine on the policy's decoder, of which it lets go if that is what learns. `sampling` says how, but for the
    /// number of choices, the seed and the log-probabilities.
    ///
    /// # Errors
    /// `Sampling`.
    pub fn new(
        handle: EngineHandle,
        sampling: SamplingParams,
        policy: &dyn Policy,
    ) -> Result<Self, TrainError> {
        let sampler = Self { handle, sampling, version: 0 };
        if policy.sampler().adapter.is_none() {
            sampler.lend(None)?;
        }
        Ok(sampler)
    }

    /// The decoder of a policy that has no adapter, for as long as completions are sampled.
    fn lend(&self, decoder: Option<Arc<Decoder>>) -> Result<(), TrainError> {
        let lent = self.handle.blocking_swap_weights(decoder);
        lent.map(drop).map_err(|error| TrainError::Sampling { message: error.to_string() })
    }

    fn request(&self, prompt: &SampledPrompt<'_>, group: usize, adapter: Option<&RequestAdapter>) -> Request {
        let sampling = SamplingParams {
            n: u32::try_from(group).unwrap_or(u32::MAX),
            seed: prompt.seed,
            logprobs: Some(0),
            logprobs_mode: LogprobsMode::Scaled,
            ..self.sampling.clone()
        };
        Request {
            id: String::new(),
            prompt: prompt.ids.to_vec(),
            soft_prefix: None,
            sampling,
            adapter: adapter.cloned(),
            guidance: None,
            cache_salt: None,
            priority: 0,
        }
    }
}

impl Sampler for EngineSampler {
    fn sample(
        &mut self,
        SamplerWeights { decoder, adapter }: SamplerWeights,
        prompts: &[SampledPrompt<'_>],
        group: usize,
        stop: &AtomicBool,
    ) -> Result<Option<Vec<Vec<Rollout>>>, TrainError> {
        let failed = |message: String| TrainError::Sampling { message };
        let is_lent = adapter.is_none();
        if is_lent {
            self.lend(Some(decoder))?;
        } else {
            drop(decoder);
        }
        self.version += 1;
        let adapter = adapter.map(|weights| RequestAdapter { version: self.version, weights });
        let streams: Result<Vec<_>, _> = prompts
            .iter()
            .map(|prompt| self.handle.generate(self.request(prompt, group, adapter.as_ref())))
            .collect();
        drop(adapter);
        let mut groups = Vec::with_capacity(prompts.len());
        let mut is_stopped = false;
        for mut stream in streams.map_err(|error| failed(error.to_string()))? {
            let mut rollouts = vec![Rollout::default(); group];
            while let Some(event) = stream.blocking_next() {
                is_stopped |= stop.load(Ordering::Relaxed);
                if is_stopped {
                    break;
                }
                match event {
                    Event::Scheduled { .. } => {}
                    Event::Token { choice, token, logprobs, .. } => {
                        let Some(rollout) = rollouts.get_mut(choice as usize) else { continue };
                        rollout.tokens.push(token);
                        let (logprob, kept) = logprobs.map_or((f32::NAN, 1.0), |found| {
                            (found.chosen.logprob, found.kept_mass.unwrap_or(1.0))
                        });
                        rollout.logprobs.push(logprob);
                        rollout.kept.push(kept);
                    }
                    Event::Finished { choice, reason } => {
                        if let Some(rollout) = rollouts.get_mut(choice as usize) {
                            rollout.is_truncated = reason == FinishReason::Length;
                        }
                    }
                    Event::Failed { message, .. } => return Err(failed(message)),
                }
            }
            groups.push(rollouts);
        }
        // What the engine still held it lets go of before it answers these.
        self.handle.blocking_reset_prefix_cache().map_err(|error| failed(error.to_string()))?;
        if is_lent {
            self.lend(None)?;
        }
        Ok((!is_stopped).then_some(groups))
    }
}
