//! The kernels for a bf16 pool on processors that multiply bf16 pairs: by tiles of AMX, or by VDPBF16PS.
//!
//! Sixteen lanes go through a tile together: scores in f32, probabilities, accumulators in f32. Queries and
//! probabilities are rounded to bf16. The scale is applied to the f32 score, so a query is rounded once, as it came.
//! Sums are of the rounded probabilities, so that numerator and denominator agree.
//!
//! A lane's bits do not depend on its company: each product's row is a chain of its own; what a lane does not see
//! has the probability 0, which adds nothing to sums and products (values are finite, see `kv_pool`); and whether
//! its accumulator is rescaled is its own affair (`soften`).
//!
//! References: arXiv:2205.14135 (tiles and online softmax); the maximum that follows only when it must, and the
//! polynomial exp2, are as in FlashAttention-4.

mod dots;
mod soften;
mod tiles;

use std::arch::x86_64::{
    _MM_HINT_T0, _mm_prefetch, _mm512_add_ps, _mm512_cvtneps_pbh, _mm512_div_ps, _mm512_loadu_ps,
    _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};
use std::ops::Range;

use super::plan::{LANES_TOGETHER, Span};
use super::scratch::with_scratch;
use super::work::Work;
use crate::ops::Isa;
use crate::ops::kv_pool::BLOCK_SIZE;
use crate::ops::simd::DotKernel;
use crate::ops::simd::amx::Tiles;
use crate::ops::simd::avx512::{Avx512, run_bf16_dot};
use crate::ops::simd::{LANES, load_some, poke, store_some};

/// How far a score may rise above a lane's reference before the reference follows, in powers of 2. Probabilities
/// are then at most 256 where they would be at most 1, at the same relative precision, and accumulators are
/// rescaled hardly ever after the first tile.
const RISE: f32 = 8.0;
/// Tiles between the one at hand and the one that is fetched.
const AHEAD: usize = 2;
/// A tile with so many pairs of positions at most is copied from, rather than read whole.
const SHORT_TAIL_PAIRS: usize = 12;
const SCORE_BYTES: usize = LANES_TOGETHER * BLOCK_SIZE * 4;

/// Does one item; `isa` multiplies bf16 pairs.
pub fn attend(isa: Isa, work: Work<'_, u16>) {
    debug_assert!(isa.has_bf16_dot());
    let lanes = work.lanes();
    let (width, padded) = (work.layout.key_dims(), work.layout.padded_head_dim());
    let bytes = [
        lanes * 4,
        (lanes + LANES_TOGETHER) * width * 2,
        lanes * 4,
        lanes * LANES * 4,
        lanes * padded * 4,
        2 * SCORE_BYTES,
        LANES_TOGETHER * BLOCK_SIZE * 2,
        LANES_TOGETHER * 4,
        LANES_TOGETHER * padded * 4,
        BLOCK_SIZE * padded * 2,
    ];
    with_scratch(
        bytes,
        |[
            positions,
            queries,
            maxima,
            sums,
            accumulators,
            scores,
            probabilities,
            corrections,
            partial,
            tail,
        ]| {
            let state = State {
                positions: positions.cast(),
                queries: queries.cast(),
                maxima: maxima.cast(),
                sums: sums.cast(),
                accumulators: accumulators.cast(),
                scores: scores.cast(),
                probabilities: probabilities.cast(),
                corrections: corrections.cast(),
                partial: partial.cast(),
                tail: tail.cast(),
            };
            // SAFETY: the buffers are as long as `State` says, the work has been checked, and the instruction set
            // has what the kernel needs.
            unsafe {
                if isa.has_tiles() {
                    run_bf16_dot(Attend::<true> { work, width, padded, state });
                } else {
                    run_bf16_dot(Attend::<false> { work, width, padded, state });
                }
            }
        },
    );
}

