//! Launches of paged attention: a plan's narrow and wide items, then the merge of what was split.

use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, CudaViewMut, DeviceRepr};
use half::bf16;

use super::attention_plan::{AttentionPlan, PlanShape, PlannedBatch, shared_bytes};
use super::gpu::{CudaError, Gpu, head_dim_at};
use super::kv_pool::CudaKvPool;
use super::launch::{Launch, float, int, launch, long_enough};
use super::wire::AttentionItem;
use crate::ops::AttentionSettings;

const OP: &str = "cuda_paged_attention";
const WARP: usize = 32;

/// A planned batch on the device, for all layers of a step that have the plan's shape.
#[derive(Debug)]
pub struct AttentionBatch {
    tables: CudaSlice<u32>,
    table_stride: usize,
    positions: CudaSlice<i32>,
    slots: CudaSlice<i32>,
    plan_rows: CudaSlice<i32>,
    narrow: CudaSlice<AttentionItem>,
    wide: CudaSlice<AttentionItem>,
    merged_rows: CudaSlice<i32>,
    slot_count: usize,
    shape: PlanShape,
}

impl AttentionBatch {
    /// The plan must be of this batch; tables and positions have been checked against the pool.
    pub fn upload(gpu: &Gpu, batch: PlannedBatch<'_>, plan: &AttentionPlan) -> Result<Self, CudaError> {
        let table_stride = batch.block_tables.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let mut tables = Vec::with_capacity(batch.block_tables.len() * table_stride);
        for table in batch.block_tables {
            tables.extend(table);
            tables.resize(tables.len() + table_stride - table.len(), 0);
        }
        let positions: Vec<i32> = batch.positions.iter().map(|&position| position as i32).collect();
        Ok(Self {
            tables: upload(gpu, &tables)?,
            table_stride,
            positions: upload(gpu, &positions)?,
            slots: upload(gpu, &plan.slots)?,
            plan_rows: upload(gpu, &plan.rows)?,
            narrow: upload(gpu, &plan.narrow)?,
            wide: upload(gpu, &plan.wide)?,
            merged_rows: upload(gpu, &plan.merged_rows)?,
            slot_count: plan.slot_count,
            shape: plan.shape,
        })
    }
}

/// To the device; never empty, for which there is no allocation. What there is none of is not launched.
fn upload<T: DeviceRepr>(gpu: &Gpu, values: &[T]) -> Result<CudaSlice<T>, CudaError> {
    let made = if values.is_empty() { gpu.stream().null() } else { gpu.stream().clone_htod(values) };
    made.map_err(CudaError::driver("uploading a batch"))
}

/// One layer's attention over the pool, whose keys and values of this batch have been written.
pub struct Attention<'a> {
    /// `[rows, heads, head_dim]`, rows `q_stride` apart.
    pub q: CudaView<'a, bf16>,
    pub q_stride: usize,
    pub heads: usize,
    pub pool: &'a CudaKvPool,
    pub layer: usize,
    pub batch: &'a AttentionBatch,
    /// Their window must be the plan's.
    pub settings: AttentionSettings,
}

impl Attention<'_> {
    /// Into `[rows, heads, head_dim]`. `partial` is scratch, of the plan's `scratch_bytes` at least.
    pub fn launch(
        &self,
        gpu: &Gpu,
        out: &mut CudaViewMut<'_, bf16>,
        partial: &mut CudaViewMut<'_, f32>,
    ) -> Result<(), CudaError> {
        let (batch, layout) = (self.batch, self.pool.layout());
        let (head_dim, heads, kv_heads) = (layout.head_dim, self.heads, layout.kv_heads);
        let at = head_dim_at(head_dim)?;
        if heads == 0
            || !heads.is_multiple_of(kv_heads)
            || self.q_stride < heads * head_dim
            || !self.q_stride.is_multiple_of(8)
        {
            let detail = format!("{heads} heads in rows of {} do not fit {layout:?}", self.q_stride);
            return Err(CudaError::shape(OP, detail));
        }
        let shape = PlanShape {
            group: heads / kv_heads,
            sliding_window: self.settings.sliding_window,
            wide_warps: gpu.wide_warps(head_dim)?,
        };
        if shape != batch.shape {
            let detail = format!("the batch was planned for {:?}, not for {shape:?}", batch.shape);
            return Err(CudaError::shape(OP, detail));
        }
        let rows = batch.positions.len();
        let q_needed = rows.saturating_sub(1) * self.q_stride + if rows > 0 { heads * head_dim } else { 0 };
        long_enough(OP, "q", self.q.len(), q_needed)?;
        long_enough(OP, "out", out.len(), rows * heads * head_dim)?;
        let values = batch.slot_count * heads * head_dim;
        long_enough(OP, "partial", partial.len(), values + batch.slot_count * heads * 2)?;
        let (mut values, mut states) = partial.split_at_mut(values);
        let pool = self.pool.layer(self.layer)?;
        let window = shape.sliding_window.unwrap_or(0);
        let softcap = self.settings.logit_softcap.unwrap_or(0.0);
        for (items, warps) in [(&batch.narrow, 1), (&batch.wide, shape.wide_warps)] {
            let geometry = Launch {
                op: OP,
                grid: [items.len(), kv_heads],
                threads: warps * WARP,
                shared_bytes: shared_bytes(head_dim, warps),
            };
            launch!(
                gpu,
                paged_attention[at],
                geometry,
                [
                    &self.q,
                    &pool,
                    &batch.tables,
                    items,
                    &batch.plan_rows,
                    &batch.positions,
                    &batch.slots,
                    &mut *out,
                    &mut values,
                    &mut states,
                ],
                [
                    int(self.q_stride),
                    int(heads),
                    int(kv_heads),
                    int(batch.table_stride),
                    int(window),
                    float(self.settings.scale as f32),
                    float(softcap),
                ]
            );
        }
        let (values, states) = (values.as_view(), states.as_view());
        let merge = Launch {
            op: "cuda_merge_splits",
            grid: [batch.merged_rows.len(), heads],
            threads: head_dim,
            shared_bytes: 0,
        };
        launch!(
            gpu,
            merge_splits,
            merge,
            [&values, &states, &batch.merged_rows, &batch.positions, &batch.slots, &mut *out],
            [int(heads), int(head_dim), int(window)]
        );
        Ok(())
    }
}
