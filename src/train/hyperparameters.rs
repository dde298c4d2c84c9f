//! The settings of a training with every default filled in.

use std::sync::Arc;

use serde_json::{Value, json};

use super::data::{BatchOptions, Packing, TooLong};
use super::policy::{lengths, lora_of};
use super::{AdamWSettings, Decline, Length, Recompute, RunSettings, TrainError, TrainerSettings, Warmup};
use crate::model::{ComputeDtype, DecoderConfig, LoadOptions};
use crate::ops::Workers;
use crate::protocol::fine_tuning::{CreateFineTuningJob, Hyperparameters, MethodKind};
use crate::protocol::reinforcement::Reinforcement;
use crate::weights::CheckpointDtype;

/// Of an update of a policy.
pub(super) const PROMPTS: usize = 16;
/// The longest sequence, packed or not.
const MAX_LENGTH_MAX: usize = 16_384;

/// What a method has where nothing is said.
struct Defaults {
    learning_rate: f64,
    epochs: f64,
    batch: usize,
    micro_batch: usize,
    decline: Decline,
    optimizer: AdamWSettings,
    seed: u64,
    max_length: usize,
    too_long: TooLong,
    packing: bool,
    /// Micro-batches between two evaluations.
    eval_micro_steps: Option<u64>,
}

impl Defaults {
    fn of(request: &CreateFineTuningJob) -> Self {
        let usual = Self {
            learning_rate: if request.lora().is_some() { 2e-4 } else { 2e-5 },
            epochs: 3.0,
            batch: 8,
            micro_batch: 1,
            decline: Decline::Linear,
            optimizer: AdamWSettings::default(),
            seed: 42,
            max_length: 1024,
            too_long: TooLong::Drop,
            packing: true,
            eval_micro_steps: None,
        };
        match request.kind() {
            MethodKind::Supervised => usual,
            MethodKind::Reinforcement => Self {
                learning_rate: if lora_of(request).is_some() { 1e-5 } else { 1e-6 },
                epochs: 1.0,
                batch: PROMPTS,
                packing: false,
                ..usual
            },
            MethodKind::Cpt => Self { epochs: 1.0, too_long: TooLong::Split, ..usual },
            MethodKind::Mapping => Self::mindmerger(8),
            // Of mathematics, whose pairs are long; the original takes 8 of the classification tasks.
            MethodKind::Augmentation => {
                let format = request.mapping().and_then(|mapping| mapping.format.as_deref());
                Self::mindmerger(if format.is_none_or(|format| format == "queries") { 2 } else { 8 })
            }
        }
    }

    /// The original's, arXiv:2405.17386 and its code.
    fn mindmerger(micro_batch: usize) -> Self {
        Self {
            learning_rate: 2e-5,
            epochs: 3.0,
            batch: 128,
            micro_batch,
            decline: Decline::Constant,
            optimizer: AdamWSettings {
                beta1: 0.8,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay: 3e-7,
                max_grad_norm: Some(1.0),
            },
            seed: 0,
            max_length: MAX_LENGTH_MAX,
            too_long: TooLong::Truncate,
            packing: false,
            eval_micro_steps: Some(2000),
        }
    }
}

/// As asked for, or the method's.
pub fn seed_of(request: &CreateFineTuningJob) -> u64 {
    request.seed.unwrap_or_else(|| Defaults::of(request).seed)
}

pub(super) struct Resolved {
    pub trainer: TrainerSettings,
    /// Folder and identity are the job's.
    pub run: RunSettings,
    pub max_length: usize,
    /// That RoPE's table covers.
    pub positions: usize,
    pub too_long: TooLong,
    pub max_tokens: Option<u64>,
    pub packing: bool,
    pub micro_batch: usize,
    pub dtype: ComputeDtype,
    /// Weights that learn have f32 masters where they are in bf16.
    pub masters: bool,
    pub recompute: Recompute,
}

