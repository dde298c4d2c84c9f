//! Which tensors a config asks for, under their Hugging Face names, and whether a checkpoint has them. The
//! check runs before anything is packed, so that a wrong checkpoint is answered at once and in full.

use crate::ops::{Int8Scales, Storage};
use crate::weights::TensorSource;

use super::{ComputeDtype, DecoderConfig, ExpertNames, ExpertsConfig, ModelError, Target, loader};

/// Problems listed in one error; a checkpoint of another model would have one a tensor.
const PROBLEMS_MAX: usize = 8;

/// A tensor that a config asks for.
#[derive(Debug, PartialEq)]
pub(super) struct TensorSpec {
    pub name: String,
    /// `[out, in]` for a linear, `[n]` for a norm or a bias.
    pub shape: Vec<usize>,
    /// The config keys that make the shape.
    pub keys: &'static str,
    /// A linear that `--quantize` leaves in the type that it is stored in.
    pub is_kept: bool,
}

/// The bytes that a decoder's weights will take, before they are loaded: of each tensor in the type that the loader
/// keeps it in. Only what fills up the last panel of a weight comes on top.
///
/// # Errors
/// A tensor that is missing or cannot be read; `check_tensors` says so of all.
pub fn weight_bytes_estimate(
    config: &DecoderConfig,
    source: &dyn TensorSource,
    dtype: ComputeDtype,
) -> Result<u64, ModelError> {
    tensor_specs(config).iter().map(|spec| spec_bytes(spec, source, dtype)).sum()
}

pub(super) fn spec_bytes(
    spec: &TensorSpec,
    source: &dyn TensorSource,
    dtype: ComputeDtype,
) -> Result<u64, ModelError> {
    let elements = spec.shape.iter().map(|size| *size as u64).product::<u64>();
    let stored = source.dtype(&spec.name)?;
    let dtype = if spec.is_kept { loader::unquantised(dtype, stored) } else { dtype };
    Ok(match loader::storage(dtype, stored) {
        // Norms and biases are f32 always.
        _ if spec.shape.len() != 2 => elements * 4,
        Storage::F32 => elements * 4,
        Storage::F64 => elements * 8,
        Storage::Bf16 => elements * 2,
        Storage::Int8(scales) => elements + scale_bytes(&spec.shape, scales),
        Storage::Blocks => elements / stored.block_elements() as u64 * stored.block_bytes() as u64,
    })
}

/// The bytes of an int8 weight's scales.
fn scale_bytes(shape: &[usize], scales: Int8Scales) -> u64 {
    let (rows, row) = (shape[0] as u64, shape[1] as u64);
    match scales {
        Int8Scales::PerChannel => rows * 4,
        // The last group of a row is filled up with zeros.
        Int8Scales::PerGroup32 => rows * (row.div_ceil(32) * 34 - row),
        Int8Scales::PerGroup64 => rows * (row.div_ceil(64) * 66 - row),
    }
}

pub(super) fn tensor_specs(config: &DecoderConfig) -> Vec<TensorSpec> {
    let (vocab, hidden) = (config.vocab_size, config.hidden_size);
    let mut specs = vec![spec("model.embed_tokens.weight", &[vocab, hidden], "vocab_size, hidden_size")];
    for layer in 0..config.layers {
        layer_specs(config, layer, &mut specs);
    }
    specs.push(spec("model.norm.weight", &[hidden], "hidden_size"));
    if !config.tie_word_embeddings {
        specs.push(spec("lm_head.weight", &[vocab, hidden], "vocab_size, hidden_size, tie_word_embeddings"));
    }
    specs
}

fn layer_specs(config: &DecoderConfig, layer: usize, specs: &mut Vec<TensorSpec>) {
    let prefix = format!("model.layers.{layer}");
    for target in Target::of_layer(config, layer) {
        let (part, shape, keys) = (target.part(), target.shape(config), target.shape_keys());
        specs.push(spec(&format!("{prefix}.{part}.weight"), &shape, keys));
        if target.has_bias(config) {
            specs.push(spec(&format!("{prefix}.{part}.bias"), &shape[..1], keys));
        }
    }
    if let Some(experts) = config.experts_of(layer) {
        expert_specs(config.hidden_size, experts, &prefix, specs);
    }
    for norm in layer_norms(config) {
        specs.push(spec(&format!("{prefix}.{norm}.weight"), &[config.hidden_size], "hidden_size"));
    }
    if config.qk_norm {
        for norm in ["q_norm", "k_norm"] {
            specs.push(spec(&format!("{prefix}.self_attn.{norm}.weight"), &[config.head_dim], "head_dim"));
        }
    }
}

fn expert_specs(hidden: usize, config: &ExpertsConfig, prefix: &str, specs: &mut Vec<TensorSpec>) {
    let ExpertsConfig { experts, intermediate_size, names, .. } = config;
    let mut linear = |name: &str, [out, input]: [usize; 2], keys, is_kept| {
        specs.push(TensorSpec { is_kept, ..spec(&format!("{prefix}.{name}.weight"), &[out, input], keys) });
    };
    linear(&names.router(), [*experts, hidden], names.count_key, true);
    for expert in 0..*experts {
        let [gate, up, down] = names.expert(expert);
        linear(&gate, [*intermediate_size, hidden], names.width_keys, false);
        linear(&up, [*intermediate_size, hidden], names.width_keys, false);
        linear(&down, [hidden, *intermediate_size], names.width_keys, false);
    }
    if let Some(width) = config.shared_intermediate_size {
        const KEYS: &str = "shared_expert_intermediate_size, hidden_size";
        let [gate, up, down] = names.shared();
        linear(&gate, [width, hidden], KEYS, false);
        linear(&up, [width, hidden], KEYS, false);
        linear(&down, [hidden, width], KEYS, false);
        linear(&names.shared_gate(), [1, hidden], "hidden_size", true);
    }
}

