//! Forward and backward through a decoder: whole, or in segments whose activations are computed again when their gradient is
//! due, so that memory holds those of one segment (activation checkpointing, arXiv:1604.06174).

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use crate::model::{Batch, Decoder, DenseAttention};
use crate::ops::{Gradients, PackedLinear, Targets, Workers, cross_entropy, record, token_losses, untracked};

/// A loss of the last hidden states and the head.
pub type LossOf<'a> = &'a mut dyn FnMut(&Tensor, &Arc<PackedLinear>) -> Result<Tensor>;

/// What is kept between forward and backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recompute {
    /// All activations.
    Off,
    /// What goes into every segment of so many layers, and the activations of one segment.
    Segments { layers: usize },
}

/// Runs batches through a decoder. Bits depend neither on the segments nor on the number of threads.
#[derive(Clone)]
pub struct Passes {
    workers: Arc<Workers>,
    recompute: Recompute,
}

impl Passes {
    pub fn new(recompute: Recompute, workers: &Arc<Workers>) -> Self {
        Self { workers: Arc::clone(workers), recompute }
    }

    pub fn workers(&self) -> &Arc<Workers> {
        &self.workers
    }

    /// The loss, the weighted sum over the rows, and its gradient with respect to `input` f32 `[total_tokens, hidden]`, what
    /// stands in the place of the embeddings. Gradients of trainable packed weights are added to theirs; `found` is handed those
    /// of variables, a few times.
    ///
    /// # Errors
    /// What an operation reports.
    pub fn backward(
        &self,
        decoder: &Decoder,
        input: &Tensor,
        batch: &Batch,
        targets: &Targets,
        found: &mut dyn FnMut(&Gradients) -> Result<()>,
    ) -> Result<(f64, Tensor)> {
        let mut loss = |hidden: &Tensor, head: &Arc<PackedLinear>| cross_entropy(hidden, head, targets);
        self.backward_of(decoder, input, batch, &mut loss, found)
    }

    /// The same of a loss that `top` makes of the last hidden states, normed, f32 `[total_tokens, hidden]`, and the head.
    ///
    /// # Errors
    /// What an operation reports, and `top`.
    pub fn backward_of(
        &self,
        decoder: &Decoder,
        input: &Tensor,
        batch: &Batch,
        top: LossOf<'_>,
        found: &mut dyn FnMut(&Gradients) -> Result<()>,
    ) -> Result<(f64, Tensor)> {
        let mut attention = DenseAttention::new(decoder, &self.workers);
        let mut segments = self.segments(decoder.config().layers);
        let last = segments.pop().unwrap_or(0..0);
        let mut inputs = vec![input.detach()];
        for segment in &segments {
            let state = inputs.last().unwrap_or(input);
            inputs.push(untracked(|| decoder.layers(state, segment.clone(), batch, &mut attention))?);
        }
        let mut gradient: Option<Tensor> = None;
        let mut loss = 0.0;
        // The last segment goes up to the loss; the others start from their result's gradient.
        for segment in std::iter::once(&last).chain(segments.iter().rev()) {
            let Some(state) = inputs.pop() else { break };
            let above = gradient.take();
            let (result, tape) = record(&[&state], &self.workers, || {
                let out = decoder.layers(&state, segment.clone(), batch, &mut attention)?;
                if above.is_some() {
                    return Ok(out);
                }
                top(&decoder.normed(&out)?, decoder.lm_head())
            })?;
            let above = if let Some(above) = above {
                above
            } else {
                loss = result.to_dtype(DType::F64)?.to_scalar()?;
                result.ones_like()?
            };
            let mut gradients = tape.backward(&result, above)?;
            gradient = gradients.remove(&state)?;
            if gradient.is_none() {
                candle_core::bail!(
                    "the layers {segment:?} give their input no gradient: one of their operations is not recorded"
                );
            }
            found(&gradients)?;
        }
        let gradient = gradient.map_or_else(|| input.zeros_like(), Ok)?;
        Ok((loss, gradient))
    }

    /// The loss of each row, without gradients; 0 for rows without weight.
    ///
    /// # Errors
    /// What an operation reports.
    pub fn losses(
        &self,
        decoder: &Decoder,
        input: &Tensor,
        batch: &Batch,
        targets: &Targets,
    ) -> Result<Vec<f32>> {
        token_losses(&self.hidden(decoder, input, batch)?, decoder.lm_head(), targets)
    }

    /// The last hidden states, normed, without gradients.
    ///
    /// # Errors
    /// What an operation reports.
    pub fn hidden(&self, decoder: &Decoder, input: &Tensor, batch: &Batch) -> Result<Tensor> {
        let mut attention = DenseAttention::new(decoder, &self.workers);
        let layers = 0..decoder.config().layers;
        untracked(|| decoder.normed(&decoder.layers(input, layers, batch, &mut attention)?))
    }

    fn segments(&self, layers: usize) -> Vec<Range<usize>> {
        let length = match self.recompute {
            Recompute::Off => layers.max(1),
            Recompute::Segments { layers } => layers.max(1),
        };
        (0..layers).step_by(length).map(|start| start..layers.min(start + length)).collect()
    }
}
