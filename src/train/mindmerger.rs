//! MindMerger's mapping, trained between a frozen encoder and a frozen language model: Huang et al., arXiv:2405.17386.
//!
//! The language model reads `[BOS][mapped states][end boundary][prompt][target]`, the prompt only in the augmentation stage; the
//! target is learned, its end among it. Rows lie end to end without padding. The original's left padding gives the same numbers,
//! since attention is within a row and RoPE knows distances alone.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};

use super::data::BatchPlan;
use super::data::pairs::{PairStore, PairView};
use super::weights::of_linear;
use super::{ElementOrder, Examples, MicroBatch, Objective, Passes, TrainError, Trained};
use crate::model::augmented::{Mapping, MappingWeights};
use crate::model::encoders::{TextEncoder, Texts};
use crate::model::{Batch, Decoder};
use crate::ops::Targets;

/// What stands before the prompts of a micro-batch's rows.
#[derive(Debug, Clone)]
pub struct Prefixes {
    /// What the encoder reads, a text a row.
    pub texts: Texts,
    /// Rows of the batch that hold its states, in their order. `[states]`
    pub states: Vec<u32>,
    /// Rows of the batch that hold the end boundary. `[sequences]`
    pub boundaries: Vec<u32>,
}

/// One row of a micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairRow<'a> {
    /// The encoder's ids, its end among them.
    pub source: &'a [u32],
    /// Empty in the mapping stage.
    pub prompt: &'a [u32],
    /// With its end.
    pub target: &'a [u32],
}

/// The rows as the language model reads them. Where states and boundaries stand, the ids are `bos` and not read.
pub fn pair_batch<'a>(rows: impl IntoIterator<Item = PairRow<'a>>, bos: u32) -> MicroBatch {
    let (mut ids, mut positions, mut cu_seqlens) = (Vec::new(), Vec::new(), vec![0]);
    let (mut sources, mut states, mut boundaries) = (Vec::new(), Vec::new(), Vec::new());
    let mut targets = Targets { ids: Vec::new(), weights: Vec::new() };
    for PairRow { source, prompt, target } in rows {
        let start = ids.len() as u32;
        let mapped = source.len() as u32;
        states.extend(start + 1..=start + mapped);
        boundaries.push(start + 1 + mapped);
        ids.extend(std::iter::repeat_n(bos, source.len() + 2));
        ids.extend(prompt);
        let first = ids.len();
        ids.extend(target);
        positions.extend(0..ids.len() as u32 - start);
        cu_seqlens.push(ids.len() as u32);
        targets.ids.resize(ids.len(), 0);
        targets.weights.resize(ids.len(), 0.0);
        for (at, &id) in target.iter().enumerate() {
            targets.ids[first + at - 1] = id;
            targets.weights[first + at - 1] = 1.0;
        }
        sources.push(source.to_vec());
    }
    let batch =
        Batch { ids, positions: Arc::new(positions), cu_seqlens: Arc::new(cu_seqlens), ..Batch::default() };
    let prefixes = Prefixes { texts: Texts::new(&sources), states, boundaries };
    MicroBatch { batch, targets, key: 0, prefixes: Some(prefixes) }
}

pub struct MindMerger {
    encoder: Box<dyn TextEncoder>,
    decoder: Decoder,
    mapping: Mapping,
    /// The end boundary, `[d_llm]`, and its gradient.
    boundary: Vec<f32>,
    boundary_gradient: Vec<f32>,
    passes: Passes,
}

impl MindMerger {
    /// The language model may be of any type; it and the encoder stay as they are.
    ///
    /// # Errors
    /// A mapping of other widths; `Model` for a language model that gives no gradients.
    pub fn new(
        encoder: Box<dyn TextEncoder>,
        decoder: Decoder,
        weights: &MappingWeights,
        passes: Passes,
    ) -> Result<Self, TrainError> {
        decoder.config().check_trainable()?;
        let mut mapping = Mapping::trainable(weights, passes.workers())?;
        mapping.check(encoder.hidden_size(), decoder.config().hidden_size)?;
        let boundary = weights.end_boundary.flatten_all()?.to_vec1::<f32>()?;
        for (_, linear) in mapping.linears_mut() {
            let shared = TrainError::Shared { tensor: "mlp".to_owned() };
            Arc::get_mut(linear).ok_or(shared)?.set_trainable()?;
        }
        Ok(Self { encoder, decoder, mapping, boundary_gradient: vec![0.0; boundary.len()], boundary, passes })
    }

    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// As they are now.
    ///
    /// # Errors
    /// Memory.
    pub fn weights(&self) -> Result<MappingWeights, TrainError> {
        Ok(self.mapping.weights(&self.boundary)?)
    }

