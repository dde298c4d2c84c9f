//! `/v1/merges/plan`: what a merge would do, before anything is written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::merges::check_config;
use super::parse::{BadRequest, RequestBody};

/// As the body of `POST /v1/merges`, where `output` may be left open.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanMergeRequest {
    /// A configuration as mergekit has it: the YAML's text, or the same as an object.
    #[schema(value_type = Object)]
    pub config: Value,
    /// Whether the merge may be made there is told too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Of the random methods; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Merge what does not go together; false by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_crimes: Option<bool>,
    /// Serve the result; true by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<bool>,
    /// What no field took; the server refuses it.
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub unknown: Map<String, Value>,
}

impl RequestBody for PlanMergeRequest {
    fn unknown(&self) -> &Map<String, Value> {
        &self.unknown
    }

    fn check(&self) -> Result<(), BadRequest> {
        check_config(&self.config)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MergePlan {
    /// Always `merge.plan`.
    pub object: String,
    /// As asked for.
    pub output: Option<String>,
    /// The configuration's `merge_method`.
    pub method: String,
    /// In the configuration's words; the others point into it.
    pub models: Vec<String>,
    /// The model that differences are taken from, where the configuration names one.
    pub base_model: Option<usize>,
    /// The model whose configuration and tokenizer the output takes.
    pub donor: usize,
    /// Rows of the output's embeddings, where the configuration brings vocabularies together.
    pub vocabulary_size: Option<u64>,
    /// Bytes of the output by the type of its numbers: `F32`, `F16`, `BF16`.
    pub dtypes: BTreeMap<String, u64>,
    pub tensors: u64,
    pub parameters: u64,
    pub bytes: u64,
    pub files: Vec<MergePlanFile>,
    /// In the order of the output: embeddings, layers, then final norm and head.
    pub layers: Vec<MergePlanLayer>,
    /// What the configuration says and nobody reads, and what is merged though it should not be.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergePlanFile {
    pub name: String,
    pub tensors: u64,
    pub bytes: u64,
}

/// A layer of the output, or what stands before or behind all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MergePlanLayer {
    /// `embeddings`, `layer` or `head` (final norm and output matrix).
    pub place: String,
    /// The layers' name, such as `model.layers`; null outside of them.
    pub stack: Option<String>,
    /// Number of the layer; null outside of them.
    pub layer: Option<usize>,
    pub parameters: u64,
    pub bytes: u64,
    /// Tensors that are made in the same way, from the same layers and with the same numbers, are one part.
    pub parts: Vec<MergePlanPart>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MergePlanPart {
    /// Names within the layer, at most 64 of them.
    pub tensors: Vec<String>,
    pub tensor_count: u64,
    pub parameters: u64,
    /// `weighted`, `consensus`, `slerp`, `nuslerp`, `multislerp`, `karcher`, `model_stock`, `sce`, `nearswap`, `fusion`, `overlap` or
    /// `copy`.
    pub operation: String,
    /// Whether the models' differences from the base are combined, and added to it.
    pub of_differences: bool,
    /// Numbers of the operation, such as `t`, `lambda` and `normalize`, as resolved for these tensors.
    #[schema(value_type = Object)]
    pub numbers: Map<String, Value>,
    /// `l1` or `inverse_density`, where elements are dropped and the rest is made larger.
    pub rescale: Option<String>,
    pub sources: Vec<MergePlanSource>,
    pub base: Option<MergePlanSource>,
}

/// A model's share in a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MergePlanSource {
    /// A place in `models`.
    pub model: usize,
    /// The layer of that model; null outside of layers.
    pub layer: Option<usize>,
    /// As resolved; null where the operation has none.
    pub weight: Option<f64>,
    /// Which elements are kept; null where all are.
    pub keep: Option<MergePlanKeep>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MergePlanKeep {
    /// `none`, `largest`, `middle`, `random` or `ranked`.
    pub kind: String,
    /// The share that is kept.
    pub density: f64,
    /// Of `middle`: the share of the largest that is dropped.
    pub gamma: Option<f64>,
    /// Of `ranked`: how far chances lie from the density.
    pub epsilon: Option<f64>,
}