impl ExpertNames {
    pub(super) fn router(&self) -> String {
        format!("{}.gate", self.block)
    }

    /// Gate, up and down.
    pub(super) fn expert(&self, expert: usize) -> [String; 3] {
        [self.gate, self.up, self.down].map(|part| format!("{}.experts.{expert}.{part}", self.block))
    }

    pub(super) fn shared(&self) -> [String; 3] {
        [self.gate, self.up, self.down].map(|part| format!("{}.shared_expert.{part}", self.block))
    }

    pub(super) fn shared_gate(&self) -> String {
        format!("{}.shared_expert_gate", self.block)
    }
}

/// The names of the norms of a layer over hidden states, in the order in which they are computed. The second of two is the one
/// before the gated block; of four, those in the second and the last place are on what a block gives.
pub(super) fn layer_norms(config: &DecoderConfig) -> &'static [&'static str] {
    const PRE: &[&str] = &["input_layernorm", "post_attention_layernorm"];
    const PRE_AND_POST: &[&str] = &[
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ];
    if config.post_norms { PRE_AND_POST } else { PRE }
}

pub(super) fn spec(name: &str, shape: &[usize], keys: &'static str) -> TensorSpec {
    TensorSpec { name: name.to_owned(), shape: shape.to_vec(), keys, is_kept: false }
}

/// Compares a checkpoint with its config, without reading a tensor.
///
/// # Errors
/// `ModelError::Tensors` with every missing, misshapen and unknown tensor (the first few of them).
pub fn check_tensors(config: &DecoderConfig, source: &dyn TensorSource) -> Result<(), ModelError> {
    let specs = tensor_specs(config);
    let is_known_buffer = |name: &str| name.ends_with(".rotary_emb.inv_freq");
    check_specs(&specs, source, "model.layers.", |name| (!is_known_buffer(name)).then(|| keys_of(name)))
}

/// Compares a checkpoint with the tensors a config asks for. Tensors under the name of its layers that are not among
/// them are problems too, unless `unknown` gives no key of the config that would ask for them.
pub(super) fn check_specs(
    specs: &[TensorSpec],
    source: &dyn TensorSource,
    layers: &str,
    unknown: impl Fn(&str) -> Option<&'static str>,
) -> Result<(), ModelError> {
    // The first few in words, the others counted.
    let (mut problems, mut more) = (Vec::new(), 0_usize);
    for spec in specs {
        if is_as_asked(spec, source)? {
            continue;
        }
        if problems.len() < PROBLEMS_MAX {
            problems.push(problem(spec, source)?);
        } else {
            more += 1;
        }
    }
    for (name, keys) in unknown_tensors(specs, source, layers, unknown) {
        if problems.len() < PROBLEMS_MAX {
            let quoted = quoted(&name, source);
            problems
                .push(format!("  {quoted} is in the checkpoint, but the config ({keys}) has no use for it"));
        } else {
            more += 1;
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    if more > 0 {
        problems.push(format!("  .. and {more} more; are config and tensors of the same checkpoint?"));
    }
    Err(ModelError::Tensors { problems })
}

fn is_as_asked(spec: &TensorSpec, source: &dyn TensorSource) -> Result<bool, ModelError> {
    Ok(source.contains(&spec.name) && source.shape(&spec.name)? == spec.shape)
}

/// What is wrong with a tensor that is not as it was asked for.
fn problem(spec: &TensorSpec, source: &dyn TensorSource) -> Result<String, ModelError> {
    let TensorSpec { name, shape, keys, .. } = spec;
    let quoted = quoted(name, source);
    if !source.contains(name) {
        let hint = if name == "lm_head.weight" {
            "; if the output head is the embedding, set `tie_word_embeddings` to true"
        } else {
            ""
        };
        return Ok(format!("  {quoted} is missing, the config ({keys}) asks for {shape:?}{hint}"));
    }
    let found = source.shape(name)?;
    Ok(format!("  {quoted} is {found:?}, the config ({keys}) asks for {shape:?}"))
}

/// A tensor as messages name it: as the config's reader knows it and, where that differs, as the file has it.
pub(super) fn quoted(name: &str, source: &dyn TensorSource) -> String {
    let stored = source.stored_name(name);
    if stored == name { format!("`{name}`") } else { format!("`{name}` (`{stored}` in the file)") }
}

/// Tensors inside the layers that the config knows nothing of, and its keys: a bias or a norm left out gives wrong text
/// without any error. The tied head's own copy and old checkpoints' RoPE tables are known to be redundant.
fn unknown_tensors(
    specs: &[TensorSpec],
    source: &dyn TensorSource,
    layers: &str,
    keys_of: impl Fn(&str) -> Option<&'static str>,
) -> Vec<(String, &'static str)> {
    let known: std::collections::HashSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    source
        .names()
        .into_iter()
        .filter(|name| name.starts_with(layers) && !known.contains(name.as_str()))
        .filter_map(|name| keys_of(&name).map(|keys| (name, keys)))
        .collect()
}

/// The config keys that decide whether a tensor inside a layer is there.
fn keys_of(name: &str) -> &'static str {
    let is_bias = name.rsplit('.').next() == Some("bias");
    match (is_bias, name.contains(".mlp.")) {
        (true, true) => "mlp_bias",
        (true, false) => "attention_bias, model_type",
        (false, _) if name.ends_with("_norm.weight") => "model_type",
        (false, _) => "num_hidden_layers, model_type",
    }
}
