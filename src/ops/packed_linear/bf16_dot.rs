//! bf16 weights times bf16 rows with the processor's own products of bf16 pairs: VDPBF16PS in vectors, or AMX tiles.
//!
//! An output is one chain over the pairs of a row, ascending, in f32, whatever the tile: with VDPBF16PS a step adds
//! two products at a time, with AMX the sixteen pairs of a tile row in the processor's order. So within one
//! instruction set a row's bits do not depend on its batch. Both treat denormals as 0.

use std::arch::x86_64::{
    __m512, __m512bh, _mm512_castsi512_ps, _mm512_dpbf16_ps, _mm512_set1_epi32, _mm512_setzero_ps,
};
use std::ops::Range;

use super::activations::{BLOCK_ROWS, BLOCK_WIDTH, Bf16Rows};
use super::{PANELS_MAX, PanelElement};
use crate::ops::simd::amx::{ROW_BYTES, Tiles};
use crate::ops::simd::avx512::DotKernel;
use crate::ops::simd::{LANES, peek, poke, unroll};

/// Elements of a 32-element step along the row, in x's block of sixteen rows as in a panel.
const STEP: usize = BLOCK_WIDTH * LANES;
const OUT_STRIDE: usize = PANELS_MAX * LANES;

/// Some rows times some panels, by VDPBF16PS.
pub struct VectorDot<'a> {
    pub x: &'a Bf16Rows,
    /// From a multiple of sixteen on.
    pub rows: Range<usize>,
    pub in_features: usize,
    pub weight: &'a [u16],
    /// At most `PANELS_MAX`.
    pub panels: Range<usize>,
    /// Takes `[rows, PANELS_MAX * 16]`, of which the kernel writes the columns of its panels.
    pub out: *mut f32,
}

impl VectorDot<'_> {
    #[inline(always)]
    fn panel(&self, index: usize) -> *const u16 {
        let length = u16::panel_elements(self.in_features);
        self.weight[(self.panels.start + index) * length..][..length].as_ptr()
    }

    /// P panels from `panel` for all rows; returns P.
    #[inline(always)]
    unsafe fn all_rows<const P: usize>(&self, panel: usize) -> usize {
        let mut row = 0;
        let count = self.rows.len();
        while row < count {
            // SAFETY: the tile's rows lie in one block of sixteen, since they start at a multiple of their number.
            unsafe {
                row += match count - row {
                    8.. if P <= 3 => self.tile::<8, P>(row, panel),
                    4.. => self.tile::<4, P>(row, panel),
                    2.. => self.tile::<2, P>(row, panel),
                    _ => self.tile::<1, P>(row, panel),
                };
            }
        }
        P
    }

    #[inline(always)]
    unsafe fn tile<const R: usize, const P: usize>(&self, row: usize, panel: usize) -> usize {
        let block = self.x.row_block((self.rows.start + row) / BLOCK_ROWS);
        let mut panels = [block; P];
        unroll!(p < P, {
            panels[p] = self.panel(panel + p);
        });
        // SAFETY: the rows and panels are there, and `out` takes the result.
        unsafe {
            let out = self.out.add(row * OUT_STRIDE + panel * LANES);
            vector_tile::<R, P>(
                block.add(row % BLOCK_ROWS * BLOCK_WIDTH),
                panels,
                self.x.blocks_per_row(),
                out,
            );
        }
        R
    }
}

impl DotKernel for VectorDot<'_> {
    #[inline(always)]
    unsafe fn run(self) {
        let mut panel = 0;
        while panel < self.panels.len() {
            // SAFETY: the caller vouches for x, the weight and `out`.
            unsafe {
                panel += match self.panels.len() - panel {
                    4.. if self.rows.len() == 1 => self.all_rows::<4>(panel),
                    3.. => self.all_rows::<3>(panel),
                    2 => self.all_rows::<2>(panel),
                    _ => self.all_rows::<1>(panel),
                };
            }
        }
    }
}

