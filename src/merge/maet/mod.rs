//! MAET, ability extraction and transfer: what a model learnt of an ability in one language is added to a merge of models
//! that learnt other languages.
//!
//! Follows Chen et al. 2024 (MAET): key neurons (Eq 1, [`mask`]), ability and language weights (Eq 2 and 3),
//! selection of tensors (Eq 4, [`select`]), transfer (Eq 5, [`transfer`]). Two models differ from their base
//! by the training that the masks restrict ([`TrainingTask`]), which is carried out elsewhere. Where the text leaves a choice the recipe has a key.
//!
//! Everything is linear in the checkpoints once tensors are chosen, so a transfer is planned and carried out as any merge
//! is, and can be written as a configuration of mergekit's ([`equivalent_config`]).

mod card;
mod equivalent;
mod job;
mod mask;
mod modules;
mod read;
mod recipe;
mod report;
mod selection;
mod terms;
mod toml_fields;
mod trainings;

pub use crate::weights::Neurons;
pub use equivalent::equivalent_config;
pub use job::{MaetJob, transfer};
pub use mask::{MaskJob, MaskOptions, MaskSummary, mask};
pub use modules::Filter;
pub use recipe::{Ablation, Language, MaskTask, RankAmong, Recipe, Similarity};
pub use report::{report_html, report_text};
pub use selection::{RankedTensor, Selection, select};
pub use trainings::TrainingTask;
