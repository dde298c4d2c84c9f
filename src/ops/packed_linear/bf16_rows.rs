//! Rows of x rounded to bf16, to nearest even, in the blocks of `activations.rs`.

use std::arch::x86_64::{__m512bh, _mm512_cvtne2ps_pbh, _mm512_maskz_loadu_ps, _mm512_setzero_si512};
use std::ops::Range;

use super::Norm;
use super::activations::{BLOCK_ROWS, LINE_BYTES, Line, TileRows};
use crate::ops::Workers;
use crate::ops::simd::DotKernel;
use crate::ops::simd::avx512::run_bf16_dot;
use crate::ops::simd::poke;

/// Elements of a block's row.
const BLOCK_WIDTH: usize = LINE_BYTES / 2;

/// Rounds x, whole rows of `in_features`.
///
/// # Safety
/// The instruction set has products of bf16 pairs.
pub unsafe fn bf16_rows(x: &[f32], in_features: usize, workers: &Workers) -> TileRows {
    let fill = |blocks: Range<usize>, out| {
        let rows = blocks.start * BLOCK_ROWS..blocks.end * BLOCK_ROWS;
        // SAFETY: the caller vouches for the instructions; every line of the rows is written.
        unsafe { run_bf16_dot(Rounding { x, in_features, rows, out }) };
    };
    // SAFETY: as above.
    unsafe { TileRows::new(x.len() / in_features, in_features.div_ceil(BLOCK_WIDTH), workers, &fill) }
}

/// Rounds what `norm` makes of x: one pass over it, and no copy of the normed rows.
///
/// # Safety
/// That of `bf16_rows`.
pub unsafe fn normed_bf16_rows(x: &[f32], norm: Norm<'_>, workers: &Workers) -> TileRows {
    let in_features = norm.weight.len();
    let (exist, blocks_per_row) = (x.len() / in_features, in_features.div_ceil(BLOCK_WIDTH));
    let fill = |blocks: Range<usize>, out: *mut Line| {
        let mut normed = vec![0.0; in_features];
        for row in blocks.start * BLOCK_ROWS..blocks.end * BLOCK_ROWS {
            let at = row - blocks.start * BLOCK_ROWS;
            // SAFETY: the caller vouches for the instructions; every line of the rows is written.
            unsafe {
                let out = out.add(at / BLOCK_ROWS * blocks_per_row * BLOCK_ROWS + at % BLOCK_ROWS);
                let x: &[f32] = if row < exist {
                    norm.rows(workers.isa(), &x[row * in_features..][..in_features], normed.as_mut_ptr());
                    &normed
                } else {
                    &[]
                };
                run_bf16_dot(Rounding { x, in_features, rows: 0..1, out });
            }
        }
    };
    // SAFETY: as above.
    unsafe { TileRows::new(exist, blocks_per_row, workers, &fill) }
}

struct Rounding<'a> {
    x: &'a [f32],
    in_features: usize,
    /// Whole row blocks, perhaps beyond the rows that exist.
    rows: Range<usize>,
    out: *mut Line,
}

impl DotKernel for Rounding<'_> {
    #[inline(always)]
    unsafe fn run(self) {
        let k = self.in_features;
        let blocks = k.div_ceil(BLOCK_WIDTH);
        let exist = self.x.len() / k;
        for (at, row) in self.rows.enumerate() {
            let (block, line) = (at / BLOCK_ROWS, at % BLOCK_ROWS);
            for i in 0..blocks {
                // SAFETY: the line is one of the row block's; x is read where the row exists.
                unsafe {
                    let to = self.out.add((block * blocks + i) * BLOCK_ROWS + line);
                    if row < exist {
                        let from = self.x.as_ptr().add(row * k + i * BLOCK_WIDTH);
                        poke(to, round(from, k - i * BLOCK_WIDTH));
                    } else {
                        poke(to, _mm512_setzero_si512());
                    }
                }
            }
        }
    }
}

/// `count` floats, 32 at most, as bf16; the rest 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn round(from: *const f32, count: usize) -> __m512bh {
    let mask = |count: usize| ((1u32 << count.min(16)) - 1) as u16;
    // SAFETY: only what the masks say is read.
    unsafe {
        let low = _mm512_maskz_loadu_ps(mask(count), from);
        let high = _mm512_maskz_loadu_ps(mask(count.saturating_sub(16)), from.wrapping_add(16));
        _mm512_cvtne2ps_pbh(high, low)
    }
}