/// R rows of one block by P panels over `steps` times 32 elements.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")]
#[inline(never)]
unsafe fn vector_tile<const R: usize, const P: usize>(
    x: *const u16,
    mut panels: [*const u16; P],
    steps: usize,
    out: *mut f32,
) {
    let mut sums = [[_mm512_setzero_ps(); P]; R];
    for step in 0..steps {
        let x = x.wrapping_add(step * STEP);
        for pair in 0..BLOCK_WIDTH / 2 {
            // SAFETY: the caller vouches for `steps` blocks of x and of each panel, and for room in `out`.
            unsafe {
                let mut w: [__m512bh; P] = [std::mem::transmute::<__m512, __m512bh>(_mm512_setzero_ps()); P];
                unroll!(p < P, {
                    w[p] = peek(panels[p]);
                    panels[p] = panels[p].wrapping_add(2 * LANES);
                });
                unroll!(r < R, {
                    let pair: i32 = peek(x.wrapping_add(r * BLOCK_WIDTH + 2 * pair));
                    let x = _mm512_castsi512_ps(_mm512_set1_epi32(pair));
                    let x = std::mem::transmute::<__m512, __m512bh>(x);
                    unroll!(p < P, {
                        sums[r][p] = _mm512_dpbf16_ps(sums[r][p], x, w[p]);
                    });
                });
            }
        }
    }
    unroll!(r < R, {
        unroll!(p < P, {
            // SAFETY: room for R rows, by the caller's word.
            unsafe { poke(out.wrapping_add(r * OUT_STRIDE + p * LANES), sums[r][p]) };
        });
    });
}

/// Some rows times some panels, by AMX. Writes whole blocks of sixteen rows.
pub struct TileDot<'a>(pub VectorDot<'a>);

impl DotKernel for TileDot<'_> {
    #[inline(always)]
    unsafe fn run(self) {
        let dot = self.0;
        let steps = dot.x.blocks_per_row();
        let blocks = dot.rows.start / BLOCK_ROWS..dot.rows.end.div_ceil(BLOCK_ROWS);
        let panels = dot.panels.len();
        // SAFETY: the operation checked that the set has tiles; no other kernel runs on this thread.
        let tiles = unsafe { Tiles::configure() };
        let mut block = blocks.start;
        while block < blocks.end {
            let pair = blocks.end - block >= 2;
            let x = dot.x.row_block(block);
            let mut panel = 0;
            while panel < panels {
                // SAFETY: the blocks and panels are there, and `out` takes whole blocks.
                unsafe {
                    let out = dot.out.add((block - blocks.start) * BLOCK_ROWS * OUT_STRIDE + panel * LANES);
                    let left = panels - panel;
                    panel += if pair && left >= 2 {
                        let below = dot.x.row_block(block + 1);
                        two_by_two(&tiles, [x, below], [dot.panel(panel), dot.panel(panel + 1)], steps, out);
                        2
                    } else if pair {
                        let below = dot.x.row_block(block + 1);
                        two_by_one(&tiles, [x, below], dot.panel(panel), steps, out);
                        1
                    } else if left >= 4 {
                        let panels = [0, 1, 2, 3].map(|p| dot.panel(panel + p));
                        one_by_four(&tiles, x, panels, steps, out);
                        4
                    } else if left >= 2 {
                        one_by_two(&tiles, x, [dot.panel(panel), dot.panel(panel + 1)], steps, out);
                        2
                    } else {
                        one_by_one(&tiles, x, dot.panel(panel), steps, out);
                        1
                    };
                }
            }
            block += if pair { 2 } else { 1 };
        }
    }
}

#[inline(always)]
unsafe fn two_by_two(tiles: &Tiles, x: [*const u16; 2], w: [*const u16; 2], steps: usize, out: *mut f32) {
    tiles.zero::<0>();
    tiles.zero::<1>();
    tiles.zero::<2>();
    tiles.zero::<3>();
    for step in 0..steps {
        let at = step * STEP;
        // SAFETY: the caller vouches for `steps` tiles behind each pointer.
        unsafe {
            tiles.load::<4>(x[0].wrapping_add(at).cast(), ROW_BYTES);
            tiles.load::<6>(w[0].wrapping_add(at).cast(), ROW_BYTES);
            tiles.load::<7>(w[1].wrapping_add(at).cast(), ROW_BYTES);
            tiles.load::<5>(x[1].wrapping_add(at).cast(), ROW_BYTES);
        }
        tiles.dot_bf16::<0, 4, 6>();
        tiles.dot_bf16::<1, 4, 7>();
        tiles.dot_bf16::<2, 5, 6>();
        tiles.dot_bf16::<3, 5, 7>();
    }
    // SAFETY: `out` takes 32 rows of two panels.
    unsafe {
        let below = out.wrapping_add(BLOCK_ROWS * OUT_STRIDE);
        store::<0>(tiles, out);
        store::<1>(tiles, out.wrapping_add(LANES));
        store::<2>(tiles, below);
        store::<3>(tiles, below.wrapping_add(LANES));
    }
}

