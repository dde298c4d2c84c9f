//! Launches of LoRA on the rows that go through an adapter.

use candle_core::cuda_backend::cudarc::driver::{CudaView, CudaViewMut};
use half::bf16;

use super::gpu::{CudaError, Gpu};
use super::launch::{Launch, int, launch, long_enough};
use super::wire::{LowRank, RowGroup};

const OP: &str = "cuda_lora_rows";

/// One linear's adapters over a batch: `y += scale * B (A x)` for the rows of the groups.
pub struct LoraRows<'a> {
    /// Their rows are within the batch, each in one group at most; their adapters are below `adapters`'s length.
    pub groups: CudaView<'a, RowGroup>,
    /// Addresses that stay valid until the stream has passed this launch.
    pub adapters: CudaView<'a, LowRank>,
    pub rows: usize,
    pub in_features: usize,
    pub out_features: usize,
    /// Of the adapters.
    pub rank_max: usize,
}

impl LoraRows<'_> {
    /// x `[rows, in_features]`; down is scratch, `[rows, rank_max]` with the rank rounded up to 8; y `[rows, y_stride]`, its first
    /// out_features.
    pub fn launch(
        &self,
        gpu: &Gpu,
        x: &CudaView<'_, bf16>,
        down: &mut CudaViewMut<'_, bf16>,
        y: &mut CudaViewMut<'_, bf16>,
        y_stride: usize,
    ) -> Result<(), CudaError> {
        let rank_max = self.rank_max.next_multiple_of(8);
        if y_stride < self.out_features || self.in_features == 0 || rank_max == 0 {
            let sizes = [self.in_features, self.out_features, self.rank_max, y_stride];
            return Err(CudaError::shape(OP, format!("sizes {sizes:?} do not fit")));
        }
        long_enough(OP, "x", x.len(), self.rows * self.in_features)?;
        long_enough(OP, "down", down.len(), self.rows * rank_max)?;
        let needed = if self.rows > 0 { (self.rows - 1) * y_stride + self.out_features } else { 0 };
        long_enough(OP, "y", y.len(), needed)?;
        let geometry =
            |parts| Launch { op: OP, grid: [self.groups.len(), parts], threads: 128, shared_bytes: 0 };
        launch!(
            gpu,
            lora_down,
            geometry(rank_max / 8),
            [x, &self.groups, &self.adapters, &mut *down],
            [int(self.in_features), int(rank_max)]
        );
        let down = down.as_view();
        launch!(
            gpu,
            lora_up,
            geometry(self.out_features.div_ceil(32)),
            [&down, &self.groups, &self.adapters, y],
            [int(self.out_features), int(y_stride), int(rank_max)]
        );
        Ok(())
    }
}
