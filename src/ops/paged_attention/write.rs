//! The batch's keys and values into the pool, rounded to the pool's type.
//!
//! A tile whose first slot is written begins anew: it is zeroed, since kernels that work on whole tiles multiply
//! what nobody sees by 0, and a former owner's NaN would stay NaN. All are zeroed before the first is written.
//! For the same reason a value that is no finite number is not written: its row gets a key of NaN and a value of 0, so
//! that whoever sees it still gets NaN, and whoever does not (a draft's predecessors) gets what is theirs.

use std::cell::OnceCell;

use super::PagedAttention;
use super::attend::TileElement;
use super::batch::Slot;
use crate::ops::KvLayout;
use crate::ops::kv_pool::BLOCK_SIZE;
use crate::ops::parallel::{SharedMut, share};
use crate::ops::rows::StridedRows;
use crate::ops::simd::{Kernel, LANES, Simd, poke};

/// The largest value that is finite in either type.
const VALUE_MAX: f32 = half::bf16::MAX.to_f32_const();

/// Rows that are worth handing to a thread.
const PART_ROWS: usize = 16;

/// Rows of a tile that are neighbours, as the layout of the element's type wants them written.
pub trait WriteElement: TileElement {
    /// One row, or with `next` two for the slots `slot` (even) and `slot + 1`. `key` and `value` are head_dim long.
    ///
    /// # Safety
    /// `tile` is the start of a tile of this layout, and nobody else has these slots.
    unsafe fn write(layout: &KvLayout, tile: *mut Self, slot: usize, row: Row<'_>, next: Option<Row<'_>>);
}

/// A KV head's key and value of one row.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    key: &'a [f32],
    value: &'a [f32],
}

impl WriteElement for f32 {
    #[inline(always)]
    unsafe fn write(layout: &KvLayout, tile: *mut Self, slot: usize, row: Row<'_>, next: Option<Row<'_>>) {
        let padded = layout.padded_head_dim();
        for (slot, row) in [Some(row), next].into_iter().enumerate().map(|(i, row)| (slot + i, row)) {
            let Some(Row { key, value }) = row else { continue };
            // SAFETY: the caller's word; K is [head_dim][32], V is [32][padded].
            unsafe {
                for (i, &x) in key.iter().enumerate() {
                    tile.add(i * BLOCK_SIZE + slot).write(x);
                }
                let values = tile.add(layout.values() + slot * padded);
                values.copy_from_nonoverlapping(value.as_ptr(), value.len());
            }
        }
    }
}

/// bf16 bits.
impl WriteElement for u16 {
    #[inline(always)]
    unsafe fn write(layout: &KvLayout, tile: *mut Self, slot: usize, row: Row<'_>, next: Option<Row<'_>>) {
        let padded = layout.padded_head_dim();
        for i in (0..row.key.len()).step_by(LANES) {
            // SAFETY: the caller's word; K is [key_dims / 2][32][2], V is [16][padded][2], both padded to at least
            // sixteen dimensions from `i` on.
            unsafe {
                let keys = tile.add(i * BLOCK_SIZE + 2 * slot);
                let values = tile.add(layout.values() + (slot / 2 * padded + i) * 2);
                let (key, value) = (rounded(row.key, i), rounded(row.value, i));
                if let Some(next) = next {
                    let (next_key, next_value) = (rounded(next.key, i), rounded(next.value, i));
                    for pair in 0..LANES / 2 {
                        let at = keys.add(pair * 2 * BLOCK_SIZE);
                        poke(at, joined(key[2 * pair], key[2 * pair + 1]));
                        poke(at.add(2), joined(next_key[2 * pair], next_key[2 * pair + 1]));
                    }
                    let mut joint = [0; LANES];
                    for lane in 0..LANES {
                        joint[lane] = joined(value[lane], next_value[lane]);
                    }
                    poke(values, joint);
                } else {
                    for pair in 0..LANES / 2 {
                        poke(keys.add(pair * 2 * BLOCK_SIZE), joined(key[2 * pair], key[2 * pair + 1]));
                    }
                    // The other slot of the pair may be another thread's.
                    for (lane, &value) in value.iter().enumerate() {
                        values.add(2 * lane + slot % 2).write(value);
                    }
                }
            }
        }
    }
}

