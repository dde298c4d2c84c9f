//! The settings of a training with every default filled in.

use serde_json::{Value, json};

use super::data::{BatchOptions, Packing, TooLong};
use super::{AdamWSettings, Decline, Length, Recompute, RunSettings, TrainError, TrainerSettings, Warmup};
use crate::model::{ComputeDtype, DecoderConfig};
use crate::protocol::fine_tuning::{CreateFineTuningJob, Hyperparameters, MethodKind};

/// Of the decoder's own weights and of adapters.
const LEARNING_RATE: f64 = 2e-5;
const LEARNING_RATE_LORA: f64 = 2e-4;
const BATCH_SIZE: usize = 8;
const MAX_LENGTH: usize = 1024;
/// The longest sequence, packed or not.
const MAX_LENGTH_MAX: usize = 16_384;
const SEED: u64 = 42;

pub(super) struct Resolved {
    pub trainer: TrainerSettings,
    /// Folder and identity are the job's.
    pub run: RunSettings,
    pub max_length: usize,
    pub too_long: TooLong,
    pub max_tokens: Option<u64>,
    pub packing: bool,
    pub micro_batch: usize,
    pub dtype: ComputeDtype,
    pub recompute: Recompute,
}

impl Resolved {
    /// # Errors
    /// `Option`, with the setting's name.
    pub fn of(request: &CreateFineTuningJob, config: &DecoderConfig) -> Result<Self, TrainError> {
        let given = request.hyperparameters();
        let is_cpt = request.kind() == MethodKind::Cpt;
        let max_length = max_length(&given, config)?;
        let (batch, micro_batch) =
            (given.batch_size.unwrap_or(BATCH_SIZE), given.micro_batch_size.unwrap_or(1));
        if micro_batch == 0 || batch == 0 || !batch.is_multiple_of(micro_batch) {
            let problem = format!("is {batch}, which is no multiple of `micro_batch_size` {micro_batch}");
            return Err(TrainError::option("batch_size", problem));
        }
        let cpt = request.method.as_ref().and_then(|method| method.cpt.as_ref()).filter(|_| is_cpt);
        Ok(Self {
            trainer: trainer(request, &given, batch / micro_batch),
            run: RunSettings {
                eval_steps: given.eval_steps,
                save_steps: given.save_steps,
                save_total: given.save_total_limit.unwrap_or(2),
                folder: std::path::PathBuf::new(),
                identity: Value::Null,
                loss_jump_max: given.max_loss_jump.unwrap_or(10.0),
            },
            max_length,
            too_long: match given.too_long.as_deref() {
                Some("truncate") => TooLong::Truncate,
                Some("drop") => TooLong::Drop,
                Some("split") => TooLong::Split,
                _ if is_cpt => TooLong::Split,
                _ => TooLong::Drop,
            },
            max_tokens: cpt.and_then(|cpt| cpt.max_tokens),
            packing: given.packing.unwrap_or(true),
            micro_batch,
            dtype: if given.dtype.as_deref() == Some("bf16") {
                ComputeDtype::Bf16
            } else {
                ComputeDtype::F32
            },
            recompute: if given.gradient_checkpointing.unwrap_or(true) {
                Recompute::Segments { layers: 1 }
            } else {
                Recompute::Off
            },
        })
    }

    pub fn batches(&self) -> BatchOptions {
        let packing = match self.packing {
            true => Packing::BestFit { tokens_max: self.max_length as u32 },
            false => Packing::Off,
        };
        BatchOptions { packing, micro_batch: self.micro_batch, seed: self.trainer.seed }
    }

    /// What of the settings decides what is learned.
    pub fn identity(&self) -> Value {
        let dtype = if self.dtype == ComputeDtype::Bf16 { "bf16" } else { "f32" };
        json!({"trainer": self.trainer, "max_length": self.max_length, "dtype": dtype})
    }
}

fn max_length(given: &Hyperparameters, config: &DecoderConfig) -> Result<usize, TrainError> {
    let context = config.max_position_embeddings;
    let length = given.max_length.unwrap_or(MAX_LENGTH.min(context));
    let most = context.min(MAX_LENGTH_MAX);
    if (2..=most).contains(&length) {
        return Ok(length);
    }
    Err(TrainError::option(
        "max_length",
        format!("is {length}, it must lie between 2 and {most} for this model"),
    ))
}

fn trainer(request: &CreateFineTuningJob, given: &Hyperparameters, accumulation: usize) -> TrainerSettings {
    let rate = if request.lora().is_some() { LEARNING_RATE_LORA } else { LEARNING_RATE };
    let defaults = AdamWSettings::default();
    let epochs = if request.kind() == MethodKind::Cpt { 1.0 } else { 3.0 };
    TrainerSettings {
        length: given.max_steps.map_or(Length::Epochs(given.n_epochs.unwrap_or(epochs)), Length::Steps),
        learning_rate: given.learning_rate.unwrap_or(rate * given.learning_rate_multiplier.unwrap_or(1.0)),
        warmup: given.warmup_steps.map_or(Warmup::Ratio(given.warmup_ratio.unwrap_or(0.0)), Warmup::Steps),
        decline: match given.lr_scheduler_type.as_deref() {
            Some("cosine") => Decline::Cosine,
            Some("constant") => Decline::Constant,
            _ => Decline::Linear,
        },
        optimizer: AdamWSettings {
            beta1: given.adam_beta1.unwrap_or(defaults.beta1),
            beta2: given.adam_beta2.unwrap_or(defaults.beta2),
            eps: given.adam_epsilon.unwrap_or(defaults.eps),
            weight_decay: given.weight_decay.unwrap_or(defaults.weight_decay),
            max_grad_norm: match given.max_grad_norm {
                None => defaults.max_grad_norm,
                Some(max) => Some(max).filter(|&max| max != 0.0),
            },
        },
        accumulation,
        seed: request.seed.unwrap_or(SEED),
    }
}
