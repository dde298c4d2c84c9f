//! GGUF metadata to a Hugging Face config.json, for the architectures that the one decoder covers.
//!
//! llama.cpp's defaults fill what a file leaves out. What the decoder cannot compute (experts in GGUF's layout, heads that
//! differ between layers) is an error here, where the metadata key can be named.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::header::StoredTensor;
use super::metadata::Metadata;
use super::rope::{self, RotaryTensors};
use crate::weights::WeightsError;

/// The GGUF architectures with a translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 1 to 3 and everything converted as it: Mistral, SmolLM, TinyLlama.
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    /// Phi-3 and Phi-4.
    Phi3,
    Gemma2,
    /// Its text models, and the text model of those that read pictures.
    Gemma3,
}

impl Architecture {
    const ALL: [Self; 7] =
        [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3, Self::Phi3, Self::Gemma2, Self::Gemma3];

    /// The architecture that `general.architecture` names.
    pub fn of(metadata: &Metadata) -> Result<Self, WeightsError> {
        let key = "general.architecture";
        let name = metadata.string(key)?.ok_or_else(|| metadata.error(key, "is missing"))?;
        Self::ALL.into_iter().find(|architecture| architecture.name() == name).ok_or_else(|| {
            WeightsError::UnsupportedArchitecture {
                path: metadata.path().to_owned(),
                architecture: name.to_owned(),
                supported: Self::ALL.map(Self::name).join(", "),
            }
        })
    }

    /// Its name in GGUF files, which prefixes its keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Phi3 => "phi3",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3",
        }
    }

    fn is_gemma(self) -> bool {
        matches!(self, Self::Gemma2 | Self::Gemma3)
    }

    /// Whether llama.cpp's converter has added 1 to a tensor, named as in Hugging Face: Gemma's norms multiply by 1 + their weight.
    pub fn adds_one(self, name: &str) -> bool {
        self.is_gemma() && name.ends_with("norm.weight")
    }
}

/// How many heads' rows llama.cpp's converter has reordered in a tensor, named as in Hugging Face.
pub fn permuted_heads(architecture: Architecture, name: &str, config: &Value) -> Option<usize> {
    if !matches!(architecture, Architecture::Llama | Architecture::Mistral) {
        return None;
    }
    let key = match name.rsplit_once(".self_attn.")?.1 {
        "q_proj.weight" | "q_proj.bias" => "num_attention_heads",
        "k_proj.weight" | "k_proj.bias" => "num_key_value_heads",
        _ => return None,
    };
    config[key].as_u64().map(|heads| heads as usize)
}

