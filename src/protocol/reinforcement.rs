//! `method.reinforcement`: what is sampled, what it is worth, and how the policy learns from it. Names are OpenAI's where it has
//! them, and TRL's.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fine_tuning::{Hyperparameters, Lora};
use super::graders::Grader;
use super::parse::BadRequest;

/// GRPO. Hyperparameters mean the same as elsewhere, but for `batch_size`: prompts of an update, 16, each with `num_generations`
/// completions; and `max_length`, which prompt and completion say in its place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reinforcement {
    pub hyperparameters: Hyperparameters,
    /// What a completion is worth. `{{ item.FIELD }}` is a field of the prompt's line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grader: Option<Grader>,
    /// `budget-alignment` for that paper's settings, which others here may change: 24 completions a prompt at temperature 0.6, top-p
    /// 0.95 and top-k 20, dr_grpo with clips at 0.2 and 0.28, an adapter of rank 8 and, of lines with `answer` and `language`, its
    /// reward.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Train an adapter in place of the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
    /// Completions a prompt; 24.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_generations: Option<usize>,
    /// Completions of a prompt of `validation_file`; as `num_generations`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_generations_eval: Option<usize>,
    /// Updates that what is sampled together is divided into; 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps_per_generation: Option<usize>,
    /// Times that what is sampled together is learned from; 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_iterations: Option<usize>,
    /// `grpo`, `bnpo`, `dr_grpo`, `dapo`, `cispo`, `sapo`, `luspo` or `vespo`; dapo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_type: Option<String>,
    /// `token`, or `sequence` (GSPO).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub importance_sampling_level: Option<String>,
    /// Clips ratios below 1 - epsilon; 0.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Clips ratios above 1 + epsilon_high, with cispo above epsilon_high itself; as `epsilon`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon_high: Option<f64>,
    /// Bounds ratios where the advantage is negative; no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<f64>,
    /// The weight of the divergence from the model that training began with; 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
    /// `group`, `batch` or `none`; group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_rewards: Option<String>,
    /// Completions that were cut off teach nothing; false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask_truncated_completions: Option<bool>,
    /// The share of tokens, those of highest entropy, that learn; 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_entropy_quantile: Option<f64>,
    /// Completions below their prompt's mean teach nothing if their tokens have become less likely, since they were sampled, by more
    /// than this in the mean of their log-probabilities; no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off_policy_mask_threshold: Option<f64>,
    /// Rounds of sampling in place of groups whose rewards are all equal (DAPO's dynamic sampling); 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resample_rounds: Option<usize>,
    /// 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// 1: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// 0: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// 0: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f64>,
    /// Tokens; prompts with more are left out. 512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_prompt_length: Option<usize>,
    /// Tokens; 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_completion_length: Option<usize>,
    /// Sample the next completions while an update is made, with the weights of before it; false. Corrected by `token_truncate` if
    /// `importance_sampling_mode` names nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asynchronous: Option<bool>,
    /// Corrects for what the sampler's probabilities differ from training's by: `token_truncate`, `token_mask`, `sequence_truncate`,
    /// `sequence_mask`, or `none`, the default: the two are one model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub importance_sampling_mode: Option<String>,
    /// Bounds of that correction; no lower one, and 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub importance_sampling_min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub importance_sampling_max: Option<f64>,
    /// How far the sampler's log-probabilities may be from training's before the training stops; 1e-3, and 0.1 in bf16. Below a
    /// temperature of 1 both this and the mean's are divided by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logp_difference_max: Option<f64>,
    /// The same of the mean over tokens; 1e-4, and 0.02 in bf16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logp_difference_mean: Option<f64>,
}

const PRESETS: [&str; 1] = ["budget-alignment"];
const LOSSES: [&str; 8] = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"];
const MODES: [&str; 5] = ["none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"];

impl Reinforcement {
    /// # Errors
    /// A name that is none, and what must be said.
    pub fn check(&self) -> Result<(), BadRequest> {
        let choices: [(&str, &Option<String>, &[&str]); 5] = [
            ("preset", &self.preset, &PRESETS),
            ("loss_type", &self.loss_type, &LOSSES),
            ("importance_sampling_level", &self.importance_sampling_level, &["token", "sequence"]),
            ("scale_rewards", &self.scale_rewards, &["group", "batch", "none"]),
            ("importance_sampling_mode", &self.importance_sampling_mode, &MODES),
        ];
        for (name, value, choices) in choices {
            if let Some(value) = value.as_deref().filter(|value| !choices.contains(value)) {
                let message = format!("{name}: {value:?} is none of {}", choices.join(", "));
                return Err(BadRequest::invalid(format!("method.reinforcement.{name}"), message));
            }
        }
        if self.grader.is_none() && self.preset.is_none() {
            return Err(BadRequest::missing("method.reinforcement.grader"));
        }
        let bounds = self.importance_sampling_min.or(self.importance_sampling_max).is_some();
        let is_corrected = match self.importance_sampling_mode.as_deref() {
            None => self.asynchronous == Some(true),
            Some(mode) => mode != "none",
        };
        if bounds && !is_corrected {
            let param = "method.reinforcement.importance_sampling_mode";
            let message = "importance_sampling_mode: bounds are given, and not what is bounded: name a mode, or leave them out";
            return Err(BadRequest::invalid(param, message));
        }
        let Hyperparameters { max_length, packing, too_long, max_loss_jump, .. } = &self.hyperparameters;
        let lengths = "`max_prompt_length` and `max_completion_length` say how long a sequence is";
        let unread = [
            ("max_length", max_length.is_some(), lengths),
            ("too_long", too_long.is_some(), lengths),
            ("packing", packing.is_some(), "a prompt lies beside its completions in any case"),
            ("max_loss_jump", max_loss_jump.is_some(), "a policy's loss lies around 0"),
        ];
        if let Some((name, _, reason)) = unread.into_iter().find(|(_, is_given, _)| *is_given) {
            let message = format!("{name} is not read by `type` `reinforcement`: {reason}");
            return Err(BadRequest::invalid(format!("method.reinforcement.hyperparameters.{name}"), message));
        }
        Ok(())
    }
}