impl Resolved {
    /// `stored` is how the model lies on disk.
    ///
    /// # Errors
    /// `Option`, with the setting's name.
    pub fn of(
        request: &CreateFineTuningJob,
        config: &DecoderConfig,
        stored: CheckpointDtype,
    ) -> Result<Self, TrainError> {
        let (given, defaults) = (request.hyperparameters(), Defaults::of(request));
        let max_length = match request.reinforcement() {
            Some(method) => policy_length(method, config)?,
            None => max_length(&given, &defaults, config)?,
        };
        let batch = given.batch_size.unwrap_or(defaults.batch);
        // A policy's micro-batches are of completions, and its batch of prompts.
        let micro_batch = given.micro_batch_size.filter(|_| request.reinforcement().is_none());
        let micro_batch = micro_batch.unwrap_or(defaults.micro_batch.min(batch));
        if micro_batch == 0 || batch == 0 || !batch.is_multiple_of(micro_batch) {
            let problem = format!("is {batch}, which is no multiple of `micro_batch_size` {micro_batch}");
            return Err(TrainError::option("batch_size", problem));
        }
        let accumulation = batch / micro_batch;
        check_masters(request, &given)?;
        let cpt = request.method.as_ref().and_then(|method| method.cpt.as_ref());
        let eval_steps = defaults.eval_micro_steps.map(|steps| steps.div_ceil(accumulation as u64));
        Ok(Self {
            trainer: trainer(request, &given, &defaults, accumulation),
            run: RunSettings {
                eval_steps: given.eval_steps.or(eval_steps),
                save_steps: given.save_steps,
                save_total: given.save_total_limit.unwrap_or(2),
                folder: std::path::PathBuf::new(),
                identity: Value::Null,
                loss_jump_max: given.max_loss_jump.unwrap_or(10.0),
            },
            max_length,
            positions: if request.mapping().is_some() { config.max_position_embeddings } else { max_length },
            too_long: match given.too_long.as_deref() {
                Some("truncate") => TooLong::Truncate,
                Some("drop") => TooLong::Drop,
                Some("split") => TooLong::Split,
                _ => defaults.too_long,
            },
            max_tokens: cpt.and_then(|cpt| cpt.max_tokens),
            packing: given.packing.unwrap_or(defaults.packing),
            micro_batch,
            dtype: match given.dtype.as_deref() {
                Some("bf16") => ComputeDtype::Bf16,
                // What stays frozen may be quantised.
                None if stored == CheckpointDtype::Gguf => ComputeDtype::Gguf,
                _ => ComputeDtype::F32,
            },
            masters: given.master_weights != Some(false),
            recompute: if given.gradient_checkpointing.unwrap_or(true) {
                Recompute::Segments { layers: 1 }
            } else {
                Recompute::Off
            },
        })
    }

    pub fn load_options(&self, workers: &Arc<Workers>) -> LoadOptions {
        LoadOptions {
            max_positions: Some(self.positions),
            // A mapping's sequences have what frames them on top, which is no longer context.
            context: Some(self.max_length),
            ..LoadOptions::new(self.dtype, workers)
        }
    }

    /// What to say where a model is trained with other factors of LongRoPE than a server takes by default.
    pub fn longrope_warning(&self, config: &DecoderConfig) -> Option<String> {
        let (list, original) = config.longrope_list(self.max_length)?;
        (list == "short_factor" && config.max_position_embeddings > original).then(|| {
            format!(
                "sequences of at most {} tokens (`max_length`) are within the original context of {original}, so RoPE's \
                 `short_factor` is trained with; serve the result with --max-model-len {original} or less, without which \
                 `long_factor` is used",
                self.max_length
            )
        })
    }

    pub fn batches(&self) -> BatchOptions {
        let packing =
            if self.packing { Packing::BestFit { tokens_max: self.max_length as u32 } } else { Packing::Off };
        BatchOptions { packing, micro_batch: self.micro_batch, seed: self.trainer.seed }
    }

    /// What of the settings decides what is learned.
    pub fn identity(&self) -> Value {
        let mut identity = json!({
            "trainer": self.trainer,
            "max_length": self.max_length,
            "dtype": format!("{:?}", self.dtype),
            "packing": self.packing,
            "micro_batch_size": self.micro_batch,
        });
        if !self.masters {
            identity["master_weights"] = json!(false);
        }
        identity
    }
}

/// Weights without masters are a whole model's in bf16.
fn check_masters(request: &CreateFineTuningJob, given: &Hyperparameters) -> Result<(), TrainError> {
    if given.master_weights != Some(false) {
        return Ok(());
    }
    let cpt = request.method.as_ref().and_then(|method| method.cpt.as_ref());
    let wrong = [
        (given.dtype.as_deref() != Some("bf16"), "needs `dtype` bf16: there are no masters otherwise"),
        (lora_of(request).is_some(), "is of whole models: what learns of an adapter is f32"),
        (request.mapping().is_some(), "is of whole models: a mapping is f32"),
        (cpt.is_some_and(|cpt| cpt.mask_file.is_some()), "does not go with `mask_file`"),
    ];
    match wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
        Some((_, problem)) => Err(TrainError::option("master_weights", format!("is false, which {problem}"))),
        None => Ok(()),
    }
}

