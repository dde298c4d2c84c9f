//! `/server_info` and `/get_world_size`: what a trainer asks before it begins.

use axum::Json;
use axum::extract::State;

use crate::api::error::ApiError;
use crate::api::state::AppState;
use crate::protocol::ErrorResponse;
use crate::protocol::rollout::{
    LoraServingConfig, ParallelConfig, ServedModelConfig, ServerConfig, ServerInfo, WeightTransferConfig,
    WorldSize,
};

/// How the model is served, in the words of vLLM's configuration.
#[utoipa::path(
    get,
    path = "/server_info",
    tag = "rollouts",
    params(("config_format" = Option<String>, Query, description = "Always answered as `json`")),
    responses((status = 200, body = ServerInfo), (status = 403, body = ErrorResponse))
)]
pub async fn server_info(State(state): State<AppState>) -> Result<Json<ServerInfo>, ApiError> {
    let model = state.model(None)?;
    let defaults = state.registry().defaults();
    let model_config = ServedModelConfig {
        model: model.source.display().to_string(),
        dtype: match model.dtype {
            "f32" => "torch.float32".to_owned(),
            "bf16" => "torch.bfloat16".to_owned(),
            other => other.to_owned(),
        },
        max_model_len: model.max_model_len as u64,
        logprobs_mode: if state.options().rollouts.backend { "processed_logprobs" } else { "raw_logprobs" }
            .to_owned(),
    };
    let vllm_config = ServerConfig {
        model_config,
        parallel_config: ParallelConfig {
            data_parallel_size: 1,
            tensor_parallel_size: 1,
            pipeline_parallel_size: 1,
            world_size: 1,
        },
        weight_transfer_config: WeightTransferConfig { backend: "tcp".to_owned() },
        lora_config: LoraServingConfig {
            max_lora_rank: defaults.max_lora_rank,
            max_loras: defaults.max_loras,
        },
    };
    Ok(Json(ServerInfo { vllm_config, weight_version: model.weight_version() }))
}

/// How many processes compute.
#[utoipa::path(get, path = "/get_world_size", tag = "rollouts", responses((status = 200, body = WorldSize)))]
pub async fn get_world_size() -> Json<WorldSize> {
    Json(WorldSize { world_size: 1 })
}
