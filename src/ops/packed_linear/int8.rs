//! Int8 weights with a scale a column. The sum of x's whole numbers times the weight's is an exact integer, by whatever
//! instruction: by the processor's own products of bytes from x's high and low bytes (`dot.rs`), or from x's numbers in
//! one piece (here). It is rounded to f32 once, and multiplied by (the row's scale times the column's). So the result has
//! the same bits on every instruction set.

use std::ops::Range;

use super::word_rows::WordRows;
use super::{PANELS_MAX, PanelElement};
use crate::ops::aligned::AlignedBuffer;
use crate::ops::simd::{Kernel, LANES, Simd, peek, unroll};

/// The longest row whose sums fit two i32 of which one counts 256 times.
pub const IN_FEATURES_MAX: usize = 1 << 17;

/// Elements of a row whose products fit an i32 in two parts: 512 * 2^15 * 127 < 2^31.
const CHUNK: usize = 1024;

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

/// Integer sums of some rows of x times some panels, on any instruction set.
pub struct IntegerSums<'a> {
    pub x: &'a WordRows,
    pub rows: Range<usize>,
    pub in_features: usize,
    pub weight: &'a [i8],
    /// At most `PANELS_MAX`.
    pub panels: Range<usize>,
    /// Takes `[2 rows, PANELS_MAX * 16]`, of which the kernel writes the columns of its panels: a row's sums in two parts,
    /// as `Scale` reads them.
    pub out: *mut i32,
}

impl Kernel for IntegerSums<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let length = i8::panel_elements(self.in_features);
        for (index, panel) in self.panels.clone().enumerate() {
            let weight = self.weight[panel * length..][..length].as_ptr().cast::<u8>();
            for column in (0..LANES).step_by(S::QUAD_COLUMNS) {
                let mut row = 0;
                while row < self.rows.len() {
                    // SAFETY: the rows exist, and `out` takes them. The comparisons with constants leave only the tiles
                    // that the instruction set uses.
                    unsafe {
                        let weight = weight.wrapping_add(4 * column);
                        let out = self.out.add((2 * row * PANELS_MAX + index) * LANES + column);
                        row += match self.rows.len() - row {
                            6.. if S::QUAD_ROWS >= 6 => self.tile::<S, 6>(row, weight, out),
                            4.. if S::QUAD_ROWS >= 4 => self.tile::<S, 4>(row, weight, out),
                            2.. => self.tile::<S, 2>(row, weight, out),
                            _ => self.tile::<S, 1>(row, weight, out),
                        };
                    }
                }
            }
        }
    }
}

impl IntegerSums<'_> {
    /// R rows by some columns of a panel; returns R.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize>(&self, row: usize, weight: *const u8, out: *mut i32) -> usize {
        // SAFETY: the caller's word.
        unsafe { S::call(Tile::<R> { sums: self, row: self.rows.start + row, weight, out }) };
        R
    }
}

/// R rows by the columns of a panel from `weight` on, as many as the set takes at once.
struct Tile<'a, const R: usize> {
    sums: &'a IntegerSums<'a>,
    row: usize,
    weight: *const u8,
    out: *mut i32,
}

impl<const R: usize> Kernel for Tile<'_, R> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { sums: IntegerSums { x, .. }, row, weight, out } = self;
        let mut rows = [x.row(row).as_ptr(); R];
        unroll!(r < R, {
            rows[r] = x.row(row + r).as_ptr();
        });
        let length = x.row(row).len();
        // SAFETY: the caller vouches for the panel and `out`; rows are as long as a panel.
        unsafe {
            for start in (0..length).step_by(CHUNK) {
                let mut sums = [S::zero_sums(); R];
                for k in (start..length.min(start + CHUNK)).step_by(4) {
                    let w = S::load_quads(weight.wrapping_add(k * LANES));
                    unroll!(r < R, {
                        sums[r] = S::dot_quads(sums[r], peek(rows[r].wrapping_add(k)), w);
                    });
                }
                unroll!(r < R, {
                    let high = out.wrapping_add(2 * r * PANELS_MAX * LANES);
                    let low = high.wrapping_add(PANELS_MAX * LANES);
                    S::store_parts(high, low, sums[r], start > 0);
                });
            }
        }
    }
}

/// Takes the integer sums, two rows after the other of which the first counts 256 times, to floats: row i from rows 2 i
/// and 2 i + 1, in place.
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
                    let sum = S::join_parts(high.cast(), high.add(PANELS_MAX * LANES).cast());
                    let scale = S::mul(S::splat(row_scale), S::load(scales.as_ptr()));
                    S::store(self.sums.add((row * PANELS_MAX + panel) * LANES), S::mul(sum, scale));
                }
            }
        }
    }
}
