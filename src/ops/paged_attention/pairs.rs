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

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _CMP_GT_OQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T0,
    _mm_prefetch, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_cvtne2ps_pbh, _mm512_cvtneps_pbh, _mm512_div_ps,
    _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_fmsub_ps, _mm512_loadu_ps, _mm512_mask_mul_ps,
    _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_reduce_add_ps, _mm512_reduce_max_ps,
    _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_storeu_ps, _mm512_sub_ps,
};
use std::mem::transmute;
use std::ops::Range;

use super::plan::{LANES_TOGETHER, Span};
use super::scratch::with_scratch;
use super::work::Work;
use crate::ops::Isa;
use crate::ops::kv_pool::BLOCK_SIZE;
use crate::ops::simd::amx::{ROW_BYTES, Tiles};
use crate::ops::simd::avx512::{Avx512, DotKernel, run_bf16_dot};
use crate::ops::simd::{LANES, load_some, math, peek, poke, store_some, unroll};

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

    /// Probabilities of one tile from its scores, for the lanes that see some of it. True when the accumulator of
    /// one must be scaled by its correction first.
    #[inline(always)]
    unsafe fn soften(&self, together: &Together<'_>, tile: usize, scores: *const f32) -> bool {
        let start = tile * BLOCK_SIZE;
        // SAFETY: the lanes are the item's, and the scores sixteen rows of 32.
        unsafe {
            let mut moved = false;
            if together.whole.start <= start && start + BLOCK_SIZE <= together.whole.end {
                for at in 0..together.positions.len() {
                    moved |= self.soften_lane(together.lane + at, at, scores, u32::MAX);
                }
                return moved;
            }
            for (at, &position) in together.positions.iter().enumerate() {
                let (first, end) = self.work.seen(tile, position);
                if first < end {
                    let seen = (u32::MAX >> (BLOCK_SIZE - end)) & (u32::MAX << first);
                    moved |= self.soften_lane(together.lane + at, at, scores, seen);
                } else {
                    // A lane that sees nothing here is left as it is.
                    poke(self.state.corrections.add(at), 1.0_f32);
                    poke(self.state.probabilities.add(at * BLOCK_SIZE), [0_u16; BLOCK_SIZE]);
                }
            }
            moved
        }
    }

    /// One lane's; the bits of `seen` are the positions that it sees, one at least.
    #[inline(always)]
    unsafe fn soften_lane(&self, lane: usize, at: usize, scores: *const f32, seen: u32) -> bool {
        let state = &self.state;
        let seen = (seen as u16, (seen >> LANES) as u16);
        // SAFETY: the lane is the item's, and the scores sixteen rows of 32.
        unsafe {
            let scores = scores.add(at * BLOCK_SIZE);
            let scores = (_mm512_loadu_ps(scores), _mm512_loadu_ps(scores.add(LANES)));
            let (low, high, scale) = match self.work.settings.logit_softcap {
                None => (scores.0, scores.1, self.work.settings.scale * std::f32::consts::LOG2_E),
                Some(cap) => {
                    (self.capped(scores.0, cap), self.capped(scores.1, cap), std::f32::consts::LOG2_E)
                }
            };
            let scale = _mm512_set1_ps(scale);
            let mut reference: f32 = peek(state.maxima.add(lane));
            let splat = _mm512_set1_ps(reference);
            let mut x = (_mm512_fmsub_ps(low, scale, splat), _mm512_fmsub_ps(high, scale, splat));
            let mut sum = _mm512_loadu_ps(state.sums.add(lane * LANES));
            let mut moved = false;
            let mut correction = 1.0_f32;
            let rise = _mm512_set1_ps(RISE);
            let above_low = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x.0, rise) & seen.0;
            let above_high = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x.1, rise) & seen.1;
            if above_low | above_high != 0 {
                let hidden = _mm512_set1_ps(f32::NEG_INFINITY);
                let seen_low = _mm512_mask_mul_ps(hidden, seen.0, low, scale);
                let seen_high = _mm512_mask_mul_ps(hidden, seen.1, high, scale);
                let maximum = _mm512_reduce_max_ps(_mm512_max_ps(seen_low, seen_high));
                // At first there is nothing to correct.
                if reference != f32::NEG_INFINITY {
                    let factor = exp2(_mm512_set1_ps(reference - maximum));
                    sum = _mm512_mul_ps(sum, factor);
                    let mut lanes = [0.0; LANES];
                    _mm512_storeu_ps(lanes.as_mut_ptr(), factor);
                    correction = lanes[0];
                    moved = true;
                }
                reference = maximum;
                poke(state.maxima.add(lane), reference);
                let splat = _mm512_set1_ps(reference);
                x = (_mm512_fmsub_ps(low, scale, splat), _mm512_fmsub_ps(high, scale, splat));
            }
            poke(state.corrections.add(at), correction);
            let low = _mm512_maskz_mov_ps(seen.0, exp2(x.0));
            let high = _mm512_maskz_mov_ps(seen.1, exp2(x.1));
            let rounded = _mm512_cvtne2ps_pbh(high, low);
            poke(state.probabilities.add(at * BLOCK_SIZE), rounded);
            // 1 in bf16.
            let ones: __m512bh = transmute(_mm512_set1_epi16(0x3f80));
            _mm512_storeu_ps(state.sums.add(lane * LANES), _mm512_dpbf16_ps(sum, rounded, ones));
            moved
        }
    }

    #[inline(always)]
    unsafe fn capped(&self, score: __m512, cap: f32) -> __m512 {
        // SAFETY: no memory is touched.
        unsafe {
            let cap = _mm512_set1_ps(cap);
            let score = _mm512_mul_ps(score, _mm512_set1_ps(self.work.settings.scale));
            _mm512_mul_ps(cap, math::tanh::<Avx512>(_mm512_div_ps(score, cap)))
        }
    }

    /// Scales the accumulators in memory by the corrections. Times 1 changes nothing, so a lane that did not move
    /// is passed over.
    #[inline(always)]
    unsafe fn rescale(&self, together: &Together<'_>) {
        for at in 0..together.positions.len() {
            // SAFETY: the lanes are the item's.
            unsafe {
                let correction: f32 = peek(self.state.corrections.add(at));
                if correction != 1.0 {
                    let row = together.accumulators.add(at * self.padded);
                    for i in (0..self.padded).step_by(LANES) {
                        let scaled = _mm512_mul_ps(_mm512_loadu_ps(row.add(i)), _mm512_set1_ps(correction));
                        _mm512_storeu_ps(row.add(i), scaled);
                    }
                }
            }
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

/// 2^x by a polynomial of degree 4 between -1/2 and 1/2, exact at 0 and within 3e-6 elsewhere (least squares,
/// reweighted towards the largest error): a thousandth of what the rounding to bf16 takes. Small results fade to 0.
#[inline(always)]
unsafe fn exp2(x: __m512) -> __m512 {
    // SAFETY: no memory is touched.
    unsafe {
        let n = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
        let r = _mm512_sub_ps(x, n);
        let mut p = _mm512_set1_ps(9.582_852e-3);
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.590_642_6e-2));
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.402_409_9e-1));
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.931_242e-1));
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0));
        _mm512_scalef_ps(p, n)
    }
}

