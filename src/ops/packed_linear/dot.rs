//! Weights times rows of x with the processor's own products of neighbours along the row: two bf16 (VDPBF16PS, AMX)
//! or four bytes (VPDPBUSD, AMX). Both lie the same way, 64 bytes a panel's vector and 1 KiB a tile, so the tiling
//! here is one and `Product` says what is multiplied.
//!
//! An output is one chain along the row, ascending, whatever the tile. bf16: in f32; with VDPBF16PS a step adds two
//! products at a time, with AMX the sixteen pairs of a tile row in the processor's order; so within one instruction set
//! a row's bits do not depend on its batch. Both treat denormals as 0. Bytes: exact in i32, hence equal on both.

use std::arch::x86_64::{
    __m512bh, __m512i, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_dpbf16_ps, _mm512_dpbusd_epi32,
    _mm512_set1_epi8, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_xor_si512,
};
use std::marker::PhantomData;
use std::ops::Range;

use super::PANELS_MAX;
use super::activations::{BLOCK_ROWS, TileRows};
use crate::ops::simd::DotKernel;
use crate::ops::simd::amx::{ROW_BYTES, Tiles};
use crate::ops::simd::{LANES, peek, poke, unroll};

/// Bytes of a step along the row: a tile, of sixteen rows of x or of sixteen vectors of a panel.
const STEP: usize = BLOCK_ROWS * ROW_BYTES;
const OUT_STRIDE: usize = PANELS_MAX * LANES;

/// What is multiplied. The sums are 32 bits wide, f32 or i32.
pub trait Product {
    /// A vector of a panel as `multiply` takes it.
    ///
    /// # Safety
    /// The processor has the product.
    unsafe fn weight(w: __m512i) -> __m512i;
    /// `sum + x w` for each column; `x` is four bytes of a row.
    ///
    /// # Safety
    /// The processor has the product.
    unsafe fn multiply(sum: __m512i, x: i32, w: __m512i) -> __m512i;
    /// C += A B for tiles.
    fn tile<const C: usize, const A: usize, const B: usize>(tiles: &Tiles);
    /// `vector_tile` in a function with registers of its own and the product's features.
    ///
    /// # Safety
    /// That of `vector_tile`.
    unsafe fn vector_tile<const R: usize, const P: usize>(tile: VectorTile<R, P>);
}

/// f32 sums of products of bf16 pairs.
pub struct Pairs;

impl Product for Pairs {
    #[inline(always)]
    unsafe fn weight(w: __m512i) -> __m512i {
        w
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn multiply(sum: __m512i, x: i32, w: __m512i) -> __m512i {
        // SAFETY: registers of one size, of plain numbers.
        let (x, w) = unsafe {
            (
                std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(x)),
                std::mem::transmute::<__m512i, __m512bh>(w),
            )
        };
        _mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(sum), x, w))
    }
    #[inline(always)]
    fn tile<const C: usize, const A: usize, const B: usize>(tiles: &Tiles) {
        tiles.dot_bf16::<C, A, B>();
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")]
    #[inline(never)]
    unsafe fn vector_tile<const R: usize, const P: usize>(tile: VectorTile<R, P>) {
        // SAFETY: the caller's word.
        unsafe { tile.run::<Self>() }
    }
}

/// i32 sums of products of four signed bytes.
pub struct Bytes;

impl Product for Bytes {
    /// VPDPBUSD wants one side unsigned: w + 128, which the sums' start makes good for.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn weight(w: __m512i) -> __m512i {
        _mm512_xor_si512(w, _mm512_set1_epi8(-128))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn multiply(sum: __m512i, x: i32, w: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(x))
    }
    #[inline(always)]
    fn tile<const C: usize, const A: usize, const B: usize>(tiles: &Tiles) {
        tiles.dot_i8::<C, A, B>();
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    #[inline(never)]
    unsafe fn vector_tile<const R: usize, const P: usize>(tile: VectorTile<R, P>) {
        // SAFETY: the caller's word.
        unsafe { tile.run::<Self>() }
    }
}

/// Some rows times some panels, by vectors.
pub struct VectorDot<'a, D> {
    /// Which product.
    pub product: PhantomData<D>,
    pub x: &'a TileRows,
    /// From a multiple of sixteen on.
    pub rows: Range<usize>,
    /// Where the sums of each row of x start; 0 without.
    pub starts: Option<&'a [i32]>,
    pub weight: &'a [u8],
    /// At most `PANELS_MAX`.
    pub panels: Range<usize>,
    /// Takes `[rows, PANELS_MAX * 16]`, of which the kernel writes the columns of its panels.
    pub out: *mut f32,
}