    /// What the language model reads of a micro-batch, f32 `[total_tokens, hidden]`, and the encoder's states.
    ///
    /// # Errors
    /// What an operation reports.
    pub fn input(&self, micro: &MicroBatch) -> Result<(Tensor, Tensor), TrainError> {
        let embedded = self.decoder.embed(&micro.batch.ids)?;
        let width = self.boundary.len();
        let Some(prefixes) = &micro.prefixes else {
            return Ok((embedded.clone(), embedded.narrow(0, 0, 0)?));
        };
        let states = self.encoder.encode(&prefixes.texts)?.detach(); // [states, d_encoder]
        let mapped = self.mapping.forward(&states)?.flatten_all()?.to_vec1::<f32>()?;
        let mut rows = embedded.flatten_all()?.to_vec1::<f32>()?;
        for (&row, state) in prefixes.states.iter().zip(mapped.chunks_exact(width)) {
            rows[row as usize * width..][..width].copy_from_slice(state);
        }
        for &row in &prefixes.boundaries {
            rows[row as usize * width..][..width].copy_from_slice(&self.boundary);
        }
        Ok((Tensor::from_vec(rows, embedded.shape(), &Device::Cpu)?, states))
    }
}

impl Objective for MindMerger {
    fn accumulate(&mut self, micro: &MicroBatch) -> Result<f64, TrainError> {
        let (input, states) = self.input(micro)?;
        let nothing = &mut |_: &_| Ok(());
        let (loss, gradient) =
            self.passes.backward(&self.decoder, &input, &micro.batch, &micro.targets, nothing)?;
        let Some(prefixes) = &micro.prefixes else { return Ok(loss) };
        for &row in &prefixes.boundaries {
            let row = gradient.get(row as usize)?.to_vec1::<f32>()?;
            self.boundary_gradient.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        let of_states = gradient.index_select(&Tensor::new(prefixes.states.as_slice(), &Device::Cpu)?, 0)?;
        // A tracked input lets the linears' own gradients be added.
        let states = Var::from_tensor(&states)?;
        let mapped = self.mapping.forward(states.as_tensor())?;
        (mapped * of_states)?.sum_all()?.backward()?;
        Ok(loss)
    }

    fn losses(&self, micro: &MicroBatch) -> Result<Vec<f32>, TrainError> {
        let (input, _) = self.input(micro)?;
        Ok(self.passes.losses(&self.decoder, &input, &micro.batch, &micro.targets)?)
    }

    fn trained(&mut self) -> Result<Vec<Trained<'_>>, TrainError> {
        let mut all = Vec::new();
        for (name, linear) in self.mapping.linears_mut() {
            of_linear(name, linear, &|_| true, &mut all)?;
        }
        all.push(Trained {
            name: "end_boundary".to_owned(),
            shape: vec![1, 1, self.boundary.len()],
            order: ElementOrder::RowMajor,
            values: &mut self.boundary,
            gradient: &mut self.boundary_gradient,
        });
        Ok(all)
    }

    fn refresh(&mut self) -> Result<(), TrainError> {
        Ok(())
    }
}

/// Pairs on disk, in the order of a plan.
pub struct PairExamples {
    store: Arc<PairStore>,
    /// Of the pairs that are taken.
    indices: Vec<usize>,
    /// Of places in `indices`.
    plan: BatchPlan,
    bos: u32,
}

impl PairExamples {
    pub fn new(store: Arc<PairStore>, indices: Vec<usize>, plan: BatchPlan, bos: u32) -> Self {
        Self { store, indices, plan, bos }
    }
}

impl Examples for PairExamples {
    fn plan(&self) -> &BatchPlan {
        &self.plan
    }

    fn micro_batch(&self, examples: &[usize]) -> Result<MicroBatch, TrainError> {
        let row = |&place: &usize| {
            let PairView { source, prompt, target, .. } = self.store.pair(self.indices[place]);
            PairRow { source, prompt, target }
        };
        Ok(pair_batch(examples.iter().map(row), self.bos))
    }

    fn tag(&self, example: usize) -> &str {
        self.store.pair(self.indices[example]).language
    }
}
