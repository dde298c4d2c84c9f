//! An adapter from a folder that PEFT wrote (`weights/adapter.rs` reads it), held against the decoder that it is for.
//!
//! Strict where PEFT passes over things: a tensor that no linear takes up, or a linear that the configuration names and that
//! has no tensors, would be a model other than the one that was trained.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::model::{DecoderConfig, ModelError};
use crate::ops::Workers;
use crate::weights::{self, AdapterBias, AdapterConfig, Change, TensorView};

use super::initial::pack;
use super::{Adapter, Pair, Target};

/// Names listed in one error.
const NAMES_MAX: usize = 4;

/// How an adapter is read.
#[derive(Clone)]
pub struct AdapterOptions {
    pub workers: Arc<Workers>,
    pub rank_max: usize,
    /// Memory that its factors may take.
    pub bytes_max: u64,
}

impl Adapter {
    /// Reads and packs an adapter for a decoder of this configuration.
    ///
    /// # Errors
    /// `Weights` for files that cannot be read or contradict each other, `Adapter` for what is not supported or does not fit
    /// the decoder, by key or tensor, before anything is packed.
    pub fn open(folder: &Path, config: &DecoderConfig, options: &AdapterOptions) -> Result<Self, ModelError> {
        let stored = weights::Adapter::open(folder)?;
        let refuse = |problem| ModelError::Adapter { path: folder.to_owned(), problem };
        check_config(stored.config()).map_err(refuse)?;
        check_targets(&stored, config)?;
        let mut layers = Vec::with_capacity(config.layers);
        let (mut sizes, mut bytes) = (Vec::new(), 0);
        for layer in 0..config.layers {
            for target in Target::of_layer(config, layer) {
                let factors =
                    factors(&stored, layer, target, config, options).map_err(|error| error.at(folder))?;
                bytes += factors.as_ref().map_or(0, Factors::bytes);
                sizes.push(factors);
            }
        }
        if bytes > options.bytes_max {
            let max = options.bytes_max >> 20;
            let problem = format!(
                "its factors take {} MiB in f32, and {max} MiB are free; unload another adapter or model first",
                bytes.div_ceil(1 << 20)
            );
            return Err(refuse(problem));
        }
        let mut all = sizes.into_iter();
        for layer in 0..config.layers {
            let mut places = [const { None }; Target::COUNT];
            for target in Target::of_layer(config, layer) {
                places[target as usize] =
                    all.next().flatten().map(|factors| factors.pack(&options.workers)).transpose()?;
            }
            layers.push(places);
        }
        Ok(Self { config: stored.config().clone(), layers })
    }
}

/// Refuses what is more than a sum of low rank on linears.
fn check_config(config: &AdapterConfig) -> Result<(), String> {
    let merge = "merge it into its base (`xenoglot lora merge`) and serve the model that it gives";
    if config.bias != AdapterBias::None {
        return Err(format!("`bias` is not \"none\", so that it changes biases too; {merge}"));
    }
    if config.lora_bias {
        return Err(format!("`lora_bias` is set, so that it changes biases too; {merge}"));
    }
    if config.fan_in_fan_out {
        return Err(format!(
            "`fan_in_fan_out` is set, and no supported model stores weights as [in, out]; {merge}"
        ));
    }
    if !config.modules_to_save.is_empty() {
        let saved = config.modules_to_save.join(", ");
        return Err(format!("`modules_to_save` ({saved}) replaces whole modules; {merge}"));
    }
    Ok(())
}

