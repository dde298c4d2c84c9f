//! `/v1/admin/models` and the routes of LoRA adapters: models come and go while the server runs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::parse::RequestBody;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoadModelRequest {
    /// The name to serve it under.
    pub name: String,
    /// A Hugging Face directory or a GGUF file below one of the server's model directories.
    pub path: String,
    /// `auto`, `f32` or `bf16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// `none`, `int8`, `int8-g64` or `int8-g32`; by default as the server was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantize: Option<String>,
    /// Tokens of prompt and completion together; by default what the model was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<u32>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for LoadModelRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}

/// `/v1/load_lora_adapter`, as vLLM has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoadLoraAdapterRequest {
    /// The name to serve it under.
    pub lora_name: String,
    /// A folder as PEFT writes it, below the server's models directory, its `weights_dir` or the folder of one of its models; or the
    /// name of an adapter that is served, whose folder is read again.
    pub lora_path: String,
    /// The served model that it is for; may be left out where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model_name: Option<String>,
    /// Take the place of an adapter of this name. Its running requests go on with the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_inplace: Option<bool>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for LoadLoraAdapterRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}

/// `/v1/unload_lora_adapter`, as vLLM has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UnloadLoraAdapterRequest {
    pub lora_name: String,
    /// Known and without effect: the name decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora_int_id: Option<u64>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for UnloadLoraAdapterRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UnloadedModel {
    pub id: String,
    /// Always `model`.
    pub object: String,
    pub deleted: bool,
}

/// What an admin action without a result answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// Always `ok`.
    pub status: String,
}