#[inline(always)]
unsafe fn two_by_one(tiles: &Tiles, x: [*const u16; 2], w: *const u16, steps: usize, out: *mut f32) {
    tiles.zero::<0>();
    tiles.zero::<1>();
    for step in 0..steps {
        let at = step * STEP;
        // SAFETY: the caller vouches for `steps` tiles behind each pointer.
        unsafe {
            tiles.load::<6>(w.wrapping_add(at).cast(), ROW_BYTES);
            tiles.load::<4>(x[0].wrapping_add(at).cast(), ROW_BYTES);
            tiles.load::<5>(x[1].wrapping_add(at).cast(), ROW_BYTES);
        }
        tiles.dot_bf16::<0, 4, 6>();
        tiles.dot_bf16::<1, 5, 6>();
    }
    // SAFETY: `out` takes 32 rows of a panel.
    unsafe {
        store::<0>(tiles, out);
        store::<1>(tiles, out.wrapping_add(BLOCK_ROWS * OUT_STRIDE));
    }
}

#[inline(always)]
unsafe fn one_by_four(tiles: &Tiles, x: *const u16, w: [*const u16; 4], steps: usize, out: *mut f32) {
    tiles.zero::<0>();
    tiles.zero::<1>();
    tiles.zero::<2>();
    tiles.zero::<3>();
    for step in 0..steps {
        let at = step * STEP;
        // SAFETY: the caller vouches for `steps` tiles behind each pointer.
        unsafe {
            tiles.load::<4>(x.wrapping_add(at).cast(), ROW_BYTES);
            tiles.load::<5>(w[0].wrapping_add(at).cast(), ROW_BYTES);
            tiles.load::<6>(w[1].wrapping_add(at).cast(), ROW_BYTES);
            tiles.dot_bf16::<0, 4, 5>();
            tiles.load::<7>(w[2].wrapping_add(at).cast(), ROW_BYTES);
            tiles.dot_bf16::<1, 4, 6>();
            tiles.load::<5>(w[3].wrapping_add(at).cast(), ROW_BYTES);
        }
        tiles.dot_bf16::<2, 4, 7>();
        tiles.dot_bf16::<3, 4, 5>();
    }
    // SAFETY: `out` takes sixteen rows of four panels.
    unsafe {
        store::<0>(tiles, out);
        store::<1>(tiles, out.wrapping_add(LANES));
        store::<2>(tiles, out.wrapping_add(2 * LANES));
        store::<3>(tiles, out.wrapping_add(3 * LANES));
    }
}

#[inline(always)]
unsafe fn one_by_two(tiles: &Tiles, x: *const u16, w: [*const u16; 2], steps: usize, out: *mut f32) {
    tiles.zero::<0>();
    tiles.zero::<1>();
    for step in 0..steps {
        let at = step * STEP;
        // SAFETY: the caller vouches for `steps` tiles behind each pointer.
        unsafe {
            tiles.load::<4>(x.wrapping_add(at).cast(), ROW_BYTES);
            tiles.load::<5>(w[0].wrapping_add(at).cast(), ROW_BYTES);
            tiles.load::<6>(w[1].wrapping_add(at).cast(), ROW_BYTES);
        }
        tiles.dot_bf16::<0, 4, 5>();
        tiles.dot_bf16::<1, 4, 6>();
    }
    // SAFETY: `out` takes sixteen rows of two panels.
    unsafe {
        store::<0>(tiles, out);
        store::<1>(tiles, out.wrapping_add(LANES));
    }
}

#[inline(always)]
unsafe fn one_by_one(tiles: &Tiles, x: *const u16, w: *const u16, steps: usize, out: *mut f32) {
    tiles.zero::<0>();
    for step in 0..steps {
        let at = step * STEP;
        // SAFETY: the caller vouches for `steps` tiles behind each pointer.
        unsafe {
            tiles.load::<4>(x.wrapping_add(at).cast(), ROW_BYTES);
            tiles.load::<5>(w.wrapping_add(at).cast(), ROW_BYTES);
        }
        tiles.dot_bf16::<0, 4, 5>();
    }
    // SAFETY: `out` takes sixteen rows of a panel.
    unsafe { store::<0>(tiles, out) };
}

/// A tile of sums into sixteen rows of the output.
#[inline(always)]
unsafe fn store<const T: usize>(tiles: &Tiles, out: *mut f32) {
    // SAFETY: the caller's word.
    unsafe { tiles.store::<T>(out.cast(), OUT_STRIDE * size_of::<f32>()) };
}