/// Compares the tensors with what the configuration names, both ways, among the decoder's linears.
fn check_targets(stored: &weights::Adapter, config: &DecoderConfig) -> Result<(), ModelError> {
    let refuse = |problem| Err(ModelError::Adapter { path: stored.path().to_owned(), problem });
    let of_layer = |layer| Target::of_layer(config, layer).map(move |target| target.module(layer));
    let linears = || (0..config.layers).flat_map(of_layer);
    let known: BTreeSet<String> = linears().collect();
    let changed = stored.targets();
    let module = |weight: &str| weight.strip_suffix(".weight").unwrap_or(weight).to_owned();
    let unknown: Vec<String> =
        changed.iter().map(|weight| module(weight)).filter(|name| !known.contains(name)).collect();
    if !unknown.is_empty() {
        let is_adaptable = |target: &&Target| {
            (0..config.layers).any(|layer| Target::of_layer(config, layer).any(|other| other == **target))
        };
        let names: Vec<&str> =
            Target::of(config).iter().filter(is_adaptable).map(|target| target.name()).collect();
        return refuse(format!(
            "changes {}, and in a served model only the linears of its {} layers ({}) can be adapted{}; merge it into its base \
             (`xenoglot lora merge`), or name the model that it is for",
            listed(&unknown),
            config.layers,
            names.join(", "),
            if config.experts.is_some() { ", experts cannot" } else { "" },
        ));
    }
    if stored.config().target_modules.is_empty() {
        return Ok(());
    }
    let named = stored.among(linears())?;
    let has: BTreeSet<String> = changed.iter().map(|weight| module(weight)).collect();
    let missing: Vec<String> = named.iter().filter(|name| !has.contains(*name)).cloned().collect();
    if !missing.is_empty() {
        return refuse(format!(
            "`target_modules` names {}, for which it has no tensors; the file is incomplete, or the adapter is for a model of \
             fewer layers",
            listed(&missing)
        ));
    }
    let named: BTreeSet<String> = named.into_iter().collect();
    let others: Vec<String> = has.into_iter().filter(|name| !named.contains(name)).collect();
    if !others.is_empty() {
        return refuse(format!(
            "has tensors for {}, which `target_modules`, `exclude_modules` and `layers_to_transform` leave out; PEFT would \
             pass over them: correct the configuration",
            listed(&others)
        ));
    }
    Ok(())
}

fn listed(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMES_MAX)].join(", ");
    let more = names.len().saturating_sub(NAMES_MAX);
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// The stored factors of one linear, checked.
struct Factors<'a> {
    a: TensorView<'a>,
    b: TensorView<'a>,
    scale: f64,
}

/// What is wrong with the factors of a linear.
enum Wrong {
    Weights(weights::WeightsError),
    Problem(String),
}

impl Wrong {
    fn at(self, folder: &Path) -> ModelError {
        match self {
            Self::Weights(error) => error.into(),
            Self::Problem(problem) => ModelError::Adapter { path: folder.to_owned(), problem },
        }
    }
}

fn factors<'a>(
    stored: &'a weights::Adapter,
    layer: usize,
    target: Target,
    config: &DecoderConfig,
    options: &AdapterOptions,
) -> Result<Option<Factors<'a>>, Wrong> {
    let module = target.module(layer);
    let change = stored.for_weight(&format!("{module}.weight")).map_err(Wrong::Weights)?;
    let (a, b, scale) = match change {
        None => return Ok(None),
        Some(Change::LowRank { a, b, scale, transposed: false, base: None }) => (a, b, scale),
        Some(_) => {
            return Err(Wrong::Problem(format!(
                "`{module}` is replaced, not adapted; merge it into its base"
            )));
        }
    };
    let [out, input] = target.shape(config);
    let rank = a.shape[0];
    if a.shape[1] != input || b.shape[0] != out {
        return Err(Wrong::Problem(format!(
            "`{module}` has A {:?} and B {:?}, the model's linear is {out} x {input}: it is for another model",
            a.shape, b.shape
        )));
    }
    if rank > options.rank_max {
        let max = options.rank_max;
        return Err(Wrong::Problem(format!(
            "`{module}` has rank {rank}, at most {max} is served: raise `max_lora_rank`, or merge it into its base"
        )));
    }
    Ok(Some(Factors { a, b, scale }))
}

impl Factors<'_> {
    /// Once packed: panels hold sixteen outputs each.
    fn bytes(&self) -> u64 {
        let factor = |view: &TensorView<'_>| {
            (view.shape[0].next_multiple_of(16) * view.shape[1].next_multiple_of(2)) as u64
        };
        4 * (factor(&self.a) + factor(&self.b))
    }

    fn pack(&self, workers: &Arc<Workers>) -> Result<Pair, ModelError> {
        let factor = |view: &TensorView<'_>| pack(&view.to_f32()?, view.shape[0], view.shape[1], workers);
        Ok(Pair { a: factor(&self.a)?, b: factor(&self.b)?, scale: self.scale })
    }
}