/// The config.json.
pub fn translate(
    architecture: Architecture,
    metadata: &Metadata,
    tensors: &BTreeMap<String, StoredTensor>,
    rotary: &RotaryTensors,
) -> Result<Value, WeightsError> {
    let shape = Shape::read(architecture, metadata)?;
    let sliding_window = metadata.count(&shape.key("attention.sliding_window"))?.filter(|window| *window > 0);
    let is_mistral = architecture == Architecture::Mistral
        || architecture == Architecture::Llama && sliding_window.is_some();
    let (class, model_type) = match architecture {
        _ if is_mistral => ("MistralForCausalLM", "mistral"),
        Architecture::Llama | Architecture::Mistral => ("LlamaForCausalLM", "llama"),
        Architecture::Qwen2 => ("Qwen2ForCausalLM", "qwen2"),
        Architecture::Qwen3 => ("Qwen3ForCausalLM", "qwen3"),
        Architecture::Phi3 => ("Phi3ForCausalLM", "phi3"),
        Architecture::Gemma2 => ("Gemma2ForCausalLM", "gemma2"),
        Architecture::Gemma3 => ("Gemma3ForCausalLM", "gemma3_text"),
    };
    let missing =
        |name: &str| WeightsError::MissingTensor { path: metadata.path().into(), name: name.into() };
    let embedding = tensors.get("token_embd.weight").ok_or_else(|| missing("token_embd.weight"))?;
    let default_theta = if architecture == Architecture::Gemma3 { 1_000_000.0 } else { 10_000.0 };
    let rope_theta = metadata.float(&shape.key("rope.freq_base"))?.unwrap_or(default_theta);
    let scaling = rope::scaling(metadata, architecture.name(), rope_theta, shape.head_dim, rotary)?;
    // transformers reads LongRoPE's at the top level.
    let original = scaling.get("original_max_position_embeddings").cloned();
    let original = original.filter(|_| scaling["rope_type"] == "longrope");
    let mut config = json!({
        "architectures": [class],
        "model_type": model_type,
        "hidden_act": if architecture.is_gemma() { "gelu_pytorch_tanh" } else { "silu" },
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.context_length,
        "rms_norm_eps": shape.rms_norm_eps,
        "rope_theta": rope_theta,
        "rope_scaling": scaling,
        "vocab_size": embedding.shape.first(),
        "tie_word_embeddings": !tensors.contains_key("output.weight"),
    });
    if let Some(config) = config.as_object_mut() {
        config.extend(original.map(|original| ("original_max_position_embeddings".to_owned(), original)));
        add_family_keys(config, architecture, is_mistral, sliding_window, tensors);
        match architecture {
            Architecture::Phi3 => add_phi3_keys(config, &shape, sliding_window),
            Architecture::Gemma2 | Architecture::Gemma3 => {
                add_gemma_keys(config, architecture, &shape, sliding_window, metadata)?;
            }
            _ => {}
        }
        add_token_ids(config, metadata)?;
    }
    Ok(config)
}

/// The sizes that every architecture states under its own prefix.
struct Shape {
    prefix: &'static str,
    hidden_size: u32,
    intermediate_size: u32,
    layers: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    /// Dimensions of a head that turn.
    rotary_dim: u32,
    context_length: u32,
    rms_norm_eps: f64,
}

impl Shape {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn read(architecture: Architecture, metadata: &Metadata) -> Result<Self, WeightsError> {
        let prefix = architecture.name();
        let key = |name: &str| format!("{prefix}.{name}");
        let positive = |name: &str| match metadata.required_count(&key(name))? {
            0 => Err(metadata.error(&key(name), "must not be 0")),
            count => Ok(count),
        };
        if metadata.count(&key("expert_count"))?.is_some_and(|experts| experts > 0) {
            return Err(metadata.error(&key("expert_count"), "names experts; dense models are supported"));
        }
        let (hidden_size, heads) = (positive("embedding_length")?, positive("attention.head_count")?);
        let kv_heads = if metadata.contains(&key("attention.head_count_kv")) {
            positive("attention.head_count_kv")?
        } else {
            heads
        };
        let head_dim = if metadata.contains(&key("attention.key_length")) {
            positive("attention.key_length")?
        } else if hidden_size.is_multiple_of(heads) {
            hidden_size / heads
        } else {
            let problem = format!("is {hidden_size}, which {heads} heads do not divide");
            return Err(metadata.error(&key("embedding_length"), problem));
        };
        let rotary_dim = metadata.count(&key("rope.dimension_count"))?.unwrap_or(head_dim);
        let value_dim = metadata.count(&key("attention.value_length"))?.unwrap_or(head_dim);
        let is_partial = architecture == Architecture::Phi3 && (1..head_dim).contains(&rotary_dim);
        for (name, other) in [("rope.dimension_count", rotary_dim), ("attention.value_length", value_dim)] {
            if other != head_dim && !(is_partial && name == "rope.dimension_count") {
                let problem = format!("is {other}, but a head has {head_dim}; whole heads are supported");
                return Err(metadata.error(&key(name), problem));
            }
        }
        let epsilon = key("attention.layer_norm_rms_epsilon");
        Ok(Self {
            prefix,
            hidden_size,
            intermediate_size: positive("feed_forward_length")?,
            layers: positive("block_count")?,
            heads,
            kv_heads,
            head_dim,
            rotary_dim,
            context_length: positive("context_length")?,
            rms_norm_eps: metadata.float(&epsilon)?.ok_or_else(|| metadata.error(&epsilon, "is missing"))?,
        })
    }
}