impl<D: Product> VectorDot<'_, D> {
    #[inline(always)]
    fn panel(&self, index: usize) -> *const u8 {
        let length = self.x.blocks_per_row() * STEP;
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
        let first = self.rows.start + row;
        let block = self.x.row_block(first / BLOCK_ROWS);
        let mut panels = [block; P];
        unroll!(p < P, {
            panels[p] = self.panel(panel + p);
        });
        let mut starts = [0; R];
        if let Some(given) = self.starts {
            starts.copy_from_slice(&given[first..first + R]);
        }
        // SAFETY: the rows and panels are there, and `out` takes the result.
        unsafe {
            D::vector_tile(VectorTile {
                x: block.add(first % BLOCK_ROWS * ROW_BYTES),
                panels,
                starts,
                steps: self.x.blocks_per_row(),
                out: self.out.add(row * OUT_STRIDE + panel * LANES),
            });
        }
        R
    }
}

impl<D: Product> DotKernel for VectorDot<'_, D> {
    #[inline(always)]
    unsafe fn run(self) {
        let mut panel = 0;
        while panel < self.panels.len() {
            // SAFETY: the caller vouches for x, the weight and `out`.
            unsafe {
                panel += match self.panels.len() - panel {
                    4.. if self.rows.len() <= 2 => self.all_rows::<4>(panel),
                    3.. => self.all_rows::<3>(panel),
                    2 => self.all_rows::<2>(panel),
                    _ => self.all_rows::<1>(panel),
                };
            }
        }
    }
}

/// R rows of one block by P panels over `steps` steps.
pub struct VectorTile<const R: usize, const P: usize> {
    x: *const u8,
    panels: [*const u8; P],
    starts: [i32; R],
    steps: usize,
    out: *mut f32,
}

impl<const R: usize, const P: usize> VectorTile<R, P> {
    /// # Safety
    /// `steps` blocks of x and of each panel are readable, `out` takes the result, the processor has the product, and
    /// the function around has its features.
    #[inline(always)]
    unsafe fn run<D: Product>(self) {
        let Self { x, mut panels, starts, steps, out } = self;
        // SAFETY: the caller's word.
        unsafe {
            let mut sums = [[_mm512_setzero_si512(); P]; R];
            unroll!(r < R, {
                unroll!(p < P, {
                    sums[r][p] = _mm512_set1_epi32(starts[r]);
                });
            });
            for step in 0..steps {
                let x = x.wrapping_add(step * STEP);
                for four in 0..ROW_BYTES / 4 {
                    let mut w = [_mm512_setzero_si512(); P];
                    unroll!(p < P, {
                        w[p] = D::weight(peek(panels[p]));
                        panels[p] = panels[p].wrapping_add(ROW_BYTES);
                    });
                    unroll!(r < R, {
                        let x: i32 = peek(x.wrapping_add(r * ROW_BYTES + 4 * four));
                        unroll!(p < P, {
                            sums[r][p] = D::multiply(sums[r][p], x, w[p]);
                        });
                    });
                }
            }
            unroll!(r < R, {
                unroll!(p < P, {
                    poke(out.wrapping_add(r * OUT_STRIDE + p * LANES), sums[r][p]);
                });
            });
        }
    }
}

/// Some rows times some panels, by AMX. Writes whole blocks of sixteen rows; `starts` is not for tiles.
pub struct TileDot<'a, D>(pub VectorDot<'a, D>);

impl<D: Product> DotKernel for TileDot<'_, D> {
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
                        two_by_two::<D>(
                            &tiles,
                            [x, below],
                            [dot.panel(panel), dot.panel(panel + 1)],
                            steps,
                            out,
                        );
                        2
                    } else if pair {
                        let below = dot.x.row_block(block + 1);
                        two_by_one::<D>(&tiles, [x, below], dot.panel(panel), steps, out);
                        1
                    } else if left >= 4 {
                        let panels = [0, 1, 2, 3].map(|p| dot.panel(panel + p));
                        one_by_four::<D>(&tiles, x, panels, steps, out);
                        4
                    } else if left >= 2 {
                        one_by_two::<D>(&tiles, x, [dot.panel(panel), dot.panel(panel + 1)], steps, out);
                        2
                    } else {
                        one_by_one::<D>(&tiles, x, dot.panel(panel), steps, out);
                        1
                    };
                }
            }
            block += if pair { 2 } else { 1 };
        }
    }
}

