//! Launches of what works row by row: the norm, RoPE with the write into the pool, gated units, rows that move.

use candle_core::cuda_backend::cudarc::driver::{CudaView, CudaViewMut};
use half::bf16;

use super::gpu::{CudaError, Gpu};
use super::kv_pool::CudaKvPool;
use super::launch::{Launch, float, int, launch, long_enough, word};
use crate::ops::Activation;

/// Elements that a thread takes at once.
const VECTOR: usize = 8;

fn in_vectors(op: &'static str, what: &str, size: usize) -> Result<(), CudaError> {
    if size == 0 || !size.is_multiple_of(VECTOR) {
        return Err(CudaError::shape(op, format!("{what} is {size}, it must be a multiple of {VECTOR}")));
    }
    Ok(())
}

/// RMSNorm of rows of `width`, of which `inner` lie together and outer ones `stride` apart.
#[derive(Debug, Clone, Copy)]
pub struct Norm {
    pub outer: usize,
    pub inner: usize,
    pub width: usize,
    pub stride: usize,
    pub eps: f32,
    /// What is added to the weight: 1 for Gemma.
    pub weight_offset: f32,
}

impl Norm {
    const OP: &str = "cuda_add_rms_norm";

    /// `residual += x`, then the norm of the residual into out; all `[outer, width]`, x's rows `stride` apart, out's end to end.
    pub fn with_residual(
        &self,
        gpu: &Gpu,
        x: &CudaView<'_, bf16>,
        residual: &mut CudaViewMut<'_, bf16>,
        weight: &CudaView<'_, bf16>,
        out: &mut CudaViewMut<'_, bf16>,
    ) -> Result<(), CudaError> {
        self.check(x.len(), weight.len())?;
        if self.inner != 1 {
            return Err(CudaError::shape(Self::OP, "a residual's rows do not lie within others"));
        }
        long_enough(Self::OP, "residual", residual.len(), self.outer * self.width)?;
        long_enough(Self::OP, "out", out.len(), self.outer * self.width)?;
        launch!(
            gpu,
            add_rms_norm,
            self.geometry(),
            [x, residual, weight, out],
            [
                int(self.width),
                int(self.inner),
                int(self.stride),
                int(self.width),
                float(self.eps),
                float(self.weight_offset),
            ]
        );
        Ok(())
    }

    /// The norm of x in its place: of the heads of a packed projection.
    pub fn in_place(
        &self,
        gpu: &Gpu,
        x: &mut CudaViewMut<'_, bf16>,
        weight: &CudaView<'_, bf16>,
    ) -> Result<(), CudaError> {
        self.check(x.len(), weight.len())?;
        let no_residual = 0_u64;
        // The kernel reads and writes an element by the same thread.
        let source = x.as_view();
        let out = x.as_view();
        launch!(
            gpu,
            add_rms_norm,
            self.geometry(),
            [&source, &no_residual, weight, &out],
            [
                int(self.width),
                int(self.inner),
                int(self.stride),
                int(self.stride),
                float(self.eps),
                float(self.weight_offset),
            ]
        );
        Ok(())
    }

    fn check(&self, x: usize, weight: usize) -> Result<(), CudaError> {
        in_vectors(Self::OP, "the width", self.width)?;
        in_vectors(Self::OP, "the stride", self.stride)?;
        if self.inner == 0 || self.stride < self.inner * self.width {
            return Err(CudaError::shape(Self::OP, format!("{self:?} has rows that overlap")));
        }
        let needed = self.outer.saturating_sub(1) * self.stride + self.inner * self.width;
        long_enough(Self::OP, "x", x, if self.outer > 0 { needed } else { 0 })?;
        long_enough(Self::OP, "weight", weight, self.width)
    }

    /// The threads follow from the width alone: they are part of a row's bits.
    fn geometry(&self) -> Launch {
        let threads = if self.width <= 256 { 32 } else { 256 };
        Launch { op: Self::OP, grid: [self.outer * self.inner, 1], threads, shared_bytes: 0 }
    }
}

/// RoPE of q and k out of rows `q | k | v`, and k and v into a layer of the pool.
pub struct RopeWrite<'a> {
    /// `[tokens, qkv_stride]`
    pub qkv: CudaView<'a, bf16>,
    pub qkv_stride: usize,
    pub heads: usize,
    /// f32 `[positions, cos | sin, rotary_dim / 2]`
    pub table: CudaView<'a, f32>,
    pub rotary_dim: usize,
    /// `[tokens]`, below the table's.
    pub positions: CudaView<'a, i32>,
    /// `[tokens]`: block * 32 + row, below 0 where nothing is written; no two the same.
    pub slots: CudaView<'a, i32>,
}