/// What a lane carries from tile to tile, and what sixteen need inside one.
struct State {
    /// `[lanes]`
    positions: *mut u32,
    /// `[lanes + 16][width]`, bf16; what lies behind the last lane is multiplied and never looked at.
    queries: *mut u16,
    /// `[lanes]`, what probabilities are relative to: near the largest score so far, as a power of 2.
    maxima: *mut f32,
    /// `[lanes][16]`, folded at the end.
    sums: *mut f32,
    /// `[lanes][padded]`
    accumulators: *mut f32,
    /// `[2][16][32]`, of the tile at hand and of the next.
    scores: *mut f32,
    /// `[16][32]`, bf16.
    probabilities: *mut u16,
    /// `[16]`
    corrections: *mut f32,
    /// `[16][padded]`, the accumulators while fewer than sixteen lanes go together.
    partial: *mut f32,
    /// `[16][padded][2]`, bf16: the V of a tile that is far from full.
    tail: *mut u16,
}

struct Attend<'a, const TILES: bool> {
    work: Work<'a, u16>,
    /// head_dim as keys and queries are padded.
    width: usize,
    /// head_dim as values are padded.
    padded: usize,
    state: State,
}

/// Up to sixteen lanes on their way through a span.
struct Together<'a> {
    span: &'a Span,
    tiles: Range<usize>,
    /// The first lane, counted in the item.
    lane: usize,
    positions: &'a [u32],
    /// Tiles inside of these positions are seen whole by all.
    whole: Range<usize>,
    /// Nobody sees this position or a later one.
    reach: usize,
    /// `[16][padded]`
    accumulators: *mut f32,
}

impl Together<'_> {
    /// How many of the tile's positions somebody may see, counted from its first.
    #[inline(always)]
    fn positions_reached(&self, tile: usize) -> usize {
        self.reach.saturating_sub(tile * BLOCK_SIZE).min(BLOCK_SIZE)
    }
}

impl<const TILES: bool> DotKernel for Attend<'_, TILES> {
    #[inline(always)]
    unsafe fn run(self) {
        // SAFETY: all lanes are the item's, whose state is as long as written at `State`.
        unsafe {
            self.begin();
            let blocks = self.work.spans().flat_map(|(span, lanes)| {
                let end = lanes.end;
                lanes.step_by(LANES_TOGETHER).map(move |lane| (span, lane, LANES_TOGETHER.min(end - lane)))
            });
            let mut blocks = blocks.filter_map(|(span, lane, count)| self.together(span, lane, count));
            let mut now = blocks.next();
            // Released when the item is done.
            let tiles = if TILES { Some(Tiles::configure()) } else { None };
            let mut turn = 0;
            if let (Some(tiles), Some(first)) = (&tiles, &now) {
                self.multiply_tiles(tiles, first, first.tiles.start, self.state.scores);
            }
            while let Some(together) = now {
                let next = blocks.next();
                let own = self.state.accumulators.add(together.lane * self.padded);
                let count = together.positions.len();
                if count < LANES_TOGETHER {
                    self.copy(own, together.accumulators, count);
                }
                turn = match (&tiles, self.padded / LANES) {
                    (None, _) => self.through_dots(&together, next.as_ref()),
                    (Some(tiles), 1) => self.through_tiles::<1>(tiles, &together, next.as_ref(), turn),
                    (Some(tiles), 2) => self.through_tiles::<2>(tiles, &together, next.as_ref(), turn),
                    (Some(tiles), 3) => self.through_tiles::<3>(tiles, &together, next.as_ref(), turn),
                    (Some(tiles), 4) => self.through_tiles::<4>(tiles, &together, next.as_ref(), turn),
                    (Some(tiles), _) => self.through_tiles::<0>(tiles, &together, next.as_ref(), turn),
                };
                if count < LANES_TOGETHER {
                    self.copy(together.accumulators, own, count);
                }
                now = next;
            }
            for lane in 0..self.work.lanes() {
                self.finish(lane);
            }
        }
    }
}

