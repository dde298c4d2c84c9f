//! Causal attention over the paged KV pool, for a ragged batch of sequences.
//!
//! First the batch's keys and values are written into the pool, then every row attends, reading all of its keys
//! and values from there. Each (row, head) is an online softmax (arXiv:1805.02867) that carries maximum, sum and
//! accumulator over absolute tiles of 32 positions, left to right. So a row's bits do not depend on how its
//! prompt was cut into chunks, on what was cached, on the rows beside it or on the threads.
//!
//! Not here: splitting one row's keys over threads, which would need another order of the sums.

mod attend;
mod check;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::kv_pool::KvElements;
use super::parallel::{SharedMut, output};
use super::rows::contiguous_f32;
use super::simd::Element;
use super::{KvPool, Workers};
use attend::{Attend, Item};

const OP: &str = "paged_attention";

/// Where the rows of a ragged batch stand in their sequences and in the pool.
#[derive(Debug, Clone, Default)]
pub struct PagedBatch {
    /// Row offsets of the sequences, first 0, last the number of rows. `[sequences + 1]`
    pub cu_seqlens: Arc<Vec<u32>>,
    /// Absolute position of a row in its sequence; it sees the positions 0 to its own. `[rows]`
    pub positions: Arc<Vec<u32>>,
    /// The pool's blocks of a sequence, in order, as far as its largest position at least. `[sequences]`
    pub block_tables: Vec<Vec<u32>>,
}

/// What a layer's attention does beside softmax(q k) v.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionSettings {
    /// Multiplies q k.
    pub scale: f32,
    /// A row at position p sees the positions above p - window only.
    pub sliding_window: Option<usize>,
    /// `cap * tanh(score / cap)`, after the scale.
    pub logit_softcap: Option<f32>,
}

/// q f32 `[rows, heads, head_dim]`, k and v f32 `[rows, kv_heads, head_dim]`, RoPE applied; the result is
/// f32 `[rows, heads * head_dim]`. Writes k and v into the pool. No gradient: `backward` through it is an error.
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
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
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
        let q = contiguous_f32(OP, "q", q, q_layout)?;
        let k = contiguous_f32(OP, "k", k, k_layout)?;
        let v = contiguous_f32(OP, "v", v, v_layout)?;
        let out = match &mut *self.pool.lock() {
            KvElements::F32(elements) => self.forward(q, k, v, heads, elements),
            KvElements::Bf16(elements) => self.forward(q, k, v, heads, elements),
        };
        let shape = (self.batch.positions.len(), heads * self.pool.layout().head_dim);
        Ok((CpuStorage::F32(out), shape.into()))
    }
}

impl PagedAttention {
    /// The shapes and the batch have been checked.
    fn forward<T: Element>(
        &self,
        q: &[f32],
        k: &[f32],
        v: &[f32],
        heads: usize,
        elements: &mut [T],
    ) -> Vec<f32> {
        self.write(k, v, &SharedMut::new(elements));
        let items = self.items(heads / self.pool.layout().kv_heads);
        // SAFETY: the items cover every row and head, and `Attend` writes those of its item whole.
        unsafe {
            output(q.len(), |out| {
                self.workers.run(items.len(), &|part| {
                    let item = &items[part];
                    let rows = item.rows.clone();
                    let attend = Attend {
                        q,
                        heads,
                        item,
                        positions: &self.batch.positions[rows],
                        block_table: &self.batch.block_tables[item.sequence],
                        elements,
                        layout: self.pool.layout(),
                        layer: self.layer,
                        settings: self.settings,
                        out: out.start(),
                    };
                    self.workers.isa().dispatch(attend);
                });
            })
        }
    }

    /// Cuts the batch into pieces of work: some rows of a sequence with the query heads of one KV head, which
    /// share its tiles. `group` is the number of those heads.
    fn items(&self, group: usize) -> Vec<Item> {
        let kv_heads = self.pool.layout().kv_heads;
        let rows_per_item = (attend::LANES_PER_ITEM / group).max(1);
        let sequences = self.batch.block_tables.len();
        // With few sequences every head is a piece of its own, so that all threads have work.
        let scarce = sequences * kv_heads < 2 * self.workers.threads();
        let heads_per_item = if scarce { 1 } else { group };
        let mut items = Vec::with_capacity(sequences * kv_heads);
        for (sequence, bounds) in self.batch.cu_seqlens.windows(2).enumerate() {
            let (start, end) = (bounds[0] as usize, bounds[1] as usize);
            for first in (start..end).step_by(rows_per_item) {
                let rows = first..end.min(first + rows_per_item);
                for kv_head in 0..kv_heads {
                    for head in (0..group).step_by(heads_per_item) {
                        let heads =
                            kv_head * group + head..kv_head * group + group.min(head + heads_per_item);
                        items.push(Item { sequence, rows: rows.clone(), kv_head, heads });
                    }
                }
            }
        }
        items
    }
}