impl RopeWrite<'_> {
    const OP: &'static str = "cuda_rope_kv_write";

    /// q into `[tokens, heads, head_dim]`.
    pub fn launch(
        &self,
        gpu: &Gpu,
        q: &mut CudaViewMut<'_, bf16>,
        pool: &mut CudaKvPool,
        layer: usize,
    ) -> Result<(), CudaError> {
        let layout = *pool.layout();
        let (tokens, head_dim) = (self.positions.len(), layout.head_dim);
        let width = (self.heads + 2 * layout.kv_heads) * head_dim;
        if self.qkv_stride < width || !self.rotary_dim.is_multiple_of(2) || self.rotary_dim > head_dim {
            let detail = format!(
                "rows of {} with {} heads and {} turned dimensions do not fit {layout:?}",
                self.qkv_stride, self.heads, self.rotary_dim
            );
            return Err(CudaError::shape(Self::OP, detail));
        }
        let needed = if tokens > 0 { (tokens - 1) * self.qkv_stride + width } else { 0 };
        long_enough(Self::OP, "qkv", self.qkv.len(), needed)?;
        long_enough(Self::OP, "slots", self.slots.len(), tokens)?;
        long_enough(Self::OP, "q", q.len(), tokens * self.heads * head_dim)?;
        let mut pool = pool.layer_mut(layer)?;
        let geometry = Launch { op: Self::OP, grid: [tokens, 1], threads: 128, shared_bytes: 0 };
        launch!(
            gpu,
            rope_kv_write,
            geometry,
            [&self.qkv, &self.table, &self.positions, &self.slots, q, &mut pool],
            [
                int(self.qkv_stride),
                int(self.heads),
                int(layout.kv_heads),
                int(head_dim),
                int(self.rotary_dim / 2),
            ]
        );
        Ok(())
    }
}

/// `activation(gate) * up` of rows `gate | up`.
#[derive(Debug, Clone, Copy)]
pub struct GatedUnit {
    pub activation: Activation,
    pub rows: usize,
    pub width: usize,
}

impl GatedUnit {
    const OP: &str = "cuda_glu";

    /// gate_up `[rows, 2 width]`, out `[rows, width]`.
    pub fn launch(
        &self,
        gpu: &Gpu,
        gate_up: &CudaView<'_, bf16>,
        out: &mut CudaViewMut<'_, bf16>,
    ) -> Result<(), CudaError> {
        in_vectors(Self::OP, "the width", self.width)?;
        long_enough(Self::OP, "gate_up", gate_up.len(), self.rows * 2 * self.width)?;
        long_enough(Self::OP, "out", out.len(), self.rows * self.width)?;
        let grid = [self.width.div_ceil(128 * VECTOR), self.rows];
        let geometry = Launch { op: Self::OP, grid, threads: 128, shared_bytes: 0 };
        match self.activation {
            Activation::Silu => launch!(gpu, silu_mul, geometry, [gate_up, out], [int(self.width)]),
            Activation::GeluTanh => launch!(gpu, gelu_tanh_mul, geometry, [gate_up, out], [int(self.width)]),
        }
        Ok(())
    }
}

impl Gpu {
    /// out`[i]` = table`[ids[i]]` * scale, zeros for ids that the table does not have. table `[count, width]`, out `[ids, width]`.
    pub fn gather_rows(
        &self,
        table: &CudaView<'_, bf16>,
        ids: &CudaView<'_, u32>,
        scale: f32,
        width: usize,
        out: &mut CudaViewMut<'_, bf16>,
    ) -> Result<(), CudaError> {
        const OP: &str = "cuda_gather_rows";
        in_vectors(OP, "the width", width)?;
        long_enough(OP, "out", out.len(), ids.len() * width)?;
        let geometry = Launch { op: OP, grid: [ids.len(), 1], threads: 128, shared_bytes: 0 };
        launch!(
            self,
            gather_rows,
            geometry,
            [table, ids, out],
            [word(table.len() / width), int(width), float(scale)]
        );
        Ok(())
    }

    /// out`[rows[i]]` = vectors`[i]`; no row twice. vectors f32 `[rows, width]`, out `[count, width]`.
    pub fn scatter_vectors(
        &self,
        vectors: &CudaView<'_, f32>,
        rows: &CudaView<'_, u32>,
        width: usize,
        out: &mut CudaViewMut<'_, bf16>,
    ) -> Result<(), CudaError> {
        const OP: &str = "cuda_scatter_vectors";
        in_vectors(OP, "the width", width)?;
        long_enough(OP, "vectors", vectors.len(), rows.len() * width)?;
        let geometry = Launch { op: OP, grid: [rows.len(), 1], threads: 128, shared_bytes: 0 };
        let count = out.len() / width;
        launch!(self, scatter_vectors, geometry, [vectors, rows, out], [word(count), int(width)]);
        Ok(())
    }
}