/// Two neighbours as they lie in memory.
#[inline(always)]
fn joined(first: u16, second: u16) -> u32 {
    if cfg!(target_endian = "little") {
        u32::from(second) << 16 | u32::from(first)
    } else {
        u32::from(first) << 16 | u32::from(second)
    }
}

/// Sixteen from `at` on, rounded, and zeros beyond the end.
#[inline(always)]
fn rounded(values: &[f32], at: usize) -> [u16; LANES] {
    let mut lanes = [0.0_f32; LANES];
    if let Some(whole) = values.get(at..at + LANES) {
        lanes.copy_from_slice(whole);
    } else {
        lanes[..values.len() - at].copy_from_slice(&values[at..]);
    }
    let mut rounded = [0; LANES];
    for lane in 0..LANES {
        rounded[lane] = to_bf16(lanes[lane].to_bits());
    }
    rounded
}

/// To nearest, ties to even, as `half` does; without branches, so that a loop over it becomes vectors.
#[inline(always)]
fn to_bf16(bits: u32) -> u16 {
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let nan = bits & 0x7fff_ffff > 0x7f80_0000;
    (if nan { bits >> 16 | 0x40 } else { rounded }) as u16
}

impl PagedAttention {
    /// k and v hold a row for each slot, and the batch has been checked.
    pub(super) fn write<T: WriteElement>(
        &self,
        k: StridedRows<'_>,
        v: StridedRows<'_>,
        slots: &[Slot],
        elements: &SharedMut<'_, T>,
    ) {
        let layout = self.pool.layout();
        for slot in slots.iter().filter(|slot| slot.slot == 0) {
            let tiles = layout.tile(self.layer, slot.block, 0);
            // SAFETY: block and layer were checked against the pool, and no thread writes yet.
            unsafe { elements.start().add(tiles).write_bytes(0, layout.kv_heads * layout.tile_elements()) };
        }
        let parts = (slots.len() / PART_ROWS).clamp(1, self.workers.threads());
        self.workers.run(parts, &|part| {
            let rows = share(slots.len(), parts, part);
            let write =
                Write { k, v, first: rows.start, slots: &slots[rows], layout, layer: self.layer, elements };
            // SAFETY: the slots were checked against the pool, and no two are the same.
            unsafe { self.workers.isa().dispatch(write) };
        });
    }
}

struct Write<'a, T> {
    k: StridedRows<'a>,
    v: StridedRows<'a>,
    /// The row of the first slot.
    first: usize,
    slots: &'a [Slot],
    layout: &'a KvLayout,
    layer: usize,
    elements: &'a SharedMut<'a, T>,
}

impl<T: WriteElement> Kernel for Write<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let head_dim = self.layout.head_dim;
        let unsound = OnceCell::new();
        let mut at = 0;
        while at < self.slots.len() {
            let Slot { block, slot } = self.slots[at];
            let paired = slot % 2 == 0 && self.slots.get(at + 1) == Some(&Slot { block, slot: slot + 1 });
            for kv_head in 0..self.layout.kv_heads {
                let row = |at: usize| {
                    let value = &self.v.row(self.first + at)[kv_head * head_dim..][..head_dim];
                    // Without a branch an element, so that it becomes vectors; a NaN fits nowhere.
                    let fits = value.iter().fold(true, |fits, x| fits & (x.abs() <= VALUE_MAX));
                    if fits {
                        Row { key: &self.k.row(self.first + at)[kv_head * head_dim..][..head_dim], value }
                    } else {
                        let (key, value) =
                            unsound.get_or_init(|| (vec![f32::NAN; head_dim], vec![0.0; head_dim]));
                        Row { key, value }
                    }
                };
                let tile = self.layout.tile(self.layer, block, kv_head);
                // SAFETY: the slots are in the pool and nobody else's.
                unsafe {
                    let tile = self.elements.start().add(tile);
                    T::write(self.layout, tile, slot, row(at), paired.then(|| row(at + 1)));
                }
            }
            at += 1 + usize::from(paired);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_as_half_does() {
        let mut bits = 0_u32;
        // An odd step, so that every residue of the low half is met.
        for _ in 0..1 << 20 {
            let expected = half::bf16::from_f32(f32::from_bits(bits)).to_bits();
            assert_eq!(to_bf16(bits), expected, "{bits:#x}");
            bits = bits.wrapping_add(4_099);
        }
    }
}
