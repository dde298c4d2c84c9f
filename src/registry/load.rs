//! From a checkpoint on disk to a model in service: open, translate, plan the memory, load, start the engine.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::chat::ChatTemplate;
use crate::engine::{
    self, BLOCK_SIZE, EngineConfig, MemoryError, MemoryPlan, MemoryRequest, available_memory, memory_plan,
};
use crate::model::augmented::{AugmentedFolder, AugmentedPrompts};
use crate::model::{ComputeDtype, Decoder, DecoderConfig, LoadOptions, weight_bytes_estimate};
use crate::ops::{Int8Scales, KvDtype as PoolDtype, Workers};
use crate::settings::{Dtype, KvDtype, Quantize, Speculation};
use crate::weights::{Checkpoint, CheckpointDtype};

use super::catalogue::now_ms;
use super::opened::Opened;
use super::{EngineOptions, GenerationDefaults, LoadSpec, Registry, RegistryError, ServedModel, open};

impl Registry {
    /// Loads a model and serves it. Takes as long as reading and packing its weights; not for an async thread.
    ///
    /// # Errors
    /// `NameTaken` before anything is read; then whatever stands in the way, by file, key or tensor.
    pub fn load(&self, spec: LoadSpec) -> Result<Arc<ServedModel>, RegistryError> {
        // A load that panicked before leaves nothing half done behind this lock.
        let _turn = self.inner.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if self.get(&spec.name).is_ok() || self.encoder(&spec.name).is_some() {
            return Err(RegistryError::NameTaken { name: spec.name });
        }
        self.add(load_beside(spec, self.workers(), self.promised_bytes())?)
    }
}

/// Loads a model without serving it.
///
/// # Errors
/// Whatever stands in the way, by file, key or tensor.
pub fn load(spec: LoadSpec, workers: &Arc<Workers>) -> Result<ServedModel, RegistryError> {
    load_beside(spec, workers, 0)
}

/// Loads a model beside others that may still take `promised_bytes` of what seems free.
fn load_beside(
    spec: LoadSpec,
    workers: &Arc<Workers>,
    promised_bytes: u64,
) -> Result<ServedModel, RegistryError> {
    let LoadSpec { name, path, options } = spec;
    let opened = Opened::at(&path)?;
    let encoder_dtype = encoder_dtype(&options, &opened);
    let encoder_bytes = opened.augmented_bytes(encoder_dtype)?;
    let Opened { checkpoint, config, augmented } = opened;
    let generation_defaults =
        GenerationDefaults::from_config(&checkpoint.generation_config, &checkpoint.path)?;
    let dtype = compute_dtype(&options, &checkpoint);
    let max_model_len = max_model_len(&checkpoint, &config, &options)?;
    let mut engine_config = engine_config(&options, kv_dtype(&options, &checkpoint), max_model_len);
    engine_config.eos_token_ids.clone_from(&checkpoint.eos_token_ids);
    let mut request = memory_request(&checkpoint, &config, dtype, &engine_config, &options, promised_bytes)?;
    add_encoder(&mut request, encoder_bytes);
    let plan = memory_plan(&request)?;
    engine_config.num_blocks = plan.num_blocks;
    let (shown, dtype_name) = (path.display(), dtype_name(dtype));
    tracing::info!("{name} from {shown}, {dtype_name}, context {max_model_len}; memory plan:\n{plan}");

    if let Some(warning) = longrope_warning(&config, max_model_len) {
        tracing::warn!("{name}: {warning}");
    }
    let (template, template_problem) = compile_template(&checkpoint);
    let load_options = LoadOptions { max_positions: Some(max_model_len), ..LoadOptions::new(dtype, workers) };
    let decoder =
        Decoder::load(config, &*checkpoint.tensors, &load_options).map_err(|error| error.at(&checkpoint))?;
    let config = Arc::new(decoder.config().clone());
    let mut weight_bytes = decoder.weight_bytes() as u64;
    let (handle, prompts) = match augmented {
        None => (engine::start(decoder, engine_config, Arc::clone(workers))?, None),
        Some(parts) => {
            let encoder = parts.load(&LoadOptions::new(encoder_dtype, workers))?;
            weight_bytes += encoder.weight_bytes() as u64;
            let prompts = AugmentedPrompts::new(&parts.folder, parts.tokenizer, &checkpoint)?;
            (
                engine::start_augmented(decoder, encoder, engine_config, Arc::clone(workers))?,
                Some(Arc::new(prompts)),
            )
        }
    };
    Ok(ServedModel {
        name,
        created: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        source: path,
        handle,
        config,
        adapter: None,
        default_reasoning: writes_reasoning(&checkpoint),
        tokenizer: checkpoint.tokenizer,
        guides: Arc::default(),
        // A MindMerger model was trained with its own templates.
        template: template.filter(|_| prompts.is_none()),
        augmented: prompts,
        template_problem,
        special_tokens: checkpoint.special,
        generation_defaults,
        max_model_len,
        dtype: dtype_name,
        weights_digest: Arc::default(),
        weight_bytes,
        last_used: Arc::new(AtomicU64::new(now_ms())),
        plan,
    })
}

