//! A policy's training as a folder for TRL: for machines that this one is not, with a server of ours for rollouts and rewards.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::reinforcement::GraderReward;
use super::{Job, check_description};
use crate::model::{ComputeDtype, DecoderConfig, Target};
use crate::protocol::fine_tuning::{Lora, MethodKind};
use crate::train::data::ModelText;
use crate::train::grpo::{Correction, GrpoSettings, PromptLines, PromptOptions};
use crate::train::hyperparameters::Resolved;
use crate::train::policy::{PolicyMethod, policy_method};
use crate::train::{AdamWSettings, Decline, Length, Recompute, TrainError, TrainerSettings, Warmup};

/// What is written as it is, by its name in the folder.
const FILES: [(&str, &str); 15] = [
    ("train.py", include_str!("../../../clients/trl/train.py")),
    ("launch.sh", include_str!("../../../clients/trl/launch.sh")),
    ("accelerate.yaml", include_str!("../../../clients/trl/accelerate.yaml")),
    ("zero3.yaml", include_str!("../../../clients/trl/zero3.yaml")),
    ("requirements.txt", include_str!("../../../clients/trl/requirements.txt")),
    ("README.md", include_str!("../../../clients/trl/README.md")),
    ("xenoglot-rollouts/pyproject.toml", include_str!("../../../clients/python/pyproject.toml")),
    ("xenoglot-rollouts/README.md", include_str!("../../../clients/python/README.md")),
    (
        "xenoglot-rollouts/src/xenoglot_rollouts/__init__.py",
        include_str!("../../../clients/python/src/xenoglot_rollouts/__init__.py"),
    ),
    ("xenoglot-rollouts/src/vllm/__init__.py", include_str!("../../../clients/python/src/vllm/__init__.py")),
    (
        "xenoglot-rollouts/src/vllm/sampling_params.py",
        include_str!("../../../clients/python/src/vllm/sampling_params.py"),
    ),
    (
        "xenoglot-rollouts/src/vllm/distributed/__init__.py",
        include_str!("../../../clients/python/src/vllm/distributed/__init__.py"),
    ),
    (
        "xenoglot-rollouts/src/vllm/distributed/weight_transfer/__init__.py",
        include_str!("../../../clients/python/src/vllm/distributed/weight_transfer/__init__.py"),
    ),
    (
        "xenoglot-rollouts/src/vllm/distributed/weight_transfer/packed_tensor.py",
        include_str!("../../../clients/python/src/vllm/distributed/weight_transfer/packed_tensor.py"),
    ),
    (
        "xenoglot-rollouts/src/vllm/distributed/weight_transfer/nccl_common.py",
        include_str!("../../../clients/python/src/vllm/distributed/weight_transfer/nccl_common.py"),
    ),
];
/// The same, beside them.
const UTILITIES: [(&str, &str); 2] = [
    (
        "xenoglot-rollouts/src/vllm/utils/__init__.py",
        include_str!("../../../clients/python/src/vllm/utils/__init__.py"),
    ),
    (
        "xenoglot-rollouts/src/vllm/utils/network_utils.py",
        include_str!("../../../clients/python/src/vllm/utils/network_utils.py"),
    ),
];
/// Completions that a device takes at once, where nothing is said.
const COMPLETIONS_AT_ONCE: usize = 8;

/// What was written, and what TRL has no word for.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    pub prompts: usize,
    pub too_long: usize,
    pub left_out: Vec<&'static str>,
}

impl Job<'_> {
    /// Writes dataset, settings and launcher into the job's folder, which appears when all of it is there.
    ///
    /// # Errors
    /// What is wrong with the description or the data; a training that is none of a policy; a folder that is not empty.
    pub fn export(&self) -> Result<Exported, TrainError> {
        if self.request.kind() != MethodKind::Reinforcement {
            let problem = "is no `reinforcement`: the others are trained here, or by TRL from the same files"
                .to_owned();
            return Err(TrainError::option("method.type", problem));
        }
        if let Some(experts) = &self.config.experts {
            let problem = format!(
                "has experts (`{}` = {}), whose training by TRL is not exported",
                experts.names.count_key, experts.experts
            );
            return Err(TrainError::option("model", problem));
        }
        check_description(self.request, &self.checkpoint, &self.config)?;
        let resolved = Resolved::of(self.request, &self.config, self.checkpoint.dtype)?;
        let method = policy_method(self.request, resolved.dtype)?;
        let text = ModelText::of(&self.checkpoint)?;
        let files = self.files("training_file", self.request.training_file.names())?;
        let options = PromptOptions { length_max: method.prompt_max, together: 1, seed: 0 };
        let prompts = PromptLines::read(&files, text, options)?;
        // A line that its graders cannot read is told now.
        GraderReward::new(&method.grader, &prompts)?;
        let training = self.training(&resolved, &method);
        let partial = self.new_folder()?;
        let written = write(&partial, &prompts, &json!(method.grader), &training);
        if let Err(error) = written.and_then(|()| {
            let whole = &self.folder;
            fs::rename(&partial, whole).map_err(TrainError::io(whole, "give it its name"))
        }) {
            // The error at hand says more than one of tidying up.
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
        let left_out = [
            (method.grpo.resample_max > 0, "resample_rounds"),
            (method.grpo.asynchronous, "asynchronous"),
            (self.request.validation_file.is_some(), "validation_file"),
        ];
        let left_out = left_out.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, name)| name);
        Ok(Exported { prompts: prompts.len(), too_long: prompts.too_long(), left_out: left_out.collect() })
    }

    /// What comes in the place of the job's folder when it is whole.
    fn new_folder(&self) -> Result<PathBuf, TrainError> {
        let folder = &self.folder;
        let mut entries = match fs::read_dir(folder) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(TrainError::io(folder, "list it")(error)),
        };
        if entries.as_mut().is_some_and(|entries| entries.next().is_some()) {
            let source = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "it is there, and not empty");
            return Err(TrainError::io(folder, "write an export into it")(source));
        }
        let mut name = folder.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = folder.with_file_name(name);
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(TrainError::io(&partial, "remove it"))?;
        }
        fs::create_dir_all(&partial).map_err(TrainError::io(&partial, "create it"))?;
        Ok(partial)
    }

    /// `training.json`: what train.py reads.
    fn training(&self, resolved: &Resolved, method: &PolicyMethod) -> Value {
        let GrpoSettings { group, prompts, steps_per_generation, completion_max, rows_max, .. } = method.grpo;
        let given = self.request.hyperparameters().micro_batch_size;
        let at_once = given.map_or(COMPLETIONS_AT_ONCE, |_| {
            (rows_max / method.prompt_max.saturating_add(completion_max).max(1)).max(1)
        });
        let path = fs::canonicalize(&self.checkpoint.path).unwrap_or_else(|_| self.checkpoint.path.clone());
        json!({
            "model": path,
            "completions_per_update": group.saturating_mul(prompts),
            "completions_at_once": at_once,
            "updates_per_generation": steps_per_generation,
            "lora": method.lora.as_ref().map(|lora| peft(lora, &self.config)),
            "grpo": grpo(resolved, method),
        })
    }
}

