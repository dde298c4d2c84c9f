//! Carrying a plan out: tensor by tensor, each in pieces on all threads, written in place into files whose headers and
//! sizes are known beforehand.
//!
//! Everything goes into a folder beside the output (`OUT.partial`), which takes the output's name when all of it is there:
//! whoever kills the process leaves no half output. A journal in it names the tensors that are written, so that a merge can
//! be gone on with.

mod journal;
mod output;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::elements::Elements;
use super::error::MergeError;
use super::inputs::InputModel;
use super::plan::{Plan, PlannedTensor, SourceTensor};
use super::pool::Pool;
use super::stages::{self, Operands};
use super::vocabulary::{Gathered, VocabularyPlan, is_vocabulary_tensor};
use journal::Journal;
use output::{OutputFile, PartialOutput};

pub(super) use output::reserve;
pub use output::{Lock, beside, check_free, claim, discard, partial_of};

/// Hears of what is done.
pub trait MergeProgress: Sync {
    /// Before the first tensor; `done` were there from before.
    fn planned(&self, total: MergedAmount, done: MergedAmount);

    /// A tensor is written.
    fn tensor(&self, tensor: &PlannedTensor);
}

/// Tensors and their bytes in the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MergedAmount {
    pub tensors: usize,
    pub bytes: u64,
}

/// Nobody hears.
pub struct Silent;

impl MergeProgress for Silent {
    fn planned(&self, _total: MergedAmount, _done: MergedAmount) {}

    fn tensor(&self, _tensor: &PlannedTensor) {}
}

/// How to work.
#[derive(Debug, Clone, Copy)]
pub struct ExecuteOptions<'a> {
    pub threads: usize,
    /// Go on with what an earlier call left.
    pub resume: bool,
    /// Set to end early.
    pub stop: &'a AtomicBool,
}

/// Write the output: tensors, then what `files` puts beside them into the folder it is given. What is written stays after an
/// error that another call can get over ([`MergeError::is_resumable`]); a merge that is refused leaves nothing.
///
/// # Errors
/// `Output` where the output exists or cannot be written, what is wrong with an input, `Interrupted`.
pub fn execute(
    plan: &Plan,
    models: &[InputModel],
    out: &Path,
    identity: &str,
    options: ExecuteOptions<'_>,
    progress: &dyn MergeProgress,
    files: &dyn Fn(&Path) -> Result<(), MergeError>,
) -> Result<(), MergeError> {
    let partial = PartialOutput::open(out, options.resume)?;
    let journal = Journal::open(partial.path(), identity, options.resume)?;
    match write(plan, models, &partial, journal, options, progress, files) {
        Ok(()) => partial.persist(),
        Err(error) => {
            if !error.is_resumable() {
                partial.remove();
            }
            Err(error)
        }
    }
}

/// Everything into the folder that becomes the output.
fn write(
    plan: &Plan,
    models: &[InputModel],
    partial: &PartialOutput,
    mut journal: Journal,
    options: ExecuteOptions<'_>,
    progress: &dyn MergeProgress,
    files: &dyn Fn(&Path) -> Result<(), MergeError>,
) -> Result<(), MergeError> {
    // A file that was taken away took its tensors along.
    for shard in
        plan.shards.iter().filter(|shard| !OutputFile::is_there(partial.path(), shard, &plan.tensors))
    {
        for at in &shard.tensors {
            journal.forget(&plan.tensors[*at].name);
        }
    }
    let is_done = |journal: &Journal, tensor: &PlannedTensor| journal.has(&tensor.name);
    let (mut total, mut done) = (MergedAmount::default(), MergedAmount::default());
    for tensor in &plan.tensors {
        total = add(total, tensor);
        if is_done(&journal, tensor) {
            done = add(done, tensor);
        }
    }
    progress.planned(total, done);
    let pool = Pool { threads: options.threads, stop: options.stop };
    for shard in &plan.shards {
        let file = OutputFile::open(partial.path(), shard, &plan.tensors)?;
        for (at, offset) in shard.tensors.iter().zip(&shard.offsets) {
            let tensor = &plan.tensors[*at];
            if is_done(&journal, tensor) {
                continue;
            }
            let vocabulary = plan.vocabulary.as_ref().filter(|_| is_vocabulary_tensor(&tensor.name));
            merge_tensor(&pool, tensor, models, vocabulary, &file, *offset)?;
            journal.add(&tensor.name)?;
            progress.tensor(tensor);
        }
        file.finish()?;
    }
    files(partial.path())?;
    journal.remove()
}

fn add(amount: MergedAmount, tensor: &PlannedTensor) -> MergedAmount {
    MergedAmount { tensors: amount.tensors + 1, bytes: amount.bytes + tensor.bytes() }
}

fn merge_tensor(
    pool: &Pool<'_>,
    tensor: &PlannedTensor,
    models: &[InputModel],
    vocabulary: Option<&VocabularyPlan>,
    file: &OutputFile,
    offset: u64,
) -> Result<(), MergeError> {
    let group = tensor.models();
    let view = |source: &SourceTensor| -> Result<Box<dyn Elements + '_>, MergeError> {
        Ok(match vocabulary {
            Some(vocabulary) => {
                Box::new(Gathered::open(&tensor.name, source.model, &group, vocabulary, models)?)
            }
            None => models[source.model].elements(&source.name)?,
        })
    };
    let views: Vec<Box<dyn Elements + '_>> = tensor.sources.iter().map(view).collect::<Result<_, _>>()?;
    let base = tensor.base.as_ref().map(view).transpose()?;
    let sources = views.iter().map(|view| &**view).collect();
    let base = base.as_deref();
    let recipe = &tensor.recipe;
    let by_rows = recipe.needs_rows(&tensor.shape);
    let operands = Operands::new(&tensor.name, &tensor.shape, base, sources, recipe.vectors, by_rows);
    stages::merge(pool, recipe, &operands, &|start, values| file.write(offset, start, values, tensor.dtype))
}
