//! Int8 weights with a scale a column. A sum of x's bytes times the weight's is an exact integer, by whatever
//! instruction (`dot.rs` has the processor's own products; here is the kernel for processors without). An output is 256
//! times the sum of x's high bytes plus that of its low ones, in f32, times (the row's scale times the column's): a few
//! roundings and no chain. So the result has the same bits on every instruction set.

use std::ops::Range;

use super::activations::{BLOCK_ROWS, LINE_BYTES};
use super::byte_rows::ByteRows;
use super::{PANELS_MAX, PanelElement};
use crate::ops::aligned::AlignedBuffer;
use crate::ops::simd::{Kernel, LANES, Simd, peek, unroll};

/// The longest row whose sums fit an i32 (and a sum of bytes an f32).
pub const IN_FEATURES_MAX: usize = 1 << 17;

pub struct Int8Panels {
    pub bytes: AlignedBuffer<i8>,
    /// Of each column of the panels.
    pub scales: AlignedBuffer<f32>,
}

impl Int8Panels {
    /// Of an output.
    pub fn scale(&self, column: usize) -> f32 {
        self.scales[column]
    }

    pub fn memory_bytes(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.scales)
    }
}

/// Integer sums of some rows of bytes times some panels, on any instruction set.
pub struct IntegerSums<'a> {
    pub x: &'a ByteRows,
    /// From a multiple of sixteen on.
    pub rows: Range<usize>,
    pub in_features: usize,
    pub weight: &'a [i8],
    /// At most `PANELS_MAX`.
    pub panels: Range<usize>,
    /// Takes `[rows, PANELS_MAX * 16]`, of which the kernel writes the columns of its panels.
    pub out: *mut i32,
}

impl Kernel for IntegerSums<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let length = i8::panel_elements(self.in_features);
        for (index, panel) in self.panels.clone().enumerate() {
            let weight = self.weight[panel * length..][..length].as_ptr().cast();
            let mut row = 0;
            while row < self.rows.len() {
                // SAFETY: the rows lie in one block, and `out` takes them.
                unsafe {
                    let out = self.out.add((row * PANELS_MAX + index) * LANES);
                    row += if self.rows.len() - row >= 2 {
                        self.tile::<S, 2>(row, weight, out)
                    } else {
                        self.tile::<S, 1>(row, weight, out)
                    };
                }
            }
        }
    }
}

impl IntegerSums<'_> {
    /// R rows, which lie in one block, by a panel; returns R.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize>(&self, row: usize, weight: *const u8, out: *mut i32) -> usize {
        let first = self.rows.start + row;
        let block = self.x.rows.row_block(first / BLOCK_ROWS);
        // SAFETY: the caller vouches for the rows, the panel and `out`.
        unsafe {
            let mut sums = [S::zero_sums(); R];
            for four in 0..self.x.rows.blocks_per_row() * LINE_BYTES / 4 {
                let w = S::load_quads(weight.wrapping_add(four * 4 * LANES));
                let line = four * 4 / LINE_BYTES * BLOCK_ROWS + first % BLOCK_ROWS;
                let x = block.wrapping_add(line * LINE_BYTES + four * 4 % LINE_BYTES);
                unroll!(r < R, {
                    sums[r] = S::dot_quads(sums[r], peek(x.wrapping_add(r * LINE_BYTES)), w);
                });
            }
            unroll!(r < R, {
                S::store_sums(out.wrapping_add(r * PANELS_MAX * LANES), sums[r]);
            });
        }
        R
    }
}

/// Takes the integer sums of high and low bytes, two rows after the other, to floats: row i from rows 2 i and 2 i + 1,
/// in place.
pub struct Scale<'a> {
    /// Of x.
    pub row_scales: &'a [f32],
    /// Of the panels' columns.
    pub column_scales: &'a [f32],
    /// `[2 rows, PANELS_MAX * 16]`
    pub sums: *mut f32,
}

impl Kernel for Scale<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for (row, &row_scale) in self.row_scales.iter().enumerate() {
            for (panel, scales) in self.column_scales.chunks_exact(LANES).enumerate() {
                // SAFETY: the caller vouches for sums of these rows and panels.
                unsafe {
                    let high = self.sums.add((2 * row * PANELS_MAX + panel) * LANES);
                    let low = high.add(PANELS_MAX * LANES);
                    // Times 256 is exact.
                    let sum =
                        S::fma(S::load_integers(high.cast()), S::splat(256.0), S::load_integers(low.cast()));
                    let scale = S::mul(S::splat(row_scale), S::load(scales.as_ptr()));
                    S::store(self.sums.add((row * PANELS_MAX + panel) * LANES), S::mul(sum, scale));
                }
            }
        }
    }
}