/// The body for each column below a count of at most 4, the column a constant, as a tile register's number must be.
macro_rules! columns {
    ($column:ident < $count:expr, $body:block) => {
        columns!($column, $count, $body, 0 1 2 3)
    };
    ($column:ident, $count:expr, $body:block, $($value:literal)*) => {
        $(if $value < $count {
            const $column: usize = $value;
            $body
        })*
    };
}

/// Tile registers: 0 to 3 accumulate, 4 and 5 are scores, 6 the left-hand side, 7 the right-hand side (and 4 and 5,
/// while they are free).
const RIGHT: [usize; 4] = [7, 5, 4, 7];

impl<const TILES: bool> Attend<'_, TILES> {
    /// Up to sixteen lanes through a span by AMX. The first COLUMNS sixteens of the accumulators stay in tile
    /// registers; with 0, none do. While a tile's scores are softened, the next one's are multiplied and the one's
    /// before are weighed: products and vector arithmetic wait for each other as little as they can. So the first
    /// tile's scores are there already, in buffer `turn`, and `next` finds its own in the buffer returned.
    #[inline(always)]
    unsafe fn through_tiles<const COLUMNS: usize>(
        &self,
        tiles: &Tiles,
        together: &Together<'_>,
        next: Option<&Together<'_>>,
        mut turn: usize,
    ) -> usize {
        let stride = self.padded * 4;
        let accumulators = together.accumulators.cast::<u8>();
        let scores = [self.state.scores, self.state.scores.wrapping_add(SCORE_BYTES / 4)];
        let Range { start, end } = together.tiles;
        // SAFETY: accumulators are sixteen rows, and `tile` is one that the lanes see.
        unsafe {
            columns!(C < COLUMNS, { tiles.load::<C>(accumulators.add(C * ROW_BYTES), stride) });
            for tile in start..end {
                self.prefetch(together, next, tile);
                if tile + 1 < end {
                    self.multiply_tiles(tiles, together, tile + 1, scores[1 - turn]);
                } else if let Some(next) = next {
                    self.multiply_tiles(tiles, next, next.tiles.start, scores[1 - turn]);
                }
                if tile > start {
                    self.weigh_tiles::<COLUMNS>(tiles, together, tile - 1);
                }
                if self.soften(together, tile, scores[turn]) {
                    columns!(C < COLUMNS, { tiles.store::<C>(accumulators.add(C * ROW_BYTES), stride) });
                    self.rescale(together);
                    columns!(C < COLUMNS, { tiles.load::<C>(accumulators.add(C * ROW_BYTES), stride) });
                }
                turn = 1 - turn;
            }
            self.weigh_tiles::<COLUMNS>(tiles, together, end - 1);
            columns!(C < COLUMNS, { tiles.store::<C>(accumulators.add(C * ROW_BYTES), stride) });
        }
        turn
    }

    /// The first `pairs` rows of V and zeros: a sequence's last tile may be far from full, and what it does not hold
    /// yet is not worth its way through the memory.
    #[inline(always)]
    unsafe fn tail(&self, values: *const u16, pairs: usize) -> *const u16 {
        let (tail, row) = (self.state.tail, 2 * self.padded);
        // SAFETY: both are sixteen rows of pairs.
        unsafe {
            for at in (0..pairs * row).step_by(2 * LANES) {
                let pair: __m512i = peek(values.add(at));
                poke(tail.add(at), pair);
            }
            for at in (pairs * row..BLOCK_SIZE / 2 * row).step_by(2 * LANES) {
                poke(tail.add(at), _mm512_set1_epi32(0));
            }
        }
        tail
    }

    /// Adds the tile's values, weighted with the probabilities at hand.
    #[inline(always)]
    unsafe fn weigh_tiles<const COLUMNS: usize>(&self, tiles: &Tiles, together: &Together<'_>, tile: usize) {
        let stride = self.padded * 4;
        let accumulators = together.accumulators.cast::<u8>();
        let values = self.work.tile(together.span, tile).as_ptr().wrapping_add(self.work.layout.values());
        let pairs = together.positions_reached(tile).div_ceil(2);
        // SAFETY: accumulators are sixteen rows, V and `tail` sixteen rows of pairs.
        unsafe {
            let values = if pairs > SHORT_TAIL_PAIRS { values } else { self.tail(values, pairs) };
            let values = values.cast::<u8>();
            tiles.load::<6>(self.state.probabilities.cast(), ROW_BYTES);
            columns!(C < COLUMNS, {
                const R: usize = RIGHT[C];
                tiles.load::<R>(values.add(C * ROW_BYTES), stride);
                tiles.dot_bf16::<C, 6, R>();
            });
            if COLUMNS == 0 {
                for first in (0..self.padded / LANES).step_by(4) {
                    let count = self.padded / LANES - first;
                    let values = values.add(first * ROW_BYTES);
                    let accumulators = accumulators.add(first * ROW_BYTES);
                    columns!(C < count, {
                        const R: usize = RIGHT[C];
                        tiles.load::<C>(accumulators.add(C * ROW_BYTES), stride);
                        tiles.load::<R>(values.add(C * ROW_BYTES), stride);
                        tiles.dot_bf16::<C, 6, R>();
                        tiles.store::<C>(accumulators.add(C * ROW_BYTES), stride);
                    });
                }
            }
        }
    }

    /// q k of sixteen lanes and the tile's 32 positions.
    #[inline(always)]
    unsafe fn multiply_tiles(&self, tiles: &Tiles, together: &Together<'_>, tile: usize, scores: *mut f32) {
        const POSITIONS_BYTES: usize = BLOCK_SIZE * 4;
        let keys = self.work.tile(together.span, tile).as_ptr().cast::<u8>();
        let queries = self.state.queries.wrapping_add(together.lane * self.width).cast::<u8>();
        // Scores that nobody looks at are not computed.
        let both = together.positions_reached(tile) > LANES;
        tiles.zero::<4>();
        tiles.zero::<5>();
        // SAFETY: sixteen rows of queries are there, and K is whole tiles of sixteen pairs.
        unsafe {
            for i in 0..self.width / (2 * LANES) {
                let keys = keys.add(i * LANES * POSITIONS_BYTES);
                tiles.load::<6>(queries.add(i * ROW_BYTES), self.width * 2);
                tiles.load::<7>(keys, POSITIONS_BYTES);
                tiles.dot_bf16::<4, 6, 7>();
                if both {
                    tiles.load::<7>(keys.add(ROW_BYTES), POSITIONS_BYTES);
                    tiles.dot_bf16::<5, 6, 7>();
                }
            }
            tiles.store::<4>(scores.cast(), POSITIONS_BYTES);
            tiles.store::<5>(scores.cast::<u8>().add(ROW_BYTES), POSITIONS_BYTES);
        }
    }
}

