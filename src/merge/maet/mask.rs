//! Key neurons (Eq 1): which weights a short training changed most, as a file of bits that a training reads.
//!
//! As in the authors' related code, a neuron is one element by default, its score is the size of its change, one threshold
//! holds for all tensors, and no tensor keeps more than twice its share. A whole row or column scores the Euclidean norm
//! of its change, as Eq 1 writes it, without regard to its length. Where scores are equal, tensors go by name and neurons
//! by index, so that exactly the asked number is kept. Departs from that code in that a neuron beyond its tensor's cap
//! is never kept, even if it reaches the threshold.

mod file;
mod marks;
mod neurons;
mod scores;
mod threshold;

use std::fmt::Write as _;
use std::path::Path;

use super::super::config::ModelReference;
use super::super::elements::Elements;
use super::super::error::MergeError;
use super::super::execute::{ExecuteOptions, MergeProgress, MergedAmount};
use super::super::inputs::{InputModel, Locate};
use super::super::job::MergeJob;
use super::super::plan::{PlanOptions, PlannedTensor, SourceTensor};
use super::super::pool::Pool;
use super::super::stages::{Operands, Vectors};
use super::job::plan;
use crate::weights::Neurons;
use file::{MaskFile, MaskHeader};
use scores::Scores;
use threshold::Kept;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaskOptions {
    pub neurons: Neurons,
    /// k1: the share of all neurons.
    pub density: f64,
    /// A tensor keeps at most `cap` times `density` of its own neurons; 0: no limit.
    pub cap: f64,
}

impl Default for MaskOptions {
    fn default() -> Self {
        Self { neurons: Neurons::Element, density: 0.05, cap: 2.0 }
    }
}

impl MaskOptions {
    /// # Errors
    /// What is out of its range.
    pub fn check(&self) -> Result<(), String> {
        if !(self.density > 0.0 && self.density <= 1.0) {
            return Err(format!("density {} is not above 0 and at most 1", self.density));
        }
        if !(self.cap == 0.0 || self.cap >= 1.0) || !self.cap.is_finite() {
            return Err(format!("cap {} is neither 0, which is no limit, nor 1 or more", self.cap));
        }
        Ok(())
    }
}

/// A base and the models whose changes are looked at, opened.
pub struct MaskJob {
    job: MergeJob,
    tuned: usize,
    /// Those of the base.
    tensors: Vec<PlannedTensor>,
}

/// What a mask keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskSummary {
    /// Name, elements, and how many of them are kept, by name.
    pub tensors: Vec<(String, u64, u64)>,
}

impl MaskSummary {
    pub fn elements(&self) -> u64 {
        self.tensors.iter().map(|(_, elements, _)| elements).sum()
    }

    pub fn kept(&self) -> u64 {
        self.tensors.iter().map(|(_, _, kept)| kept).sum()
    }
}

impl MaskJob {
    /// Open the models. No element is read.
    ///
    /// # Errors
    /// What is wrong with a model, or their tensors together.
    pub fn plan(
        base: &ModelReference,
        tuned: &[ModelReference],
        locate: &Locate<'_>,
        crimes: bool,
    ) -> Result<Self, MergeError> {
        let quoted = |model: &ModelReference| serde_json::Value::from(model.to_string()).to_string();
        let mut text = format!("merge_method: task_arithmetic\nbase_model: {}\nmodels:\n", quoted(base));
        for (at, model) in tuned.iter().enumerate() {
            if model == base || tuned[..at].contains(model) {
                let problem = "is the base itself, or named twice".to_owned();
                return Err(MergeError::Model { model: model.to_string(), problem });
            }
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  - {{model: {}, parameters: {{weight: 1}}}}", quoted(model));
        }
        let job = plan(&text, locate, &PlanOptions { crimes, ..PlanOptions::default() })?;
        let base = &job.models[job.plan.donor];
        // An output matrix that the base ties to its embeddings is no weight of its own.
        let is_of_base = |tensor: &&PlannedTensor| base.tensors.contains(&tensor.name);
        let tensors = job.plan.tensors.iter().filter(is_of_base).cloned().collect();
        Ok(Self { tensors, tuned: tuned.len(), job })
    }
}

