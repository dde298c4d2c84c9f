//! Causal attention over the paged KV pool, for a ragged batch of sequences.
//!
//! First the batch's keys and values are written into the pool, then every row attends, reading all of its keys
//! and values from there. Each (row, head) is an online softmax (arXiv:1805.02867) that carries maximum, sum and
//! accumulator over absolute tiles of 32 positions, left to right. So a row's bits do not depend on how its
//! prompt was cut into chunks, on what was cached, on the rows beside it or on the threads.
//!
//! Blocks that sequences share are read once for all of them: `plan` finds the shared prefixes and deals out the
//! work. A bf16 pool is multiplied as bf16 pairs where the processor can (`pairs`); everything else is f32
//! arithmetic (`attend`).
//!
//! Not here: splitting one row's keys over threads, which would need another order of the sums.

mod attend;
mod batch;
mod check;
#[cfg(target_arch = "x86_64")]
mod pairs;
mod plan;
mod scratch;
#[cfg(test)]
mod tests;
mod work;
mod write;

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::kv_pool::KvElements;
use super::parallel::{SharedMut, output};
use super::rows::{StridedRows, rows_are_contiguous};
use super::{Isa, KvPool, Workers};
pub use batch::PagedBatch;
use work::Work;
use write::WriteElement;

const OP: &str = "paged_attention";

/// What a layer's attention does beside softmax(q k) v.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionSettings {
    /// Multiplies q k.
    pub scale: f64,
    /// A row at position p sees the positions above p - window only.
    pub sliding_window: Option<usize>,
    /// `cap * tanh(score / cap)`, after the scale.
    pub logit_softcap: Option<f32>,
}

/// q f32 `[rows, heads, head_dim]`, k and v f32 `[rows, kv_heads, head_dim]`, RoPE applied; the result is
/// f32 `[rows, heads * head_dim]`. q, k and v may be narrowed out of a wider tensor: rows that lie apart are not
/// copied. Writes k and v into the pool. No gradient: `backward` through it is an error.
#[expect(
    clippy::too_many_arguments,
    reason = "the three tensors of a candle operation, and what it works on"
)]
pub fn paged_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    pool: &Arc<KvPool>,
    layer: usize,
    batch: &Arc<PagedBatch>,
    settings: AttentionSettings,
    workers: &Arc<Workers>,
) -> Result<Tensor> {
    let op = PagedAttention {
        pool: Arc::clone(pool),
        layer,
        batch: Arc::clone(batch),
        settings,
        workers: Arc::clone(workers),
    };
    let rows = |x: &Tensor| if rows_are_contiguous(x.layout()) { Ok(x.clone()) } else { x.contiguous() };
    rows(q)?.apply_op3(&rows(k)?, &rows(v)?, op)
}

struct PagedAttention {
    pool: Arc<KvPool>,
    layer: usize,
    batch: Arc<PagedBatch>,
    settings: AttentionSettings,
    workers: Arc<Workers>,
}

impl CustomOp3 for PagedAttention {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let heads = self.check(q_layout.shape().dims(), k_layout.shape().dims(), v_layout.shape().dims())?;
        let q = StridedRows::new(OP, "q", q, q_layout)?;
        let k = StridedRows::new(OP, "k", k, k_layout)?;
        let v = StridedRows::new(OP, "v", v, v_layout)?;
        let layout = self.pool.layout();
        let (group, threads) = (heads / layout.kv_heads, self.workers.threads());
        let prepared = self.batch.prepare(layout.blocks, layout.kv_heads, group, threads)?;
        let operands = Operands { q, k, v, heads, prepared: &prepared };
        let out = match &mut *self.pool.lock() {
            KvElements::F32(elements) => self.forward(&operands, elements, attend::attend),
            KvElements::Bf16(elements) => self.forward(&operands, elements, bf16_kernel(self.workers.isa())),
        };
        let shape = (self.batch.positions.len(), heads * layout.head_dim);
        Ok((CpuStorage::F32(out), shape.into()))
    }
}

/// What has been checked to fit.
struct Operands<'a> {
    q: StridedRows<'a>,
    k: StridedRows<'a>,
    v: StridedRows<'a>,
    heads: usize,
    prepared: &'a batch::Prepared,
}

/// Does one item.
type ItemKernel<T> = fn(Isa, Work<'_, T>);

fn bf16_kernel(isa: Isa) -> ItemKernel<u16> {
    #[cfg(target_arch = "x86_64")]
    if isa.has_bf16_dot() {
        return pairs::attend;
    }
    let _ = isa;
    attend::attend
}

impl PagedAttention {
    fn forward<T: WriteElement>(
        &self,
        operands: &Operands<'_>,
        elements: &mut [T],
        kernel: ItemKernel<T>,
    ) -> Vec<f32> {
        let &Operands { q, k, v, heads, prepared } = operands;
        self.write(k, v, &prepared.slots, &SharedMut::new(elements));
        let layout = self.pool.layout();
        let plan = &prepared.plan;
        // SAFETY: the items cover every row and head, and a kernel writes those of its item whole.
        unsafe {
            output(self.batch.positions.len() * heads * layout.head_dim, |out| {
                self.workers.run(plan.items.len(), &|part| {
                    let work = Work {
                        q,
                        heads,
                        group: heads / layout.kv_heads,
                        positions: &self.batch.positions,
                        block_tables: &self.batch.block_tables,
                        plan,
                        item: &plan.items[part],
                        elements,
                        layout,
                        layer: self.layer,
                        settings: self.settings,
                        out: out.start(),
                    };
                    kernel(self.workers.isa(), work);
                });
            })
        }
    }
}
