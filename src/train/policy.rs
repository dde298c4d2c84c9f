//! The settings of `method.reinforcement` with every default and preset filled in.

use super::grpo::{Correction, CorrectionMode, GapBound, GrpoSettings, LossType, PolicySettings, RatioLevel};
use super::{TrainError, hyperparameters};
use crate::engine::SamplingParams;
use crate::model::ComputeDtype;
use crate::protocol::fine_tuning::{CreateFineTuningJob, Lora};
use crate::protocol::graders::Grader;
use crate::protocol::reinforcement::Reinforcement;
use crate::score::grader::budget_alignment;

/// Rows that go through the model together, where nothing is said.
const ROWS_MAX: usize = 4096;
/// Of a held-out prompt.
const GROUP_EVAL_MAX: usize = 1024;
const BUDGET_ALIGNMENT: &str = "budget-alignment";

/// What is sampled and how it is learned from.
pub(super) struct PolicyMethod {
    pub grpo: GrpoSettings,
    pub sampling: SamplingParams,
    pub grader: Grader,
    pub lora: Option<Lora>,
    /// Tokens of a prompt.
    pub prompt_max: usize,
    /// Completions of a held-out prompt.
    pub group_eval: usize,
}

/// What the name of a preset stands for; what a description says itself comes first.
fn with_preset(given: &Reinforcement) -> Reinforcement {
    let mut all = given.clone();
    if given.preset.as_deref() == Some(BUDGET_ALIGNMENT) {
        all.grader.get_or_insert_with(|| budget_alignment("{{ item.answer }}", "{{ item.language }}"));
        all.temperature.get_or_insert(0.6);
        all.top_p.get_or_insert(0.95);
        all.top_k.get_or_insert(20);
        all.epsilon.get_or_insert(0.2);
        all.epsilon_high.get_or_insert(0.28);
        all.loss_type.get_or_insert_with(|| "dr_grpo".to_owned());
        all.max_completion_length.get_or_insert(5555);
        all.lora.get_or_insert_with(|| Lora {
            r: Some(8),
            alpha: Some(32.0),
            dropout: Some(0.1),
            target_modules: Some(["q_proj", "v_proj", "up_proj", "down_proj"].map(str::to_owned).to_vec()),
            use_rslora: None,
        });
    }
    all
}

/// Tokens of a prompt and of a completion.
pub(super) fn lengths(given: &Reinforcement) -> (usize, usize) {
    let all = with_preset(given);
    (all.max_prompt_length.unwrap_or(512), all.max_completion_length.unwrap_or(256))
}

/// The adapter's settings, said or the preset's.
pub(super) fn lora_of(request: &CreateFineTuningJob) -> Option<Lora> {
    request.reinforcement().map_or_else(|| request.lora().cloned(), |given| with_preset(given).lora)
}

/// # Errors
/// An option out of its range, by name.
pub(super) fn policy_method(
    request: &CreateFineTuningJob,
    dtype: ComputeDtype,
) -> Result<PolicyMethod, TrainError> {
    let missing =
        || TrainError::option("method.reinforcement.grader", "is required: what a completion is worth");
    let given = with_preset(request.reinforcement().ok_or_else(missing)?);
    let (prompt_max, completion_max) = lengths(&given);
    let grpo = GrpoSettings {
        policy: policy(&given),
        group: given.num_generations.unwrap_or(24),
        prompts: given.hyperparameters.batch_size.unwrap_or(hyperparameters::PROMPTS),
        steps_per_generation: given.steps_per_generation.unwrap_or(1),
        iterations: given.num_iterations.unwrap_or(1),
        scale_rewards: named(given.scale_rewards.as_deref()).unwrap_or_default(),
        correction: correction(&given),
        mask_truncated: given.mask_truncated_completions.unwrap_or(false),
        resample_max: given.resample_rounds.unwrap_or(0),
        temperature: given.temperature.unwrap_or(1.0),
        completion_max,
        rows_max: given.hyperparameters.micro_batch_size.map_or(ROWS_MAX, |completions| {
            completions.saturating_mul(prompt_max.saturating_add(completion_max))
        }),
        gap: gap(&given, dtype),
        asynchronous: given.asynchronous.unwrap_or(false),
    };
    grpo.check()?;
    let group_eval = given.num_generations_eval.unwrap_or(grpo.group);
    if !(1..=grpo.group.max(GROUP_EVAL_MAX)).contains(&group_eval) {
        let problem = format!("is {group_eval}, it must be from 1 to {}", grpo.group.max(GROUP_EVAL_MAX));
        return Err(TrainError::option("num_generations_eval", problem));
    }
    let sampling = SamplingParams {
        temperature: grpo.temperature as f32,
        top_p: given.top_p.unwrap_or(1.0) as f32,
        top_k: given.top_k.unwrap_or(0),
        min_p: given.min_p.unwrap_or(0.0) as f32,
        max_tokens: completion_max,
        ..SamplingParams::default()
    };
    let within = |value: f32| (0.0..=1.0).contains(&value);
    if !within(sampling.top_p) || sampling.top_p == 0.0 {
        return Err(TrainError::option("top_p", "must lie above 0 and up to 1"));
    }
    if !within(sampling.min_p) {
        return Err(TrainError::option("min_p", "must lie between 0 and 1"));
    }
    Ok(PolicyMethod {
        grpo,
        sampling,
        grader: given.grader.ok_or_else(missing)?,
        lora: given.lora,
        prompt_max,
        group_eval,
    })
}