// No closures around vector operations: a closure is a function of its own, without the processor's features.
impl<const TILES: bool> Attend<'_, TILES> {
    #[inline(always)]
    unsafe fn begin(&self) {
        let state = &self.state;
        for lane in 0..self.work.lanes() {
            let query = self.work.query(lane);
            // SAFETY: the lane is one of the item's; queries are padded to 32.
            unsafe {
                state.positions.add(lane).write(self.work.position(lane));
                state.maxima.add(lane).write(f32::NEG_INFINITY);
                state.sums.add(lane * LANES).write_bytes(0, LANES);
                state.accumulators.add(lane * self.padded).write_bytes(0, self.padded);
                for i in (0..self.width).step_by(LANES) {
                    let left = query.len().saturating_sub(i);
                    let from = query.as_ptr().wrapping_add(i);
                    let rounded = _mm512_cvtneps_pbh(load_some::<Avx512>(from, left));
                    poke(state.queries.add(lane * self.width + i), rounded);
                }
            }
        }
    }

    /// Up to sixteen lanes and a span, unless they see none of it.
    #[inline(always)]
    fn together<'b>(&'b self, span: &'b Span, lane: usize, count: usize) -> Option<Together<'b>> {
        let state = &self.state;
        // SAFETY: these are lanes of the item, whose positions were written at the beginning.
        let positions = unsafe { std::slice::from_raw_parts(state.positions.add(lane), count) };
        let tiles = self.work.tiles_seen(span, positions);
        let own = state.accumulators.wrapping_add(lane * self.padded);
        // A whole sixteen works in place.
        let accumulators = if count < LANES_TOGETHER { state.partial } else { own };
        let first = positions.iter().map(|&position| self.work.first_seen(position)).max().unwrap_or(0);
        let last = positions.iter().min().map_or(0, |&position| position as usize);
        let reach = positions.iter().max().map_or(0, |&position| position as usize + 1);
        let together = Together { span, tiles, lane, positions, whole: first..last + 1, reach, accumulators };
        (!together.tiles.is_empty()).then_some(together)
    }

    /// Fetches the tile that is due after `AHEAD` others: the processor's own prefetchers do not know where the
    /// next block lies. Not for a whole sixteen, whose tiles are likely in the cache for the sixteen before it.
    #[inline(always)]
    unsafe fn prefetch(&self, together: &Together<'_>, next: Option<&Together<'_>>, tile: usize) {
        const LINE: usize = 32;
        if together.positions.len() == LANES_TOGETHER {
            return;
        }
        let due = tile + AHEAD;
        let (of, due) = match (due.checked_sub(together.tiles.end), next) {
            (None, _) => (together, due),
            (Some(over), Some(next)) if next.tiles.start + over < next.tiles.end => {
                (next, next.tiles.start + over)
            }
            _ => return,
        };
        let elements = self.work.tile(of.span, due).as_ptr();
        let positions = of.positions_reached(due);
        // SAFETY: hints; and the lines are inside of the tile.
        unsafe {
            for pair in 0..self.width / 2 {
                let keys = elements.wrapping_add(pair * 2 * BLOCK_SIZE);
                _mm_prefetch::<_MM_HINT_T0>(keys.cast());
                if positions > LANES {
                    _mm_prefetch::<_MM_HINT_T0>(keys.wrapping_add(LINE).cast());
                }
            }
            let values = elements.wrapping_add(self.work.layout.values());
            for at in (0..positions.div_ceil(2) * 2 * self.padded).step_by(LINE) {
                _mm_prefetch::<_MM_HINT_T0>(values.wrapping_add(at).cast());
            }
        }
    }

    /// `count` lanes' accumulators.
    #[inline(always)]
    unsafe fn copy(&self, from: *const f32, to: *mut f32, count: usize) {
        for i in (0..count * self.padded).step_by(LANES) {
            // SAFETY: the caller's word.
            unsafe { _mm512_storeu_ps(to.add(i), _mm512_loadu_ps(from.add(i))) };
        }
    }

    /// The accumulator over the sum, into the output.
    #[inline(always)]
    unsafe fn finish(&self, lane: usize) {
        let head_dim = self.work.layout.head_dim;
        // SAFETY: the lane's share of the output is head_dim floats, and its accumulator is padded.
        unsafe {
            let sum =
                _mm512_set1_ps(_mm512_reduce_add_ps(_mm512_loadu_ps(self.state.sums.add(lane * LANES))));
            let from = self.state.accumulators.add(lane * self.padded);
            let to = self.work.result(lane);
            for i in (0..head_dim).step_by(LANES) {
                // -0 becomes 0, as it would by a product with what the lane does not see.
                let value = _mm512_add_ps(_mm512_loadu_ps(from.add(i)), _mm512_setzero_ps());
                store_some::<Avx512>(to.wrapping_add(i), _mm512_div_ps(value, sum), head_dim - i);
            }
        }
    }
}
