//! The engine on tiny models with real kernels: batch invariance bit by bit, and its life cycle.

mod adapters;
mod invariance;
mod life_cycle;
mod soft_prefix;
mod speculation;
mod weights;

use std::sync::Arc;

use xenoglot::engine::{
    EngineConfig, EngineHandle, Event, EventStream, FinishReason, Request, SamplingParams, TokenLogprobs,
    start,
};
use xenoglot::model::ComputeDtype;
use xenoglot::ops::{KvDtype, Workers};

use crate::model::logits::{fixture, load_on};

pub fn engine(model: &str, dtype: ComputeDtype, config: EngineConfig) -> EngineHandle {
    engine_with(model, dtype, config, Workers::new(2))
}

/// An engine whose kernels, all of them, run on these threads and their instruction set.
pub fn engine_on(model: &str, dtype: ComputeDtype, workers: Arc<Workers>) -> EngineHandle {
    engine_with(model, dtype, EngineConfig::default(), workers)
}

fn engine_with(
    model: &str,
    dtype: ComputeDtype,
    config: EngineConfig,
    workers: Arc<Workers>,
) -> EngineHandle {
    let kv_dtype = if dtype == ComputeDtype::F32 { KvDtype::F32 } else { KvDtype::Bf16 };
    let config = EngineConfig { kv_dtype, max_model_len: 128, ..config };
    let decoder = load_on(&fixture(model), dtype, |_| (), &workers);
    start(decoder, config, workers).expect("the engine starts")
}

pub fn request(prompt: Vec<u32>, sampling: SamplingParams) -> Request {
    Request {
        id: "test".to_owned(),
        prompt,
        soft_prefix: None,
        sampling,
        adapter: None,
        guidance: None,
        cache_salt: None,
        priority: 0,
    }
}

/// Ids below 90, which every fixture has, the same for the same seed.
pub fn prompt(seed: u32, tokens: u32) -> Vec<u32> {
    (0..tokens).map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(seed * 977) >> 5) % 90).collect()
}

/// All that a request was told.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Told {
    pub choices: Vec<Choice>,
    pub prompt_logprobs: Vec<Option<Bits>>,
    pub cached_tokens: usize,
    pub failed: Option<String>,
}

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Choice {
    pub tokens: Vec<u32>,
    pub logprobs: Vec<Bits>,
    pub finished: Option<FinishReason>,
}

/// (token, rank, the logprob's bits), of the chosen token and the most likely ones.
pub type Bits = Vec<(u32, u32, u32)>;

pub fn bits(logprobs: &TokenLogprobs) -> Bits {
    let all = std::iter::once(&logprobs.chosen).chain(&logprobs.top);
    all.map(|one| (one.token, one.rank, one.logprob.to_bits())).collect()
}

pub fn read(mut stream: EventStream) -> Told {
    let mut told = Told::default();
    while let Some(event) = stream.blocking_next() {
        match event {
            Event::Scheduled { prompt_logprobs, cached_tokens, .. } => {
                told.prompt_logprobs = prompt_logprobs.iter().map(|of| of.as_ref().map(bits)).collect();
                told.cached_tokens = cached_tokens;
            }
            Event::Token { choice, token, logprobs, .. } => {
                let choice = told.choice(choice);
                choice.tokens.push(token);
                choice.logprobs.extend(logprobs.as_ref().map(bits));
            }
            Event::Finished { choice, reason } => told.choice(choice).finished = Some(reason),
            Event::Failed { message, .. } => told.failed = Some(message),
        }
    }
    told
}

impl Told {
    fn choice(&mut self, choice: u32) -> &mut Choice {
        let at = choice as usize;
        if self.choices.len() <= at {
            self.choices.resize(at + 1, Choice::default());
        }
        &mut self.choices[at]
    }
}