/// Write the union of the key neurons of all tuned models to a new file.
///
/// # Errors
/// `Output` where the file exists, what is wrong with an input or an option, `Interrupted`.
pub fn mask(
    job: &MaskJob,
    options: MaskOptions,
    out: &Path,
    execute: ExecuteOptions<'_>,
    progress: &dyn MergeProgress,
) -> Result<MaskSummary, MergeError> {
    let refuse = |problem: String| MergeError::Output { path: out.to_owned(), problem };
    options.check().map_err(refuse)?;
    if out.exists() {
        return Err(refuse("exists; name another file or remove it first".to_owned()));
    }
    let pool = Pool { threads: execute.threads, stop: execute.stop };
    // Two passes a tuned model find the threshold, the third writes.
    let passes = 2 * job.tuned + 1;
    let bytes: u64 = job.tensors.iter().map(PlannedTensor::bytes).sum();
    let total = MergedAmount { tensors: passes * job.tensors.len(), bytes: passes as u64 * bytes };
    progress.planned(total, MergedAmount::default());
    let mut kept = Vec::with_capacity(job.tuned);
    for model in 0..job.tuned {
        let open = |at: usize, then: &mut dyn FnMut(&Scores<'_>) -> Result<(), MergeError>| {
            let tensor = &job.tensors[at];
            let opened = Opened::new(job, tensor)?;
            then(&Scores::of(&pool, &opened.operands(tensor, model), options.neurons)?)?;
            progress.tensor(tensor);
            Ok(())
        };
        kept.push(threshold::find(&pool, job.tensors.len(), &open, options)?);
    }
    write(&pool, job, options, out, kept, progress)
}

fn write(
    pool: &Pool<'_>,
    job: &MaskJob,
    options: MaskOptions,
    out: &Path,
    mut kept: Vec<Kept>,
    progress: &dyn MergeProgress,
) -> Result<MaskSummary, MergeError> {
    let base: &InputModel = &job.job.models[job.job.plan.donor];
    let header = MaskHeader {
        options,
        base_header_sha256: base.header_sha256(),
        base_sha256: base.content_sha256()?,
        tensors: job.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.elements())).collect(),
    };
    let file = MaskFile::create(out, &header)?;
    let mut summary = MaskSummary { tensors: Vec::with_capacity(job.tensors.len()) };
    for (at, tensor) in job.tensors.iter().enumerate() {
        let opened = Opened::new(job, tensor)?;
        let operands: Vec<Operands<'_>> =
            (0..job.tuned).map(|model| opened.operands(tensor, model)).collect();
        let mut scores = Vec::with_capacity(job.tuned);
        for operands in &operands {
            scores.push(Scores::of(pool, operands, options.neurons)?);
        }
        let count = marks::write(pool, &scores, &mut kept, at, &|start, bits| file.write(at, start, bits))?;
        summary.tensors.push((tensor.name.clone(), tensor.elements() as u64, count));
        progress.tensor(tensor);
    }
    file.finish()?;
    Ok(summary)
}

/// One tensor of all models.
struct Opened<'a> {
    base: Option<Box<dyn Elements + 'a>>,
    tuned: Vec<Box<dyn Elements + 'a>>,
}

impl<'a> Opened<'a> {
    fn new(job: &'a MaskJob, tensor: &PlannedTensor) -> Result<Self, MergeError> {
        let open = |source: &SourceTensor| job.job.models[source.model].elements(&source.name);
        let base = tensor.base.as_ref().map(open).transpose()?;
        Ok(Self { base, tuned: tensor.sources.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// The change of one tuned model.
    fn operands(&'a self, tensor: &'a PlannedTensor, model: usize) -> Operands<'a> {
        let tuned: Vec<&dyn Elements> = vec![&*self.tuned[model]];
        let base = self.base.as_deref();
        Operands::new(&tensor.name, &tensor.shape, base, tuned, Vectors::Differences, false)
    }
}
