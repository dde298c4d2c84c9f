//! A model in service, and what it takes to bring one there.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::chat::ChatTemplate;
use crate::engine::{EngineHandle, MemoryPlan, RequestAdapter};
use crate::model::DecoderConfig;
use crate::model::augmented::AugmentedPrompts;
use crate::settings::{ByteSize, Dtype, KvDtype, Quantize, Settings, Speculation};
use crate::weights::{SpecialTokens, Tokenizer};

use super::{GenerationDefaults, ModelGuides};

/// A model with its engine, or with another's and an adapter. Dropping the last reference ends the engine.
#[derive(Clone)]
pub struct ServedModel {
    /// What clients call it.
    pub name: String,
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    /// The directory or file it was read from.
    pub source: PathBuf,
    pub handle: EngineHandle,
    /// What an adapter must fit.
    pub config: Arc<DecoderConfig>,
    /// With one, the engine is that of its base, and the weights are those of both.
    pub adapter: Option<ServedAdapter>,
    pub tokenizer: Tokenizer,
    /// Grammars and the like over its vocabulary.
    pub guides: Arc<ModelGuides>,
    /// Of a MindMerger model: what its encoder and its language model read, in place of a chat template.
    pub augmented: Option<Arc<AugmentedPrompts>>,
    /// `None`: the model has no chat template, or `template_problem` says what is wrong with it.
    pub template: Option<ChatTemplate>,
    /// Why the checkpoint's template cannot be used.
    pub template_problem: Option<String>,
    pub special_tokens: SpecialTokens,
    /// Sampling parameters of requests that leave them out.
    pub generation_defaults: GenerationDefaults,
    /// Tokens of prompt and answer together.
    pub max_model_len: usize,
    /// The model writes `<think>` blocks, so that answers are split unless the request says otherwise.
    pub default_reasoning: bool,
    /// How the weights are kept: `f32`, `bf16`, `gguf`, `int8`, `int8-g64` or `int8-g32`.
    pub dtype: &'static str,
    /// Of the files of its weights, once somebody has asked for it and they could be read.
    pub weights_digest: Arc<OnceLock<Option<String>>>,
    /// Memory the weights take.
    pub weight_bytes: u64,
    /// When somebody last asked for it, in milliseconds since 1970; shared with its adapters.
    pub last_used: Arc<AtomicU64>,
    /// Its share of the memory: weights, KV cache and working space, as planned when it was loaded.
    pub plan: MemoryPlan,
}

/// What makes a model of its base.
#[derive(Clone)]
pub struct ServedAdapter {
    /// The name of the model it is served beside.
    pub base: String,
    pub weights: RequestAdapter,
}

impl ServedModel {
    /// For the engine's requests.
    pub fn request_adapter(&self) -> Option<RequestAdapter> {
        self.adapter.as_ref().map(|adapter| adapter.weights.clone())
    }

    /// The memory it was promised and has not touched, which the system still counts as free.
    pub fn untouched_bytes(&self) -> u64 {
        self.plan.untouched_bytes(self.handle.stats().kv_blocks_touched.load(Ordering::Relaxed))
    }

    /// Which weights it answers with; changes when they are replaced in place.
    pub fn weight_version(&self) -> u64 {
        self.handle.stats().weight_version.load(Ordering::Relaxed)
    }
}

/// What to load.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadSpec {
    /// The name to serve it under; must be free.
    pub name: String,
    /// A Hugging Face directory or a GGUF file; see `registry::resolve` for names.
    pub path: PathBuf,
    pub options: EngineOptions,
}

/// How a model is kept and run; the part of the settings that belongs to one model.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineOptions {
    pub dtype: Dtype,
    pub quantize: Quantize,
    pub kv_dtype: KvDtype,
    /// `None`: the model's own.
    pub max_model_len: Option<usize>,
    pub max_num_seqs: usize,
    pub max_batch_tokens: usize,
    pub max_queue: usize,
    pub prefix_caching: bool,
    pub speculation: Speculation,
    /// Choices a request may ask for.
    pub max_n: usize,
    /// Alternatives a token that logprobs may ask for.
    pub max_logprobs: usize,
    /// `None`: what the longest contexts need, at most 30 % of what is free.
    pub kv_cache_memory: Option<ByteSize>,
    /// Adapters that may be served at once, of all models together.
    pub max_loras: usize,
    /// The largest rank of one.
    pub max_lora_rank: usize,
}

impl From<&Settings> for EngineOptions {
    fn from(settings: &Settings) -> Self {
        Self {
            dtype: settings.dtype,
            quantize: settings.quantize,
            kv_dtype: settings.kv_dtype,
            max_model_len: settings.max_model_len,
            max_num_seqs: settings.max_num_seqs,
            max_batch_tokens: settings.max_batch_tokens,
            max_queue: settings.max_queue,
            prefix_caching: settings.prefix_caching,
            speculation: settings.speculation,
            max_n: settings.max_n,
            max_logprobs: settings.max_logprobs,
            kv_cache_memory: settings.kv_cache_memory,
            max_loras: settings.max_loras,
            max_lora_rank: settings.max_lora_rank,
        }
    }
}