/// PEFT's `LoraConfig`.
fn peft(lora: &Lora, config: &DecoderConfig) -> Value {
    let all = || Target::of(config).iter().map(|target| target.name().to_owned()).collect();
    let rank = lora.r.unwrap_or(16);
    json!({
        "r": rank,
        "lora_alpha": lora.alpha.unwrap_or(2.0 * rank as f64),
        "lora_dropout": lora.dropout.unwrap_or(0.0),
        "target_modules": lora.target_modules.clone().unwrap_or_else(all),
        "use_rslora": lora.use_rslora.unwrap_or(false),
        "task_type": "CAUSAL_LM",
    })
}

/// TRL's `GRPOConfig`, but for what the number of processes decides.
fn grpo(resolved: &Resolved, method: &PolicyMethod) -> Value {
    let (grpo, sampling) = (&method.grpo, &method.sampling);
    let policy = &grpo.policy;
    let TrainerSettings { learning_rate, warmup, decline, optimizer, seed, length, .. } = &resolved.trainer;
    let AdamWSettings { beta1, beta2, eps, weight_decay, max_grad_norm } = optimizer;
    let mut all = json!({
        "num_generations": grpo.group,
        "num_iterations": grpo.iterations,
        "max_completion_length": grpo.completion_max,
        "temperature": grpo.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": (sampling.min_p > 0.0).then_some(sampling.min_p),
        "loss_type": policy.loss,
        "importance_sampling_level": policy.level,
        "epsilon": policy.epsilon_low,
        "epsilon_high": policy.epsilon_high,
        "delta": policy.delta,
        "beta": policy.beta,
        "scale_rewards": grpo.scale_rewards,
        "mask_truncated_completions": grpo.mask_truncated,
        "top_entropy_quantile": policy.top_entropy,
        "off_policy_mask_threshold": policy.off_policy_max,
        "vllm_importance_sampling_correction": grpo.correction.is_some(),
        "learning_rate": learning_rate,
        "lr_scheduler_type": match decline {
            Decline::Linear => "linear",
            Decline::Cosine => "cosine",
            Decline::Constant => "constant_with_warmup",
        },
        "weight_decay": weight_decay,
        "adam_beta1": beta1,
        "adam_beta2": beta2,
        "adam_epsilon": eps,
        "max_grad_norm": max_grad_norm.unwrap_or(0.0),
        "seed": seed,
        "bf16": resolved.dtype == ComputeDtype::Bf16,
        "gradient_checkpointing": resolved.recompute != Recompute::Off,
        "save_steps": resolved.run.save_steps.unwrap_or(10),
        "save_total_limit": resolved.run.save_total.max(1),
        "logging_steps": 1,
    });
    all["warmup_steps"] = match warmup {
        Warmup::Steps(steps) => json!(steps),
        // transformers takes a number below 1 for a share.
        Warmup::Ratio(ratio) => json!(ratio),
    };
    match length {
        Length::Steps(steps) => all["max_steps"] = json!(steps),
        Length::Epochs(epochs) => all["num_train_epochs"] = json!(epochs),
    }
    if let Some(Correction { mode, min, max }) = grpo.correction {
        all["vllm_importance_sampling_mode"] = json!(mode);
        all["vllm_importance_sampling_clip_min"] = json!(min);
        all["vllm_importance_sampling_clip_max"] = json!(max);
    }
    all
}

fn write(folder: &Path, prompts: &PromptLines, grader: &Value, training: &Value) -> Result<(), TrainError> {
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(TrainError::io(parent, "create it"))?;
        }
        fs::write(&path, text).map_err(TrainError::io(&path, "write it"))
    };
    for (name, text) in FILES.into_iter().chain(UTILITIES) {
        put(name, text)?;
    }
    make_executable(&folder.join("launch.sh"))?;
    let mut lines = String::new();
    for example in 0..prompts.len() {
        lines.push_str(&prompts.exported(example)?.to_string());
        lines.push('\n');
    }
    put("prompts.jsonl", &lines)?;
    put("grader.json", &format!("{grader:#}\n"))?;
    put("training.json", &format!("{training:#}\n"))
}

fn make_executable(path: &Path) -> Result<(), TrainError> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, permissions).map_err(TrainError::io(path, "make it executable"))
}
