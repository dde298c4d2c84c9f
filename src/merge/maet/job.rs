//! A transfer from its recipe to the finished folder: planned by the merger, with the factors of Eq 5 in place of weights,
//! and carried out by it, so that shards, types, an interruption and going on are those of any merge.

use std::cell::RefCell;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::super::error::MergeError;
use super::super::execute::{ExecuteOptions, MergeProgress, execute};
use super::super::files;
use super::super::inputs::Locate;
use super::super::job::{FileOptions, MergeJob};
use super::super::plan::{Plan, PlanOptions};
use super::super::stages::Combine;
use super::card;
use super::equivalent::{equivalent_config, skeleton};
use super::recipe::Recipe;
use super::selection::Selection;
use super::terms::{Term, terms};

/// A recipe whose models are opened.
pub struct MaetJob {
    pub recipe: Recipe,
    /// The models, and what the output will be; its tensors' weights are not yet those of the transfer.
    pub job: MergeJob,
    pub(super) terms: Vec<Term>,
}

impl MaetJob {
    /// Open the models of a recipe. No element is read.
    ///
    /// # Errors
    /// What is wrong with a model, or their tensors together, or a filter that takes no tensor.
    pub fn plan(recipe: Recipe, locate: &Locate<'_>, options: &PlanOptions) -> Result<Self, MergeError> {
        let job = plan(&skeleton(&recipe), locate, options)?;
        if !job.plan.tensors.iter().any(|tensor| recipe.filter.takes(&tensor.name)) {
            let problem = format!("has no tensor that the recipe's filter takes ({:?})", recipe.filter);
            return Err(MergeError::Model { model: recipe.base.to_string(), problem });
        }
        let terms = terms(&recipe);
        Ok(Self { recipe, job, terms })
    }

    /// The plan of the transfer.
    ///
    /// # Errors
    /// `Tensor` where the selection is of other models or numbers.
    pub fn transfer_plan(&self, selection: &Selection) -> Result<Plan, MergeError> {
        let mut plan = self.job.plan.clone();
        let names = plan.tensors.iter().map(|tensor| &tensor.name);
        if !selection.fits(&self.terms) || names.ne(selection.tensors.iter().map(|tensor| &tensor.name)) {
            let tensor = selection.tensors.first().map(|tensor| tensor.name.clone()).unwrap_or_default();
            let problem = "the selection was made with other models or weights: select again".to_owned();
            return Err(MergeError::Tensor { tensor, problem });
        }
        for (tensor, ranked) in plan.tensors.iter_mut().zip(&selection.tensors) {
            let weights = self.terms.iter().map(|term| term.weight(&self.recipe, ranked.chosen)).collect();
            tensor.recipe.combine =
                Combine::Weighted { weights, normalize: false, guard: false, lambda: 1.0 };
        }
        Ok(plan)
    }
}

/// Write the merged model into a new folder, as a merge does, with the recipe and the report beside it.
///
/// # Errors
/// A selection of something else; see [`execute`].
pub fn transfer(
    job: &mut MaetJob,
    selection: &Selection,
    out: &Path,
    options: ExecuteOptions<'_>,
    file_options: FileOptions,
    progress: &dyn MergeProgress,
) -> Result<(), MergeError> {
    job.job.plan = job.transfer_plan(selection)?;
    // Beside the tensors lies the configuration that makes the same; it holds every weight, so that it tells one transfer
    // from another where one is gone on with.
    job.job.config.text = equivalent_config(&job.recipe, selection);
    let mut identity = Sha256::new();
    identity.update(job.job.identity().as_bytes());
    identity.update(job.recipe.text.as_bytes());
    let identity = format!("{:x}", identity.finalize());
    let job = &*job;
    let write_files = |folder: &Path| {
        files::write(&job.job, folder, FileOptions { no_card: true, ..file_options })?;
        card::write(job, selection, folder, file_options)
    };
    execute(&job.job.plan, &job.job.models, out, &identity, options, progress, &write_files)
}

/// As the merger plans its configurations. A model that is not there is told by its name alone, for the text and its lines
/// are none that the user wrote.
pub(super) fn plan(text: &str, locate: &Locate<'_>, options: &PlanOptions) -> Result<MergeJob, MergeError> {
    let missing = RefCell::new(None);
    let watched = |path: &str, revision: Option<&str>| {
        let found = locate(path, revision);
        found.inspect_err(|problem| drop(missing.replace(Some((path.to_owned(), problem.clone())))))
    };
    let planned = MergeJob::plan(text, &watched, options);
    planned.map_err(|error| match missing.take() {
        Some((model, problem)) => MergeError::Model { model, problem },
        None => error.without_place(),
    })
}