/// What one family states and another does not.
fn add_family_keys(
    config: &mut Map<String, Value>,
    architecture: Architecture,
    is_mistral: bool,
    sliding_window: Option<u32>,
    tensors: &BTreeMap<String, StoredTensor>,
) {
    let mut set = |key: &str, value: Value| {
        config.insert(key.to_owned(), value);
    };
    match architecture {
        _ if is_mistral => set("sliding_window", json!(sliding_window)),
        Architecture::Llama | Architecture::Mistral => {
            set("attention_bias", json!(tensors.contains_key("blk.0.attn_q.bias")));
            set("mlp_bias", json!(tensors.contains_key("blk.0.ffn_gate.bias")));
        }
        Architecture::Qwen2 | Architecture::Qwen3 => {
            set("use_sliding_window", json!(sliding_window.is_some()));
            set("sliding_window", json!(sliding_window));
            // Every layer from this one on slides.
            set("max_window_layers", json!(0));
            if architecture == Architecture::Qwen3 {
                set("attention_bias", json!(tensors.contains_key("blk.0.attn_q.bias")));
            }
        }
        Architecture::Phi3 | Architecture::Gemma2 | Architecture::Gemma3 => {}
    }
}

fn add_phi3_keys(config: &mut Map<String, Value>, shape: &Shape, sliding_window: Option<u32>) {
    let (rotary, head) = (f64::from(shape.rotary_dim), f64::from(shape.head_dim));
    // Heads times this, cut to a whole number, is what turns.
    let part = [rotary / head, (rotary + 0.5) / head]
        .into_iter()
        .find(|part| (part * head) as u32 == shape.rotary_dim);
    config.insert("partial_rotary_factor".to_owned(), json!(part.unwrap_or(1.0)));
    config.insert("sliding_window".to_owned(), json!(sliding_window));
}

/// What scales queries is in no metadata: llama.cpp knows it by the number of layers, that of the two models of 27B being another.
fn add_gemma_keys(
    config: &mut Map<String, Value>,
    architecture: Architecture,
    shape: &Shape,
    sliding_window: Option<u32>,
    metadata: &Metadata,
) -> Result<(), WeightsError> {
    let layers_of_27b = if architecture == Architecture::Gemma2 { 46 } else { 62 };
    let scalar = if shape.layers == layers_of_27b { shape.hidden_size / shape.heads } else { shape.head_dim };
    config.insert("query_pre_attn_scalar".to_owned(), json!(scalar));
    if let Some(window) = sliding_window {
        config.insert("sliding_window".to_owned(), json!(window));
    }
    for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
        if let Some(cap) = metadata.float(&shape.key(key))? {
            config.insert(key.to_owned(), json!(cap));
        }
    }
    if architecture == Architecture::Gemma3 {
        if let Some(theta) = metadata.float(&shape.key("rope.freq_base_swa"))? {
            config.insert("rope_local_base_freq".to_owned(), json!(theta));
        }
        if let Some(pattern) = metadata.count(&shape.key("attention.sliding_window_pattern"))? {
            config.insert("sliding_window_pattern".to_owned(), json!(pattern));
        }
    }
    Ok(())
}

fn add_token_ids(config: &mut Map<String, Value>, metadata: &Metadata) -> Result<(), WeightsError> {
    for (key, name) in [
        ("bos_token_id", "bos_token_id"),
        ("eos_token_id", "eos_token_id"),
        ("pad_token_id", "padding_token_id"),
    ] {
        if let Some(id) = metadata.count(&format!("tokenizer.ggml.{name}"))? {
            config.insert(key.to_owned(), json!(id));
        }
    }
    Ok(())
}