/// A model's weights with its tokenizer, without an engine: for measures and for training.
pub struct LoadedDecoder {
    pub checkpoint: Checkpoint,
    pub decoder: Decoder,
    /// How the weights are kept, as `ServedModel::dtype`.
    pub dtype: &'static str,
    pub kv_dtype: PoolDtype,
}

/// # Errors
/// As [`load`]; of the KV cache's memory, a block is enough.
pub fn load_decoder(
    path: &Path,
    options: &EngineOptions,
    workers: &Arc<Workers>,
) -> Result<LoadedDecoder, RegistryError> {
    let (checkpoint, config) = open(path)?;
    let dtype = compute_dtype(options, &checkpoint);
    let kv_dtype = kv_dtype(options, &checkpoint);
    let max_model_len = max_model_len(&checkpoint, &config, options)?;
    let engine_config = engine_config(options, kv_dtype, max_model_len);
    let request = memory_request(&checkpoint, &config, dtype, &engine_config, options, 0)?;
    memory_plan(&MemoryRequest { max_model_len: BLOCK_SIZE, num_blocks: Some(1), ..request })?;
    let load_options = LoadOptions { max_positions: Some(max_model_len), ..LoadOptions::new(dtype, workers) };
    let decoder =
        Decoder::load(config, &*checkpoint.tensors, &load_options).map_err(|error| error.at(&checkpoint))?;
    Ok(LoadedDecoder { checkpoint, decoder, dtype: dtype_name(dtype), kv_dtype })
}

/// What a model is and the memory it would take, found out without loading it.
pub struct Inspection {
    /// Of the model that generates.
    pub checkpoint: Checkpoint,
    /// The parts of a MindMerger model.
    pub augmented: Option<AugmentedFolder>,
    pub config: DecoderConfig,
    pub weight_bytes: u64,
    pub kv_bytes_per_token: u64,
    pub available_bytes: u64,
    /// Or why it cannot run here now.
    pub plan: Result<MemoryPlan, MemoryError>,
}

/// # Errors
/// As [`load`], but for the memory.
pub fn inspect(path: &Path, options: &EngineOptions) -> Result<Inspection, RegistryError> {
    let opened = Opened::at(path)?;
    let encoder_bytes = opened.augmented_bytes(encoder_dtype(options, &opened))?;
    let Opened { checkpoint, config, augmented } = opened;
    let dtype = compute_dtype(options, &checkpoint);
    let max_model_len = max_model_len(&checkpoint, &config, options)?;
    let engine_config = engine_config(options, kv_dtype(options, &checkpoint), max_model_len);
    let mut request = memory_request(&checkpoint, &config, dtype, &engine_config, options, 0)?;
    add_encoder(&mut request, encoder_bytes);
    Ok(Inspection {
        checkpoint,
        augmented: augmented.map(|parts| parts.folder),
        config,
        weight_bytes: request.weight_bytes,
        kv_bytes_per_token: request.kv_bytes_per_block / BLOCK_SIZE as u64,
        available_bytes: request.available_bytes,
        plan: memory_plan(&request),
    })
}

