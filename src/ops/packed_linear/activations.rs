//! The rows of x as the processor's bf16 products read them: rounded to nearest even, in blocks of sixteen rows by 32
//! elements, 1 KiB each, `[rows / 16][in / 32][16][32]`. Rows and elements that do not exist are 0.

use std::arch::x86_64::{__m512bh, _mm512_cvtne2ps_pbh, _mm512_maskz_loadu_ps, _mm512_setzero_si512};

use crate::ops::Workers;
use crate::ops::parallel::{SharedMut, share};
use crate::ops::simd::avx512::{DotKernel, run_bf16_dot};
use crate::ops::simd::poke;

/// Rows of a block.
pub const BLOCK_ROWS: usize = 16;
/// Elements of a block's row.
pub const BLOCK_WIDTH: usize = 32;
/// Elements that are worth handing to a thread.
const PART_ELEMENTS: usize = 1 << 15;

/// A row of a block: a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u16; BLOCK_WIDTH]);

pub struct Bf16Rows {
    lines: Vec<Line>,
    blocks_per_row: usize,
}

impl Bf16Rows {
    /// Rounds x, whole rows of `in_features`.
    ///
    /// # Safety
    /// The instruction set has products of bf16 pairs.
    pub unsafe fn new(x: &[f32], in_features: usize, workers: &Workers) -> Self {
        let blocks_per_row = in_features.div_ceil(BLOCK_WIDTH);
        let rows = x.len() / in_features;
        let row_blocks = rows.div_ceil(BLOCK_ROWS);
        let len = row_blocks * blocks_per_row * BLOCK_ROWS;
        let mut lines: Vec<Line> = Vec::with_capacity(len);
        let parts = (x.len() / PART_ELEMENTS).clamp(1, row_blocks.min(workers.threads()).max(1));
        let shared = SharedMut::new(&mut lines.spare_capacity_mut()[..len]);
        workers.run(parts, &|part| {
            let blocks = share(row_blocks, parts, part);
            let rounding = Rounding {
                x,
                in_features,
                rows: blocks.start * BLOCK_ROWS..blocks.end * BLOCK_ROWS,
                // SAFETY: inside the buffer, and the parts' rows do not overlap.
                out: unsafe { shared.start().add(blocks.start * blocks_per_row * BLOCK_ROWS) }.cast(),
            };
            // SAFETY: the caller vouches for the instructions; every line of the rows is written.
            unsafe { run_bf16_dot(rounding) };
        });
        // SAFETY: the parts cover every row block, and each wrote its lines whole.
        unsafe { lines.set_len(len) };
        Self { lines, blocks_per_row }
    }

    /// The blocks of rows `16 * index..`, one after the other along the row.
    pub fn row_block(&self, index: usize) -> *const u16 {
        self.lines[index * self.blocks_per_row * BLOCK_ROWS..].as_ptr().cast()
    }

    /// Blocks of a row.
    pub fn blocks_per_row(&self) -> usize {
        self.blocks_per_row
    }
}

struct Rounding<'a> {
    x: &'a [f32],
    in_features: usize,
    /// Whole row blocks, perhaps beyond the rows that exist.
    rows: std::ops::Range<usize>,
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
