//! The batch's keys and values into the pool, rounded to the pool's type.

use super::PagedAttention;
use crate::ops::kv_pool::BLOCK_SIZE;
use crate::ops::parallel::{SharedMut, share};
use crate::ops::simd::Element;

/// Rows that are worth handing to a thread.
const PART_ROWS: usize = 64;

impl PagedAttention {
    /// k and v hold a row for each position of the batch, and the batch has been checked.
    pub(super) fn write<T: Element>(&self, k: &[f32], v: &[f32], elements: &SharedMut<'_, T>) {
        let mut slots = Vec::with_capacity(self.batch.positions.len());
        self.each_row(|_, block, slot| slots.push((block, slot)));
        let parts = (slots.len() / PART_ROWS).clamp(1, self.workers.threads());
        self.workers.run(parts, &|part| {
            for row in share(slots.len(), parts, part) {
                self.write_row(row, slots[row], k, v, elements);
            }
        });
    }

    fn write_row<T: Element>(
        &self,
        row: usize,
        (block, slot): (usize, usize),
        k: &[f32],
        v: &[f32],
        elements: &SharedMut<'_, T>,
    ) {
        let layout = self.pool.layout();
        let (head_dim, padded) = (layout.head_dim, layout.padded_head_dim());
        for kv_head in 0..layout.kv_heads {
            let from = (row * layout.kv_heads + kv_head) * head_dim;
            let tile = layout.tile(self.layer, block, kv_head);
            let values = tile + BLOCK_SIZE * head_dim + slot * padded;
            for i in 0..head_dim {
                // SAFETY: block, layer and slot were checked against the pool, and no other row has this slot.
                unsafe {
                    elements.start().add(tile + i * BLOCK_SIZE + slot).write(T::from_f32(k[from + i]));
                    elements.start().add(values + i).write(T::from_f32(v[from + i]));
                }
            }
        }
    }
}
