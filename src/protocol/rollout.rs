//! What trainers call beside completions: vLLM's routes for weights, pauses and facts about the server, and SGLang's for the
//! same. Inner objects are read leniently: trainers send what other servers' transports need.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::parse::{BadRequest, RequestBody};

/// `/init_weight_transfer_engine`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InitWeightTransferRequest {
    pub init_info: InitInfo,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

/// Where the trainer listens. Ranks, the size of the world and `packed` are of other transports, and without effect.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InitInfo {
    /// This machine, or an address on the server's list `weight_transfer_hosts`.
    pub master_address: String,
    pub master_port: u16,
    /// After the tensors of each update come 32 bytes, the SHA-256 of their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<bool>,
}

impl RequestBody for InitWeightTransferRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}

/// `/update_weights`: exactly one of the two.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct UpdateWeightsRequest {
    /// Tensors that come over the connection, and take effect with `/finish_weight_update`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_info: Option<UpdateInfo>,
    /// A folder of safetensors with all of the model's tensors, below the server's `weights_dir` or models directory. Takes
    /// effect at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_dir: Option<String>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

/// The tensors that come, in this order: raw little-endian bytes, nothing between them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UpdateInfo {
    /// Of the Hugging Face checkpoint.
    pub names: Vec<String>,
    /// `float32`, `bfloat16` or `float16`.
    pub dtype_names: Vec<String>,
    pub shapes: Vec<Vec<usize>>,
}

impl RequestBody for UpdateWeightsRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    fn check(&self) -> Result<(), BadRequest> {
        match (&self.update_info, &self.weight_dir) {
            (Some(_), Some(_)) => {
                Err(BadRequest::invalid("weight_dir", "`weight_dir` and `update_info` exclude each other"))
            }
            (None, None) => Err(BadRequest::missing("update_info")),
            _ => Ok(()),
        }
    }
}

/// What a step of a weight update answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WeightsStatus {
    /// Always `ok`.
    pub status: String,
    /// Of the weights that are computed with now; counts their updates.
    pub weight_version: u64,
}

/// What pausing and resuming answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PauseStatus {
    /// `paused`, `resumed` or, where nothing was asked to change, `ok`.
    pub status: String,
    pub is_paused: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorldSize {
    /// Always 1: one process computes.
    pub world_size: u32,
}

/// `/server_info`, as far as trainers read vLLM's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServerInfo {
    pub vllm_config: ServerConfig,
    pub weight_version: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServerConfig {
    pub model_config: ServedModelConfig,
    pub parallel_config: ParallelConfig,
    pub weight_transfer_config: WeightTransferConfig,
    pub lora_config: LoraServingConfig,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServedModelConfig {
    pub model: String,
    /// Of the weights in memory: `torch.float32`, `torch.bfloat16`, or the name of what they are quantised to.
    pub dtype: String,
    pub max_model_len: u64,
    /// Of requests that name none: `raw_logprobs` or `processed_logprobs`.
    pub logprobs_mode: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParallelConfig {
    pub data_parallel_size: u32,
    pub tensor_parallel_size: u32,
    pub pipeline_parallel_size: u32,
    pub world_size: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WeightTransferConfig {
    /// Always `tcp`.
    pub backend: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoraServingConfig {
    pub max_lora_rank: usize,
    pub max_loras: usize,
}

/// SGLang's `/update_weights_from_disk`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct UpdateFromDiskRequest {
    /// As `weight_dir` of `/update_weights`.
    pub model_path: String,
    /// End what runs and waits before; otherwise it goes on with its keys and values.
    pub abort_all_requests: bool,
    /// Forget cached prefixes; they are of another version in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_cache: Option<bool>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for UpdateFromDiskRequest {
    // The server counts versions itself.
    const IGNORED: &'static [&'static str] = &[
        "load_format",
        "weight_version",
        "is_async",
        "torch_empty_cache",
        "keep_pause",
        "recapture_cuda_graph",
        "token_step",
    ];

    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    fn check(&self) -> Result<(), BadRequest> {
        if self.model_path.is_empty() { Err(BadRequest::missing("model_path")) } else { Ok(()) }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UpdatedFromDisk {
    /// Always true; what fails is an error.
    pub success: bool,
    pub message: String,
    /// Requests that stood still meanwhile.
    pub num_paused_requests: usize,
    pub weight_version: u64,
}

/// SGLang's `/pause_generation`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct PauseGenerationRequest {
    /// `abort` (the default) or `in_place`. `retract` is taken as `in_place`, without the loss of keys and values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for PauseGenerationRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}
