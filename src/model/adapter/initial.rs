//! A new adapter, as PEFT begins one: A uniform with variance 1 / (3 in) (Kaiming's rule with a = sqrt(5)), B zero, so that
//! the model is at first what it was.

use std::sync::Arc;

use crate::model::{DecoderConfig, ModelError};
use crate::ops::{PackedLinear, Storage, WeightData, Workers, philox4x32_10};
use crate::weights::{AdapterConfig, ModuleNames};

use super::{Adapter, Pair, Target};

/// What a new adapter is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraSettings {
    pub rank: usize,
    pub alpha: f64,
    /// Of what goes into A, in training.
    pub dropout: f64,
    /// In every layer.
    pub targets: Vec<Target>,
    /// The scale is `alpha / sqrt(rank)` (Kalajdzievski 2023, <https://arxiv.org/abs/2312.03732>) and not `alpha / rank`.
    pub rslora: bool,
}

impl LoraSettings {
    /// # Errors
    /// `InvalidKey`, by PEFT's name.
    pub fn check(&self, config: &DecoderConfig) -> Result<(), ModelError> {
        let narrowest = config.hidden_size.min(config.intermediate_size);
        let refuse = |key: &str, found: String, expected: String| {
            Err(ModelError::InvalidKey { key: key.to_owned(), found, expected })
        };
        if self.rank == 0 || self.rank > narrowest {
            return refuse(
                "r",
                self.rank.to_string(),
                format!("a whole number from 1 to {narrowest}, the model's width"),
            );
        }
        if !self.alpha.is_finite() || self.alpha <= 0.0 {
            return refuse("lora_alpha", self.alpha.to_string(), "a number above 0".to_owned());
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("lora_dropout", self.dropout.to_string(), "a number from 0 to below 1".to_owned());
        }
        let known = Target::of(config);
        let some_of = || {
            let names: Vec<&str> = known.iter().map(|target| target.name()).collect();
            format!("some of this model's {}", names.join(", "))
        };
        if self.targets.is_empty() {
            return refuse("target_modules", "[]".to_owned(), some_of());
        }
        if let Some(other) = self.targets.iter().find(|target| !known.contains(target)) {
            return refuse("target_modules", format!("with {}", other.name()), some_of());
        }
        Ok(())
    }

    fn config(&self) -> AdapterConfig {
        let names = Target::ALL.into_iter().filter(|target| self.targets.contains(target));
        AdapterConfig {
            rank: self.rank,
            alpha: self.alpha,
            use_rslora: self.rslora,
            dropout: self.dropout,
            target_modules: ModuleNames::Names(names.map(|target| target.name().to_owned()).collect()),
            ..AdapterConfig::default()
        }
    }
}

impl Adapter {
    /// The same for the same seed, whatever the number of threads.
    ///
    /// # Errors
    /// `InvalidKey` for settings out of range, by PEFT's names; memory that cannot be had.
    pub fn new(
        config: &DecoderConfig,
        settings: &LoraSettings,
        seed: u64,
        workers: &Arc<Workers>,
    ) -> Result<Self, ModelError> {
        settings.check(config)?;
        let rank = settings.rank;
        let divisor = if settings.rslora { (rank as f64).sqrt() } else { rank as f64 };
        let pair = |layer: usize, target: Target| {
            let [out, input] = target.shape(config);
            Ok::<_, ModelError>(Pair {
                a: pack(
                    &uniform(seed, target.stream(layer), rank * input, (input as f64).sqrt().recip()),
                    rank,
                    input,
                    workers,
                )?,
                b: pack(&vec![0.0; out * rank], out, rank, workers)?,
                scale: settings.alpha / divisor,
            })
        };
        let mut layers = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            let mut places = [const { None }; Target::COUNT];
            for target in Target::of_layer(config, layer).filter(|target| settings.targets.contains(target)) {
                places[target as usize] = Some(pair(layer, target)?);
            }
            layers.push(places);
        }
        Ok(Self { config: settings.config(), layers })
    }
}

/// A factor's panels, always f32.
pub(super) fn pack(
    values: &[f32],
    out: usize,
    input: usize,
    workers: &Arc<Workers>,
) -> Result<Arc<PackedLinear>, ModelError> {
    PackedLinear::pack(WeightData::F32(values), out, input, None, Storage::F32, workers)
        .map_err(|source| ModelError::Pack { tensor: "of an adapter".to_owned(), source })
}

/// In -bound..bound, a function of (seed, stream, element).
fn uniform(seed: u64, stream: u64, count: usize, bound: f64) -> Vec<f32> {
    let key = [seed as u32, (seed >> 32) as u32];
    let words = (0..count.div_ceil(4) as u64).flat_map(|group| {
        let counter = [group as u32, (group >> 32) as u32, stream as u32, (stream >> 32) as u32];
        philox4x32_10(counter, key)
    });
    let number = |word: u32| ((f64::from(word) + 0.5) / f64::from(1_u32 << 31) - 1.0) * bound;
    words.take(count).map(|word| number(word) as f32).collect()
}
