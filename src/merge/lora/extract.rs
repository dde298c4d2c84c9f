//! An adapter out of a tuned model and its base: the difference of each weight, cut to a low rank.
//!
//! As mergekit-extract-lora, with these departures. Differences are taken in f32, whatever the models store. What did not
//! change is left out. A rank can be asked for by the part of the difference's energy (sum of squares) that it keeps. A
//! changed bias is kept whole, as adapters trained with `bias` have it, because PEFT cannot add `lora_B.bias` where only some
//! modules have one. One module's difference is in memory at a time.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::extractor::Extractor;
use crate::weights::{TensorSource, WeightsError, WrittenDtype};

#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("the pattern `{pattern}`: {problem}")]
    Pattern { pattern: String, problem: String },
    #[error("tensor {tensor}: {problem}")]
    Tensor { tensor: String, problem: &'static str },
    #[error(
        "none of the weights that were asked for differs between the two models; there is nothing to extract"
    )]
    Nothing,
    #[error("{key} is {value}; {allowed}")]
    Option { key: &'static str, value: String, allowed: &'static str },
    #[error("interrupted")]
    Interrupted,
    /// No memory.
    #[error(transparent)]
    Compute(#[from] candle_core::Error),
}

/// What to extract.
#[derive(Debug, Clone)]
pub struct ExtractOptions {
    /// The largest rank.
    pub rank: usize,
    /// The part of a difference's energy that is enough, in (0, 1].
    pub energy: Option<f64>,
    /// Singular values up to this are dropped.
    pub sv_epsilon: f64,
    /// Both matrices take the root of the singular values; otherwise all of it goes into A.
    pub distribute_scale: bool,
    /// Decompose embeddings and the output matrix too.
    pub embed_lora: bool,
    /// Modules, by whole or last names, that are kept whole.
    pub save_modules: Vec<String>,
    /// Regular expressions that are searched for in names of modules.
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    /// Leave out what is no matrix and is not asked for, instead of keeping it whole.
    pub skip_undecomposable: bool,
    /// Of the adapter; the tuned model's, as far as it can be written, where there is none.
    pub dtype: Option<WrittenDtype>,
    /// As the adapter's configuration names the base.
    pub base_model: String,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        Self {
            rank: 128,
            energy: None,
            sv_epsilon: 0.0,
            distribute_scale: true,
            embed_lora: false,
            save_modules: Vec::new(),
            include: Vec::new(),
            exclude: Vec::new(),
            skip_undecomposable: false,
            dtype: None,
            base_model: String::new(),
        }
    }
}

/// What became of the models' weights.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extraction {
    pub modules: Vec<ExtractedModule>,
    /// Modules whose weights are kept whole.
    pub whole: Vec<String>,
    /// Weights that differ and are no part of the adapter, because they were not asked for or are no matrices.
    pub left_out: Vec<String>,
    /// Weights that are the same in both.
    pub unchanged: usize,
}

/// One low-rank module.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtractedModule {
    pub name: String,
    pub rank: usize,
    /// The part of the difference's energy that is kept.
    pub energy: f64,
    /// The norm of what is not, to a thousandth of the difference's norm.
    pub error: f64,
}

/// Writes an adapter with which `base` becomes `tuned`, or nearly so. `progress` hears the module that is begun, how many
/// are done and how many there are.
///
/// # Errors
/// Models that do not go together, options that make no sense, files that cannot be written.
pub fn extract(
    base: &dyn TensorSource,
    tuned: &dyn TensorSource,
    out: &Path,
    options: &ExtractOptions,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Extraction, ExtractError> {
    check(options)?;
    let names = tuned.names();
    if let Some(missing) = base.names().into_iter().find(|name| !tuned.contains(name)) {
        let problem = "is in the base model and not in the tuned one";
        return Err(ExtractError::Tensor { tensor: missing, problem });
    }
    let mut extractor = Extractor::new(base, tuned, out, options)?;
    for (at, name) in names.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            return Err(ExtractError::Interrupted);
        }
        progress(name, at, names.len());
        extractor.weight(name)?;
    }
    extractor.finish(&names)
}

/// # Errors
/// `Option`.
fn check(options: &ExtractOptions) -> Result<(), ExtractError> {
    let wrong = |key, value: String, allowed| Err(ExtractError::Option { key, value, allowed });
    if options.rank == 0 {
        return wrong("rank", "0".into(), "a rank is a whole number from 1 on");
    }
    if let Some(energy) = options.energy
        && !(energy > 0.0 && energy <= 1.0)
    {
        return wrong("energy", energy.to_string(), "a part of the energy is above 0 and at most 1");
    }
    if options.sv_epsilon.is_nan() || options.sv_epsilon < 0.0 {
        return wrong("sv-epsilon", options.sv_epsilon.to_string(), "a singular value is not below 0");
    }
    Ok(())
}
