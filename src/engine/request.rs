//! What goes into the engine and what comes out of it: ids in, events out.

use std::sync::Arc;
use std::time::Duration;

use super::guidance::Guidance;
use super::soft_prefix::SoftPrefix;
use crate::model::Adapter;

/// One prompt and how to continue it, `sampling.n` times. The n choices share the prompt's KV blocks.
#[derive(Debug, Clone)]
pub struct Request {
    /// Names the request in logs; need not be unique.
    pub id: String,
    /// Prompt token ids, special tokens included. Empty only where given vectors are the prompt.
    pub prompt: Vec<u32>,
    /// Positions that hold vectors: of a text for the engine's encoder, or given.
    pub soft_prefix: Option<SoftPrefix>,
    pub sampling: SamplingParams,
    /// What holds for its tokens one by one.
    pub guidance: Option<Arc<Guidance>>,
    /// Answered by the model with this beside it.
    pub adapter: Option<RequestAdapter>,
    /// Separates prefix caches of users that must not see each other's timing.
    pub cache_salt: Option<String>,
    /// Lower runs earlier; equal priorities run first come, first served.
    pub priority: i32,
}

/// A LoRA adapter. It lives until the last of its requests has ended.
#[derive(Debug, Clone)]
pub struct RequestAdapter {
    /// Tells it from every other of the engine, also from one of the same name before it: cached prefixes are of one version.
    pub version: u64,
    pub weights: Arc<Adapter>,
}

impl Request {
    /// Positions that the prompt takes of the context, those of the soft prefix among them. They are what usage counts.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt.len() + self.soft_prefix.as_ref().map_or(0, SoftPrefix::positions)
    }
}

/// How to choose tokens. Applied in this order: logit bias, penalties, temperature, top-k, top-p, min-p.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// Number of choices, at least 1.
    pub n: u32,
    /// 0 is greedy.
    pub temperature: f32,
    /// 0 is off.
    pub top_k: u32,
    /// 1.0 is off.
    pub top_p: f32,
    /// 0.0 is off.
    pub min_p: f32,
    /// 1.0 is off; counts prompt and output tokens.
    pub repetition_penalty: f32,
    /// 0.0 is off; counts output tokens.
    pub presence_penalty: f32,
    /// 0.0 is off; counts output tokens.
    pub frequency_penalty: f32,
    pub logit_bias: Vec<(u32, f32)>,
    /// Key of the counter-based generator; the draw depends on (seed, choice, position) alone.
    pub seed: u64,
    /// Upper bound on generated tokens a choice.
    pub max_tokens: usize,
    /// End-of-sequence and stop tokens are suppressed before this many tokens.
    pub min_tokens: usize,
    pub stop_token_ids: Vec<u32>,
    pub ignore_eos: bool,
    /// `Some(k)`: report the chosen token's logprob and the k most likely tokens'.
    pub logprobs: Option<u32>,
    pub logprobs_mode: LogprobsMode,
    /// `Some(k)`: report each prompt token's logprob and the k most likely tokens' (always raw).
    pub prompt_logprobs: Option<u32>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            n: 1,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
            max_tokens: 16,
            min_tokens: 0,
            stop_token_ids: Vec::new(),
            ignore_eos: false,
            logprobs: None,
            logprobs_mode: LogprobsMode::Raw,
            prompt_logprobs: None,
        }
    }
}

/// Which distribution logprobs are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogprobsMode {
    /// log-softmax of the model's logits.
    #[default]
    Raw,
    /// log-softmax after bias, penalties, temperature and truncation: what the token was drawn from.
    Processed,
    /// log-softmax after bias, penalties and temperature, before truncation: what a trainer at this temperature computes. With it comes
    /// how much of it truncation kept.
    Scaled,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenLogprob {
    pub token: u32,
    pub logprob: f32,
    /// 1 is the most likely token.
    pub rank: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    pub chosen: TokenLogprob,
    /// The k most likely tokens, best first; ties go to the lower id.
    pub top: Vec<TokenLogprob>,
    /// Of scaled and processed ones where tokens were truncated: the share of the scaled distribution that was left to draw
    /// from. A processed logprob is the scaled one less its logarithm.
    pub kept_mass: Option<f32>,
}

/// What a request's stream yields, in order: `Scheduled`, tokens of the choices interleaved, one `Finished`
/// a choice. Every sampled token is emitted, the terminating one included. `Failed` ends the stream at any point.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The prompt is computed; the first tokens follow.
    Scheduled {
        /// Time spent waiting in the queue.
        queued: Duration,
        /// Prompt tokens whose KV came from the prefix cache.
        cached_tokens: usize,
        /// One entry a token of `Request::prompt`, the first `None`; empty if not asked for. Positions that hold vectors have none.
        prompt_logprobs: Vec<Option<TokenLogprobs>>,
    },
    Token {
        choice: u32,
        token: u32,
        logprobs: Option<TokenLogprobs>,
        /// Of the weights that it was drawn with.
        weight_version: u64,
    },
    Finished {
        choice: u32,
        reason: FinishReason,
    },
    /// The engine could not go on with this request.
    Failed {
        message: String,
        fault: Fault,
    },
}

/// Who can mend what ended a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client: a grammar too costly, parameters that leave no token. Sent again it fails again.
    Request,
    /// Who runs the server, and its words say how: damaged weights, a shutdown.
    Engine,
    /// As `Engine`, and its words are of the inside: for the log alone.
    Inside,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// An end-of-sequence token of the model.
    EndOfSequence(u32),
    /// One of the request's `stop_token_ids`.
    StopToken(u32),
    /// A stop string matched (decided above the engine, by `OutputStream`).
    StopString,
    /// `max_tokens` or the model's context is used up.
    Length,
    /// The caller went away or cancelled the choice.
    Cancelled,
}