/// What was asked for, never more than the model was made for: beyond it, answers fall apart.
fn max_model_len(
    checkpoint: &Checkpoint,
    config: &DecoderConfig,
    options: &EngineOptions,
) -> Result<usize, RegistryError> {
    let context = config.max_position_embeddings;
    match options.max_model_len {
        None => Ok(context),
        Some(asked) if asked <= context => Ok(asked),
        Some(asked) => Err(RegistryError::ContextTooLong { path: checkpoint.path.clone(), asked, context }),
    }
}

fn engine_config(options: &EngineOptions, kv_dtype: PoolDtype, max_model_len: usize) -> EngineConfig {
    EngineConfig {
        max_model_len,
        max_num_seqs: options.max_num_seqs,
        max_batch_tokens: options.max_batch_tokens,
        max_waiting: options.max_queue,
        kv_dtype,
        enable_prefix_caching: options.prefix_caching,
        speculation: options.speculation == Speculation::Ngram,
        weight_version: 0,
        max_n: options.max_n as u32,
        max_logprobs: options.max_logprobs as u32,
        ..EngineConfig::default()
    }
}

/// What to say where LongRoPE's long factors are taken for all requests, short ones too.
fn longrope_warning(config: &DecoderConfig, max_model_len: usize) -> Option<String> {
    let (list, original) = config.longrope_list(max_model_len)?;
    (list == "long_factor").then(|| {
        format!(
            "a context of {max_model_len} tokens is above the original one of {original}, so RoPE's `{list}` is used for all \
             requests; with --max-model-len {original} or less, `short_factor` is, as transformers does for short sequences"
        )
    })
}

/// What must fit into the memory that is free now; where the system does not say how much that is, everything does.
fn memory_request(
    checkpoint: &Checkpoint,
    config: &DecoderConfig,
    dtype: ComputeDtype,
    engine_config: &EngineConfig,
    options: &EngineOptions,
    promised_bytes: u64,
) -> Result<MemoryRequest, RegistryError> {
    let available = available_memory().unwrap_or(u64::MAX >> 8);
    let weight_bytes = weight_bytes_estimate(config, &*checkpoint.tensors, dtype)?;
    let mut request = MemoryRequest::new(config, weight_bytes, engine_config, available);
    request.promised_bytes = promised_bytes;
    request.num_blocks =
        options.kv_cache_memory.map(|size| (size.0 / request.kv_bytes_per_block.max(1)) as usize);
    Ok(request)
}

/// What encoder and mapping take: weights, and working space.
fn add_encoder(request: &mut MemoryRequest, (weight_bytes, scratch_bytes): (u64, u64)) {
    request.weight_bytes = request.weight_bytes.saturating_add(weight_bytes);
    request.scratch_bytes = request.scratch_bytes.saturating_add(scratch_bytes);
}

/// The encoder is kept as the language model is; left to itself, in the type that it is stored in.
fn encoder_dtype(options: &EngineOptions, opened: &Opened) -> ComputeDtype {
    let stored = opened.augmented.as_ref().map_or(CheckpointDtype::F32, |parts| parts.stored);
    encoder_compute_dtype(options, stored)
}

/// As `encoder_dtype`, by what is stored.
pub(super) fn encoder_compute_dtype(options: &EngineOptions, stored: CheckpointDtype) -> ComputeDtype {
    int8_scales(options).map_or_else(|| plain_dtype(options.dtype, stored), ComputeDtype::Int8)
}

fn int8_scales(options: &EngineOptions) -> Option<Int8Scales> {
    match options.quantize {
        Quantize::None => None,
        Quantize::Int8 => Some(Int8Scales::PerChannel),
        Quantize::Int8Group64 => Some(Int8Scales::PerGroup64),
        Quantize::Int8Group32 => Some(Int8Scales::PerGroup32),
    }
}

fn compute_dtype(options: &EngineOptions, checkpoint: &Checkpoint) -> ComputeDtype {
    let Some(scales) = int8_scales(options) else { return plain_dtype(options.dtype, checkpoint.dtype) };
    if checkpoint.dtype == CheckpointDtype::Gguf {
        let (path, quantize) = (checkpoint.path.display(), options.quantize);
        tracing::warn!("{path} is quantised already; --quantize {quantize} rounds its weights a second time");
    }
    ComputeDtype::Int8(scales)
}

