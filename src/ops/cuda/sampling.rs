//! Launches of the sampler: edits of logits, then a token a row, so that only tokens and the logprobs that were asked for come back.

use candle_core::cuda_backend::cudarc::driver::{CudaView, CudaViewMut};

use super::gpu::{CudaError, Gpu};
use super::launch::{Launch, int, launch, long_enough, word};
use super::wire::{Edit, Penalties, SampleRequest, Sampled};

/// Values that are summed together.
const SUM_BLOCK: usize = 256;

/// Bias, penalties and what a grammar allows, on rows of logits.
pub struct EditLogits<'a> {
    /// f32 `[rows, vocab]`
    pub logits: CudaView<'a, f32>,
    pub vocab: usize,
    /// Those of a row together, one an id.
    pub edits: CudaView<'a, Edit>,
    /// `[rows + 1]`
    pub cu_edits: CudaView<'a, i32>,
    /// `[rows]`; their masks are rows of `masks`.
    pub penalties: CudaView<'a, Penalties>,
    /// `[.., (vocab + 31) / 32]`: a bit for every id that may come.
    pub masks: Option<CudaView<'a, u32>>,
}

impl EditLogits<'_> {
    const OP: &'static str = "cuda_edit_logits";

    /// Into `[rows, vocab]`, another buffer: raw logprobs are read from the logits.
    pub fn launch(&self, gpu: &Gpu, processed: &mut CudaViewMut<'_, f32>) -> Result<(), CudaError> {
        let rows = self.penalties.len();
        long_enough(Self::OP, "logits", self.logits.len(), rows * self.vocab)?;
        long_enough(Self::OP, "processed", processed.len(), rows * self.vocab)?;
        long_enough(Self::OP, "cu_edits", self.cu_edits.len(), rows + 1)?;
        let geometry = Launch { op: Self::OP, grid: [rows, 1], threads: 256, shared_bytes: 0 };
        if let Some(masks) = &self.masks {
            launch!(
                gpu,
                edit_logits,
                geometry,
                [&self.logits, processed, &self.edits, &self.cu_edits, &self.penalties, masks],
                [word(self.vocab)]
            );
        } else {
            let no_masks = 0_u64;
            launch!(
                gpu,
                edit_logits,
                geometry,
                [&self.logits, processed, &self.edits, &self.cu_edits, &self.penalties, &no_masks],
                [word(self.vocab)]
            );
        }
        Ok(())
    }
}

/// A token a row, and logprobs.
pub struct SampleRows<'a> {
    /// The model's, f32 `[rows, vocab]`.
    pub logits: CudaView<'a, f32>,
    /// What they were edited to; may be the same.
    pub processed: CudaView<'a, f32>,
    pub vocab: usize,
    /// `[rows]`
    pub requests: CudaView<'a, SampleRequest>,
    /// Rows that are sampled at once, each with scratch of its own: 12 bytes an id.
    pub blocks: usize,
    /// How many of the best there is room for.
    pub top_stride: usize,
}

/// Where a launch of `SampleRows` writes.
pub struct SampledRows<'a> {
    /// `[rows]`
    pub results: CudaViewMut<'a, Sampled>,
    /// `[rows, top_stride]` both
    pub top_ids: CudaViewMut<'a, u32>,
    pub top_logprobs: CudaViewMut<'a, f32>,
    /// Scratch: `[blocks, vocab]` both, and `[blocks, (vocab + 255) / 256]`.
    pub keys: CudaViewMut<'a, u64>,
    pub weights: CudaViewMut<'a, f32>,
    pub block_sums: CudaViewMut<'a, f64>,
}

impl SampleRows<'_> {
    const OP: &'static str = "cuda_sample";

    pub fn launch(&self, gpu: &Gpu, to: &mut SampledRows<'_>) -> Result<(), CudaError> {
        let (rows, vocab) = (self.requests.len(), self.vocab);
        if vocab == 0 || self.blocks == 0 || i32::try_from(vocab).is_err() {
            return Err(CudaError::shape(Self::OP, format!("{vocab} ids by {} blocks", self.blocks)));
        }
        let lengths = [
            ("logits", self.logits.len(), rows * vocab),
            ("processed", self.processed.len(), rows * vocab),
            ("results", to.results.len(), rows),
            ("top_ids", to.top_ids.len(), rows * self.top_stride),
            ("top_logprobs", to.top_logprobs.len(), rows * self.top_stride),
            ("keys", to.keys.len(), self.blocks * vocab),
            ("weights", to.weights.len(), self.blocks * vocab),
            ("block_sums", to.block_sums.len(), self.blocks * vocab.div_ceil(SUM_BLOCK)),
        ];
        for (what, found, needed) in lengths {
            long_enough(Self::OP, what, found, needed)?;
        }
        let grid = [self.blocks.min(rows), 1];
        let geometry = Launch { op: Self::OP, grid, threads: 1024, shared_bytes: 0 };
        launch!(
            gpu,
            sample,
            geometry,
            [
                &self.logits,
                &self.processed,
                &self.requests,
                &mut to.results,
                &mut to.top_ids,
                &mut to.top_logprobs,
                &mut to.keys,
                &mut to.weights,
                &mut to.block_sums,
            ],
            [int(rows), word(vocab), int(self.top_stride)]
        );
        Ok(())
    }
}
