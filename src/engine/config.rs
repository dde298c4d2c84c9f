//! How an engine is set up, and starting it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use crate::model::Decoder;
use crate::model::augmented::Augmented;
use crate::ops::{KvDtype, OpsError, Workers};

use super::block_pool::BLOCK_SIZE;
use super::handle::{EngineHandle, EngineInfo, EngineStats, Shared};
use super::runner::Runner;
use super::scheduler::{Scheduler, SchedulerConfig};
use super::soft_encoder::{self, SoftEncoder};
use super::worker::{StepModel, Worker};

/// Rows a step whose logits are kept for prompt logprobs: 256 rows of 150,000 floats are 150 MB.
pub(super) const MAX_PROMPT_LOGIT_ROWS: usize = 256;

#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Tokens of one choice, prompt and output.
    pub max_model_len: usize,
    /// KV blocks of [`BLOCK_SIZE`] tokens; `memory_plan` chooses it.
    pub num_blocks: usize,
    /// Choices computed in one step.
    pub max_num_seqs: usize,
    /// Tokens computed in one step: large is throughput, small is a steady stream beside long prompts.
    pub max_batch_tokens: usize,
    /// Requests that may wait.
    pub max_waiting: usize,
    pub kv_dtype: KvDtype,
    pub enable_prefix_caching: bool,
    /// Draft tokens by n-gram lookup while few sequences run; changes no token and no logprob.
    pub speculation: bool,
    /// What a drafted row costs, as a share of a step. `None`: what is measured.
    pub draft_row_cost: Option<f32>,
    pub eos_token_ids: Vec<u32>,
    /// Part of every prefix-cache name.
    pub weight_version: u64,
    /// Choices a request may ask for.
    pub max_n: u32,
    /// Most likely tokens a request may ask for, a token.
    pub max_logprobs: u32,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_model_len: 2048,
            num_blocks: 512,
            max_num_seqs: 64,
            max_batch_tokens: 512,
            max_waiting: 1024,
            kv_dtype: KvDtype::F32,
            enable_prefix_caching: true,
            speculation: true,
            draft_row_cost: None,
            eos_token_ids: Vec::new(),
            weight_version: 0,
            max_n: 1024,
            max_logprobs: 20,
        }
    }
}

impl EngineConfig {
    pub(super) fn scheduler(&self) -> SchedulerConfig {
        SchedulerConfig {
            num_blocks: self.num_blocks,
            max_num_seqs: self.max_num_seqs.max(1),
            max_batch_tokens: self.max_batch_tokens.max(self.max_num_seqs),
            max_prompt_logit_rows: MAX_PROMPT_LOGIT_ROWS,
            enable_prefix_caching: self.enable_prefix_caching,
            speculation: self.speculation,
            draft_row_cost: self.draft_row_cost,
        }
    }
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the KV cache could not be made: {0}")]
    KvPool(#[from] OpsError),
    #[error(
        "the mapping gives vectors of {found} features, the language model takes {expected}; take the mapping that was trained with it"
    )]
    Width { found: usize, expected: usize },
    #[error("the engine's thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Allocates the KV cache and starts the engine's thread, which ends when it is drained or when the last handle
/// and stream are gone.
///
/// # Errors
/// See [`StartError`].
pub fn start(
    decoder: impl Into<Arc<Decoder>>,
    config: EngineConfig,
    workers: Arc<Workers>,
) -> Result<EngineHandle, StartError> {
    start_models(decoder.into(), None, config, workers)
}

/// [`start`] for a decoder whose requests may have soft prefixes: `augmented` computes them.
///
/// # Errors
/// See [`StartError`].
pub fn start_augmented(
    decoder: impl Into<Arc<Decoder>>,
    augmented: Augmented,
    config: EngineConfig,
    workers: Arc<Workers>,
) -> Result<EngineHandle, StartError> {
    let decoder = decoder.into();
    let (found, expected) = (augmented.mapping().d_llm(), decoder.config().hidden_size);
    if found != expected {
        return Err(StartError::Width { found, expected });
    }
    start_models(decoder, Some(augmented), config, workers)
}

fn start_models(
    decoder: Arc<Decoder>,
    augmented: Option<Augmented>,
    config: EngineConfig,
    workers: Arc<Workers>,
) -> Result<EngineHandle, StartError> {
    let widths = Widths { vocab: decoder.config().vocab_size, hidden: decoder.config().hidden_size };
    let runner = Runner::new(decoder, &config, &workers)?;
    let encoder = augmented.map(|augmented| SoftEncoder::new(augmented, soft_encoder::CACHE_BYTES));
    start_with(runner, encoder, widths, config, workers)
}

/// Of a model: its logits of a position, and the vector that it computes with.
#[derive(Clone, Copy)]
pub(super) struct Widths {
    pub vocab: usize,
    pub hidden: usize,
}

pub(super) fn start_with(
    model: impl StepModel + Send + 'static,
    encoder: Option<SoftEncoder>,
    widths: Widths,
    config: EngineConfig,
    workers: Arc<Workers>,
) -> Result<EngineHandle, StartError> {
    let scheduler = Scheduler::new(config.scheduler());
    let (commands, received) = mpsc::channel();
    let shared = Arc::new(Shared {
        stats: EngineStats::default(),
        started: Instant::now(),
        draining: AtomicBool::new(false),
        stopped: std::sync::OnceLock::new(),
        next_ticket: AtomicU64::new(0),
        info: EngineInfo {
            max_model_len: config.max_model_len,
            vocab_size: widths.vocab,
            hidden_size: widths.hidden,
            block_size: BLOCK_SIZE,
            num_blocks: config.num_blocks,
            encoder_tokens_max: encoder.as_ref().map(SoftEncoder::tokens_max),
            max_waiting: config.max_waiting,
            max_n: config.max_n,
            max_logprobs: config.max_logprobs,
            eos_token_ids: config.eos_token_ids.clone(),
        },
    });
    shared.stats.weight_version.store(config.weight_version, Ordering::Relaxed);
    let worker = Worker::new(model, encoder, scheduler, config, Arc::clone(&shared), received, workers);
    std::thread::Builder::new().name("xenoglot-engine".to_owned()).spawn(move || worker.run())?;
    Ok(EngineHandle { commands, shared })
}