fn plain_dtype(asked: Dtype, stored: CheckpointDtype) -> ComputeDtype {
    match (asked, stored) {
        (Dtype::F32, _) | (Dtype::Auto, CheckpointDtype::F32) => ComputeDtype::F32,
        (Dtype::Bf16, _) | (Dtype::Auto, CheckpointDtype::F16 | CheckpointDtype::Bf16) => ComputeDtype::Bf16,
        (Dtype::Auto, CheckpointDtype::Gguf) => ComputeDtype::Gguf,
    }
}

/// Follows the type that was asked for or stored, not what the weights are quantised to.
fn kv_dtype(options: &EngineOptions, checkpoint: &Checkpoint) -> PoolDtype {
    pool_dtype(options.kv_dtype, plain_dtype(options.dtype, checkpoint.dtype))
}

fn pool_dtype(asked: KvDtype, compute: ComputeDtype) -> PoolDtype {
    match (asked, compute) {
        (KvDtype::F32, _) | (KvDtype::Auto, ComputeDtype::F32) => PoolDtype::F32,
        (KvDtype::Bf16 | KvDtype::Auto, _) => PoolDtype::Bf16,
    }
}

/// As `--dtype` and `--quantize` spell it.
fn dtype_name(dtype: ComputeDtype) -> &'static str {
    match dtype {
        ComputeDtype::F32 => "f32",
        ComputeDtype::Bf16 => "bf16",
        ComputeDtype::F64 => "f64",
        ComputeDtype::Gguf => "gguf",
        ComputeDtype::Int8(Int8Scales::PerChannel) => "int8",
        ComputeDtype::Int8(Int8Scales::PerGroup64) => "int8-g64",
        ComputeDtype::Int8(Int8Scales::PerGroup32) => "int8-g32",
    }
}

/// A template that does not compile leaves the model without chat, not without service.
fn compile_template(checkpoint: &Checkpoint) -> (Option<ChatTemplate>, Option<String>) {
    let Some(source) = &checkpoint.chat_template else { return (None, None) };
    match ChatTemplate::new(source, checkpoint.special.by_name()) {
        Ok(template) => (Some(template), None),
        Err(problem) => {
            tracing::warn!(path = %checkpoint.path.display(), %problem, "the model is served without chat");
            (None, Some(problem.to_string()))
        }
    }
}

fn writes_reasoning(checkpoint: &Checkpoint) -> bool {
    let in_template = checkpoint.chat_template.as_ref().is_some_and(|template| template.contains("<think>"));
    in_template || checkpoint.tokenizer.token_to_id("<think>").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_factors_are_told() {
        let open =
            |text: &str| crate::model::families::translate(&serde_json::from_str(text).unwrap()).unwrap();
        let long = open(include_str!("../../tests/fixtures/models/phi3_longrope/config.json"));
        let plain = open(include_str!("../../tests/fixtures/models/phi3/config.json"));
        assert!(longrope_warning(&long, 24).is_none() && longrope_warning(&plain, 128).is_none());
        let warning = longrope_warning(&long, 25).unwrap();
        assert!(warning.contains("--max-model-len 24") && warning.contains("`long_factor`"), "{warning}");
    }

    #[test]
    fn types_follow_the_checkpoint_unless_asked() {
        let check = |asked, stored, compute, pool| {
            let dtype = plain_dtype(asked, stored);
            assert_eq!((dtype, pool_dtype(KvDtype::Auto, dtype)), (compute, pool));
        };
        check(Dtype::Auto, CheckpointDtype::F32, ComputeDtype::F32, PoolDtype::F32);
        check(Dtype::Auto, CheckpointDtype::F16, ComputeDtype::Bf16, PoolDtype::Bf16);
        check(Dtype::Auto, CheckpointDtype::Gguf, ComputeDtype::Gguf, PoolDtype::Bf16);
        check(Dtype::F32, CheckpointDtype::Gguf, ComputeDtype::F32, PoolDtype::F32);
        assert_eq!(pool_dtype(KvDtype::F32, ComputeDtype::Bf16), PoolDtype::F32);
    }
}
