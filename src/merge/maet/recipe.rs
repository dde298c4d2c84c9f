//! The recipe of a transfer: the models, the numbers of the equations, and the paper's ablations, as one TOML file.
//!
//! ```toml
#![doc = include_str!("recipe.toml")]
//! ```
//!
//! Where the paper leaves a choice, there is a key for it, and the default is the text's reading. Not here: how
//! keys are read (`read.rs`) and what the numbers do (`terms.rs`).

use super::super::config::{Dtype, ModelReference};
use super::super::error::MergeError;
use super::mask::MaskOptions;
use super::modules::Filter;
use super::read;
use super::trainings::TrainingTask;

/// What is transferred from where to what.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// As it was written.
    pub text: String,
    /// Theta_o: what all other models were trained from.
    pub base: ModelReference,
    /// Theta_{A,L0}: trained on the ability in the source language.
    pub ability: ModelReference,
    /// Theta_{L0}: trained on general text of the source language. Needed where a `beta` is not 0.
    pub reference: Option<ModelReference>,
    /// What the ability is carried to. Not empty.
    pub languages: Vec<Language>,
    /// Of Eq 2.
    pub alpha: f64,
    /// Of Eq 2.
    pub beta: f64,
    /// Of Eq 5: how much of the ability is added to a chosen tensor.
    pub gamma: f64,
    /// Of Eq 5: how much of the languages is added to a chosen tensor.
    pub eta: f64,
    /// The share of the tensors, those least similar, that are chosen.
    pub k2: f64,
    pub similarity: Similarity,
    pub filter: Filter,
    pub rank_among: RankAmong,
    /// Of the output; as stored if not given.
    pub dtype: Option<Dtype>,
    /// The masks with which the models are trained.
    pub masks: Vec<MaskTask>,
    /// What is trained before, in order: those without a mask, then, once the masks are made, those with one.
    pub trainings: Vec<TrainingTask>,
    pub ablation: Ablation,
}

/// A language: R(L) = alpha (Theta_L - Theta_o) - beta (Theta_{L0} - Theta_o).
#[derive(Debug, Clone, PartialEq)]
pub struct Language {
    pub model: ModelReference,
    /// mu of Eq 3.
    pub weight: f64,
    pub alpha: f64,
    pub beta: f64,
}

/// What two differences of a tensor are compared by (Eq 4; the paper's text names both).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Similarity {
    Cosine,
    /// The inner product.
    Dot,
}

/// What the share `k2` is a share of, where a filter leaves tensors out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RankAmong {
    /// All tensors: of the last of them, those that the filter takes are chosen.
    All,
    /// Those that the filter takes.
    Filtered,
}

/// One mask file.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskTask {
    /// Models that were trained for a short while; the mask is the union of what changed most in each.
    pub tuned: Vec<ModelReference>,
    pub out: String,
    pub options: MaskOptions,
}

/// Parts of the method that the paper leaves out to see what they do. All are on unless a recipe says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ablation {
    /// Without: masks keep every weight, so that all are trained.
    pub key_neurons: bool,
    /// Without: R(A) is the plain difference Theta_{A,L0} - Theta_o.
    pub ability_weight: bool,
    /// Without: every tensor that the filter takes is chosen.
    pub tensor_selection: bool,
    /// Without: no tensor is chosen, so that only the languages are merged.
    pub transfer: bool,
}

impl Default for Ablation {
    fn default() -> Self {
        Self { key_neurons: true, ability_weight: true, tensor_selection: true, transfer: true }
    }
}

impl Recipe {
    /// The example, with every key and its default.
    pub const EXAMPLE: &str = include_str!("recipe.toml");

    /// Reads and checks a recipe of at most 1 MiB.
    ///
    /// # Errors
    /// What is wrong, with its line and key.
    pub fn parse(text: &str) -> Result<Self, MergeError> {
        Ok(read::recipe(text)?)
    }

    /// The factors of Eq 2, as the ablation leaves them: of what the ability's model, and of what the reference adds.
    pub fn ability_factors(&self) -> (f64, f64) {
        if self.ablation.ability_weight { (self.alpha, self.beta) } else { (1.0, 0.0) }
    }
}

impl Similarity {
    pub const NAMES: [&str; 2] = ["cosine", "dot"];

    pub fn named(name: &str) -> Option<Self> {
        match name {
            "cosine" => Some(Self::Cosine),
            "dot" => Some(Self::Dot),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
        }
    }
}

impl RankAmong {
    pub const NAMES: [&str; 2] = ["all", "filtered"];

    pub fn named(name: &str) -> Option<Self> {
        match name {
            "all" => Some(Self::All),
            "filtered" => Some(Self::Filtered),
            _ => None,
        }
    }
}