/// A prompt and its completion.
fn policy_length(method: &Reinforcement, config: &DecoderConfig) -> Result<usize, TrainError> {
    let (prompt, completion) = lengths(method);
    let (length, context) = (prompt.saturating_add(completion), config.max_position_embeddings);
    if prompt > 0 && completion > 0 && length <= context {
        return Ok(length);
    }
    let problem = format!(
        "is {completion}, with `max_prompt_length` {prompt} together {length}: this model's context has {context} tokens"
    );
    let key = if completion == 0 || prompt > 0 { "max_completion_length" } else { "max_prompt_length" };
    Err(TrainError::option(key, problem))
}

fn max_length(
    given: &Hyperparameters,
    defaults: &Defaults,
    config: &DecoderConfig,
) -> Result<usize, TrainError> {
    let context = config.max_position_embeddings;
    let most = context.min(MAX_LENGTH_MAX);
    let length = given.max_length.unwrap_or(defaults.max_length.min(most));
    if (2..=most).contains(&length) {
        return Ok(length);
    }
    let problem = format!("is {length}, it must lie between 2 and {most} for this model");
    Err(TrainError::option("max_length", problem))
}

fn trainer(
    request: &CreateFineTuningJob,
    given: &Hyperparameters,
    defaults: &Defaults,
    accumulation: usize,
) -> TrainerSettings {
    let rate = defaults.learning_rate * given.learning_rate_multiplier.unwrap_or(1.0);
    let optimizer = defaults.optimizer;
    TrainerSettings {
        length: given
            .max_steps
            .map_or(Length::Epochs(given.n_epochs.unwrap_or(defaults.epochs)), Length::Steps),
        learning_rate: given.learning_rate.unwrap_or(rate),
        warmup: given.warmup_steps.map_or(Warmup::Ratio(given.warmup_ratio.unwrap_or(0.0)), Warmup::Steps),
        decline: match given.lr_scheduler_type.as_deref() {
            Some("linear") => Decline::Linear,
            Some("cosine") => Decline::Cosine,
            Some("constant") => Decline::Constant,
            _ => defaults.decline,
        },
        optimizer: AdamWSettings {
            beta1: given.adam_beta1.unwrap_or(optimizer.beta1),
            beta2: given.adam_beta2.unwrap_or(optimizer.beta2),
            eps: given.adam_epsilon.unwrap_or(optimizer.eps),
            weight_decay: given.weight_decay.unwrap_or(optimizer.weight_decay),
            max_grad_norm: match given.max_grad_norm {
                None => optimizer.max_grad_norm,
                Some(max) => Some(max).filter(|&max| max != 0.0),
            },
        },
        accumulation,
        seed: request.seed.unwrap_or(defaults.seed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::families;

    /// LongRoPE's list follows `max_length`, also where the table is longer.
    #[test]
    fn max_length_chooses_the_factors() {
        let config = include_str!("../../tests/fixtures/models/phi3_longrope/config.json");
        let config = families::translate(&serde_json::from_str(config).unwrap()).unwrap();
        let check = |kind: &str, max_length: usize, positions: usize, warns: bool| {
            let hyperparameters = json!({"max_length": max_length});
            let method = match kind {
                "mapping" => json!({"encoder": "e", "hyperparameters": hyperparameters}),
                _ => json!({"hyperparameters": hyperparameters}),
            };
            let request = json!({"model": "m", "training_file": "f", "method": {"type": kind, kind: method}});
            let request: CreateFineTuningJob = serde_json::from_value(request).unwrap();
            let resolved = Resolved::of(&request, &config, CheckpointDtype::F32).unwrap();
            let options = resolved.load_options(&Workers::new(1));
            assert_eq!(
                (options.max_positions, options.context),
                (Some(positions), Some(max_length)),
                "{kind}"
            );
            let warning = resolved.longrope_warning(&config);
            assert_eq!(warning.is_some(), warns, "{kind} {max_length}: {warning:?}");
            assert!(
                warning
                    .is_none_or(|text| text.contains("--max-model-len 24") && text.contains("`max_length`"))
            );
        };
        for (max_length, warns) in [(24, true), (25, false), (128, false)] {
            check("supervised", max_length, max_length, warns);
            check("mapping", max_length, 128, warns);
        }
    }
}