#[inline(always)]
unsafe fn two_by_two<D: Product>(
    tiles: &Tiles,
    x: [*const u8; 2],
    w: [*const u8; 2],
    steps: usize,
    out: *mut f32,
) {
    tiles.zero::<0>();
    tiles.zero::<1>();
    tiles.zero::<2>();
    tiles.zero::<3>();
    for step in 0..steps {
        let at = step * STEP;
        // SAFETY: the caller vouches for `steps` tiles behind each pointer.
        unsafe {
            tiles.load::<4>(x[0].wrapping_add(at), ROW_BYTES);
            tiles.load::<6>(w[0].wrapping_add(at), ROW_BYTES);
            tiles.load::<7>(w[1].wrapping_add(at), ROW_BYTES);
            tiles.load::<5>(x[1].wrapping_add(at), ROW_BYTES);
        }
        D::tile::<0, 4, 6>(tiles);
        D::tile::<1, 4, 7>(tiles);
        D::tile::<2, 5, 6>(tiles);
        D::tile::<3, 5, 7>(tiles);
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
unsafe fn two_by_one<D: Product>(
    tiles: &Tiles,
    x: [*const u8; 2],
    w: *const u8,
    steps: usize,
    out: *mut f32,
) {
    tiles.zero::<0>();
    tiles.zero::<1>();
    for step in 0..steps {
        let at = step * STEP;
        // SAFETY: the caller vouches for `steps` tiles behind each pointer.
        unsafe {
            tiles.load::<6>(w.wrapping_add(at), ROW_BYTES);
            tiles.load::<4>(x[0].wrapping_add(at), ROW_BYTES);
            tiles.load::<5>(x[1].wrapping_add(at), ROW_BYTES);
        }
        D::tile::<0, 4, 6>(tiles);
        D::tile::<1, 5, 6>(tiles);
    }
    // SAFETY: `out` takes 32 rows of a panel.
    unsafe {
        store::<0>(tiles, out);
        store::<1>(tiles, out.wrapping_add(BLOCK_ROWS * OUT_STRIDE));
    }
}

#[inline(always)]
unsafe fn one_by_four<D: Product>(
    tiles: &Tiles,
    x: *const u8,
    w: [*const u8; 4],
    steps: usize,
    out: *mut f32,
) {
    tiles.zero::<0>();
    tiles.zero::<1>();
    tiles.zero::<2>();
    tiles.zero::<3>();
    for step in 0..steps {
        let at = step * STEP;
        // SAFETY: the caller vouches for `steps` tiles behind each pointer.
        unsafe {
            tiles.load::<4>(x.wrapping_add(at), ROW_BYTES);
            tiles.load::<5>(w[0].wrapping_add(at), ROW_BYTES);
            tiles.load::<6>(w[1].wrapping_add(at), ROW_BYTES);
            D::tile::<0, 4, 5>(tiles);
            tiles.load::<7>(w[2].wrapping_add(at), ROW_BYTES);
            D::tile::<1, 4, 6>(tiles);
            tiles.load::<5>(w[3].wrapping_add(at), ROW_BYTES);
        }
        D::tile::<2, 4, 7>(tiles);
        D::tile::<3, 4, 5>(tiles);
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
unsafe fn one_by_two<D: Product>(
    tiles: &Tiles,
    x: *const u8,
    w: [*const u8; 2],
    steps: usize,
    out: *mut f32,
) {
    tiles.zero::<0>();
    tiles.zero::<1>();
    for step in 0..steps {
        let at = step * STEP;
        // SAFETY: the caller vouches for `steps` tiles behind each pointer.
        unsafe {
            tiles.load::<4>(x.wrapping_add(at), ROW_BYTES);
            tiles.load::<5>(w[0].wrapping_add(at), ROW_BYTES);
            tiles.load::<6>(w[1].wrapping_add(at), ROW_BYTES);
        }
        D::tile::<0, 4, 5>(tiles);
        D::tile::<1, 4, 6>(tiles);
    }
    // SAFETY: `out` takes sixteen rows of two panels.
    unsafe {
        store::<0>(tiles, out);
        store::<1>(tiles, out.wrapping_add(LANES));
    }
}

#[inline(always)]
unsafe fn one_by_one<D: Product>(tiles: &Tiles, x: *const u8, w: *const u8, steps: usize, out: *mut f32) {
    tiles.zero::<0>();
    for step in 0..steps {
        let at = step * STEP;
        // SAFETY: the caller vouches for `steps` tiles behind each pointer.
        unsafe {
            tiles.load::<4>(x.wrapping_add(at), ROW_BYTES);
            tiles.load::<5>(w.wrapping_add(at), ROW_BYTES);
        }
        D::tile::<0, 4, 5>(tiles);
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