fn policy(given: &Reinforcement) -> PolicySettings {
    let usual = PolicySettings::default();
    let epsilon = given.epsilon.unwrap_or(usual.epsilon_low);
    PolicySettings {
        loss: named::<LossType>(given.loss_type.as_deref()).unwrap_or_default(),
        level: named::<RatioLevel>(given.importance_sampling_level.as_deref()).unwrap_or_default(),
        epsilon_low: epsilon,
        epsilon_high: given.epsilon_high.unwrap_or(epsilon),
        delta: given.delta,
        beta: given.beta.unwrap_or(usual.beta),
        top_entropy: given.top_entropy_quantile.unwrap_or(usual.top_entropy),
        off_policy_max: given.off_policy_mask_threshold,
        ..usual
    }
}

fn correction(given: &Reinforcement) -> Option<Correction> {
    // Completions of other weights are corrected unless that is refused by name.
    let asked = given.importance_sampling_mode.as_deref();
    let asked = asked.or(given.asynchronous.unwrap_or(false).then_some("token_truncate"));
    let mode: CorrectionMode = named(asked)?;
    let usual = Correction::default();
    Some(Correction {
        mode,
        min: given.importance_sampling_min.or(usual.min),
        max: given.importance_sampling_max.or(usual.max),
    })
}

fn gap(given: &Reinforcement, dtype: ComputeDtype) -> GapBound {
    let usual = if matches!(dtype, ComputeDtype::F32) { GapBound::F32 } else { GapBound::BF16 };
    GapBound {
        max: given.logp_difference_max.unwrap_or(usual.max),
        mean: given.logp_difference_mean.unwrap_or(usual.mean),
        ..usual
    }
}

/// By its name on the wire, which has been checked; `None` for none of them.
fn named<T: serde::de::DeserializeOwned>(name: Option<&str>) -> Option<T> {
    serde_json::from_value(name?.into()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::grpo::ScaleRewards;
    use super::*;

    fn method(settings: &serde_json::Value) -> Result<PolicyMethod, TrainError> {
        let method = json!({"type": "reinforcement", "reinforcement": settings});
        let request = json!({"model": "m", "training_file": "f", "method": method});
        let request: CreateFineTuningJob = serde_json::from_value(request).unwrap();
        policy_method(&request, ComputeDtype::F32)
    }

    #[test]
    fn a_preset_is_the_papers_and_what_is_said_comes_first() {
        let of_preset = method(&json!({"preset": "budget-alignment", "top_k": 5})).unwrap();
        let PolicyMethod { grpo, sampling, lora, prompt_max, .. } = of_preset;
        assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k), (0.6, 0.95, 5));
        assert_eq!((grpo.group, grpo.completion_max, prompt_max), (24, 5555, 512));
        assert_eq!(grpo.policy.loss, LossType::DrGrpo);
        assert_eq!((grpo.policy.epsilon_low, grpo.policy.epsilon_high, grpo.policy.beta), (0.2, 0.28, 0.0));
        assert_eq!(lora.unwrap().r, Some(8));
    }

    #[test]
    fn names_of_the_wire_are_known() {
        let grader = json!({"type": "think_format", "name": "f"});
        for loss in ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"] {
            let found = method(&json!({"grader": grader, "loss_type": loss})).unwrap().grpo.policy.loss;
            assert_eq!(serde_json::to_value(found).unwrap(), loss);
        }
        let settings = json!({
            "grader": grader, "importance_sampling_level": "sequence", "scale_rewards": "none",
            "importance_sampling_mode": "token_mask", "importance_sampling_max": 2.0,
        });
        let grpo = method(&settings).unwrap().grpo;
        assert_eq!((grpo.policy.level, grpo.scale_rewards), (RatioLevel::Sequence, ScaleRewards::None));
        let correction = Correction { mode: CorrectionMode::TokenMask, min: None, max: Some(2.0) };
        assert_eq!(grpo.correction, Some(correction));
        let mode = |settings| method(&settings).unwrap().grpo.correction.map(|correction| correction.mode);
        let asynchronous = json!({"grader": grader, "asynchronous": true});
        assert_eq!(mode(asynchronous), Some(CorrectionMode::TokenTruncate));
        let refused = json!({"grader": grader, "asynchronous": true, "importance_sampling_mode": "none"});
        assert_eq!((mode(refused), mode(json!({"grader": grader}))), (None, None));
        let error = |settings| method(&settings).err().unwrap().to_string();
        assert!(error(json!({"grader": grader, "top_p": 0.0})).contains("`top_p`"));
        assert!(
            error(json!({"grader": grader, "num_generations_eval": 0})).contains("`num_generations_eval`")
        );
        assert!(error(json!({"grader": grader, "num_generations": 1})).contains("`num_generations`"));
    }
}