impl<const TILES: bool> Attend<'_, TILES> {
    /// Up to sixteen lanes through a span by VDPBF16PS. Rows behind the last lane, up to the sixteenth, may be
    /// computed and are never looked at. There is one buffer of scores, the first.
    #[inline(always)]
    unsafe fn through_dots(&self, together: &Together<'_>, next: Option<&Together<'_>>) -> usize {
        let count = together.positions.len();
        for tile in together.tiles.clone() {
            let keys = self.work.tile(together.span, tile).as_ptr();
            // SAFETY: accumulators, scores and probabilities are sixteen rows.
            unsafe {
                self.prefetch(together, next, tile);
                let values = keys.add(self.work.layout.values());
                let mut at = 0;
                while at < count {
                    at += match count - at {
                        5.. => self.multiply_dots::<8>(keys, together.lane, at),
                        2.. => self.multiply_dots::<4>(keys, together.lane, at),
                        _ => self.multiply_dots::<1>(keys, together.lane, at),
                    };
                }
                if self.soften(together, tile, self.state.scores) {
                    self.rescale(together);
                }
                let pairs = together.positions_reached(tile).div_ceil(2);
                for column in (0..self.padded).step_by(4 * LANES) {
                    let columns = (self.padded - column) / LANES;
                    let mut at = 0;
                    while at < count {
                        let few = count - at < 2;
                        at += match columns {
                            4.. if few => self.weigh::<1, 4>(values, together, pairs, (at, column)),
                            4.. => self.weigh::<4, 4>(values, together, pairs, (at, column)),
                            3 if few => self.weigh::<1, 3>(values, together, pairs, (at, column)),
                            3 => self.weigh::<4, 3>(values, together, pairs, (at, column)),
                            2 if few => self.weigh::<1, 2>(values, together, pairs, (at, column)),
                            2 => self.weigh::<4, 2>(values, together, pairs, (at, column)),
                            _ if few => self.weigh::<1, 1>(values, together, pairs, (at, column)),
                            _ => self.weigh::<4, 1>(values, together, pairs, (at, column)),
                        };
                    }
                }
            }
        }
        0
    }

    /// q k of R lanes and the tile's 32 positions, each one chain over the pairs of dimensions. Returns R.
    #[inline(always)]
    unsafe fn multiply_dots<const R: usize>(&self, keys: *const u16, lane: usize, at: usize) -> usize {
        // SAFETY: queries have sixteen rows from `lane` on, and K holds 32 positions for each pair.
        unsafe {
            let queries = self.state.queries.add((lane + at) * self.width);
            let mut sums = [[_mm512_setzero_ps(); 2]; R];
            for pair in 0..self.width / 2 {
                let keys = keys.wrapping_add(pair * 2 * BLOCK_SIZE);
                let low: __m512bh = peek(keys);
                let high: __m512bh = peek(keys.wrapping_add(2 * LANES));
                unroll!(r < R, {
                    let q = splat_pair(queries.wrapping_add(r * self.width + 2 * pair));
                    sums[r][0] = _mm512_dpbf16_ps(sums[r][0], q, low);
                    sums[r][1] = _mm512_dpbf16_ps(sums[r][1], q, high);
                });
            }
            let scores = self.state.scores.add(at * BLOCK_SIZE);
            unroll!(r < R, {
                _mm512_storeu_ps(scores.add(r * BLOCK_SIZE), sums[r][0]);
                _mm512_storeu_ps(scores.add(r * BLOCK_SIZE + LANES), sums[r][1]);
            });
        }
        R
    }

    /// Adds the values, weighted, to C vectors of R lanes' accumulators. Returns R.
    #[inline(always)]
    unsafe fn weigh<const R: usize, const C: usize>(
        &self,
        values: *const u16,
        together: &Together<'_>,
        pairs: usize,
        (at, column): (usize, usize),
    ) -> usize {
        let padded = self.padded;
        // SAFETY: the columns are below the padded head_dim, and there are sixteen rows.
        unsafe {
            let to = together.accumulators.add(at * padded + column);
            let probabilities = self.state.probabilities.add(at * BLOCK_SIZE);
            let mut sums = [[_mm512_setzero_ps(); C]; R];
            unroll!(r < R, {
                unroll!(c < C, {
                    sums[r][c] = _mm512_loadu_ps(to.add(r * padded + c * LANES));
                });
            });
            for pair in 0..pairs {
                let values = values.wrapping_add((pair * padded + column) * 2);
                let mut value: [__m512bh; C] = [transmute::<__m512i, __m512bh>(_mm512_set1_epi32(0)); C];
                unroll!(c < C, {
                    value[c] = peek(values.wrapping_add(c * 2 * LANES));
                });
                unroll!(r < R, {
                    let p = splat_pair(probabilities.wrapping_add(r * BLOCK_SIZE + 2 * pair));
                    unroll!(c < C, {
                        sums[r][c] = _mm512_dpbf16_ps(sums[r][c], p, value[c]);
                    });
                });
            }
            unroll!(r < R, {
                unroll!(c < C, {
                    _mm512_storeu_ps(to.add(r * padded + c * LANES), sums[r][c]);
                });
            });
        }
        R
    }
}

/// The pair at `from`, sixteen times.
#[inline(always)]
unsafe fn splat_pair(from: *const u16) -> __m512bh {
    // SAFETY: the caller vouches for two readable elements.
    unsafe { transmute::<__m512i, __m512bh>(_mm512_set1_epi32(peek(from))) }
}
