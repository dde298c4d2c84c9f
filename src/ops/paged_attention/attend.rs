//! The kernel in f32 arithmetic, on every instruction set: an f32 pool, or a bf16 pool widened in registers.
//!
//! Lanes that see the same part of a tile go through it together, so that a key or a value is loaded once for
//! several of them; a lane's own arithmetic does not depend on its company. Positions that a row must not see have
//! their scores replaced and the probability 0.

use super::scratch::with_scratch;
use super::work::Work;
use crate::ops::Isa;
use crate::ops::kv_pool::BLOCK_SIZE;
use crate::ops::simd::{Element, Kernel, LANES, Simd, load_some, math, peek, poke, store_some, unroll};

/// Lanes that go through a span tile by tile: their state stays in the first-level cache.
const LANES_TOGETHER: usize = 24;
const PAIR: usize = 2;

/// How a tile of the element's type is read, two dimensions or two positions at a time.
pub trait TileElement: Element {
    /// Dimensions 2 pair and 2 pair + 1 (zeros beyond `head_dim`) of the tile's positions: `[dimension][half]`.
    ///
    /// # Safety
    /// The instruction set is present, `keys` is the K of a tile, and the pair's first dimension is in `head_dim`.
    unsafe fn keys<S: Simd>(keys: *const Self, pair: usize, head_dim: usize) -> [[S::F; 2]; 2];
    /// Columns `column` to `column + 16` of the positions 2 pair and 2 pair + 1.
    ///
    /// # Safety
    /// The instruction set is present, `values` is the V of a tile, and the columns are inside of `padded`.
    unsafe fn values<S: Simd>(values: *const Self, pair: usize, padded: usize, column: usize) -> [S::F; 2];
}

impl TileElement for f32 {
    #[inline(always)]
    unsafe fn keys<S: Simd>(keys: *const Self, pair: usize, head_dim: usize) -> [[S::F; 2]; 2] {
        let keys = keys.wrapping_add(2 * pair * BLOCK_SIZE);
        // SAFETY: the caller's word; K is [head_dim][32].
        unsafe {
            let first = [S::load(keys), S::load(keys.wrapping_add(LANES))];
            if 2 * pair + 1 == head_dim {
                return [first, [S::splat(0.0); 2]];
            }
            [first, [S::load(keys.wrapping_add(2 * LANES)), S::load(keys.wrapping_add(3 * LANES))]]
        }
    }
    #[inline(always)]
    unsafe fn values<S: Simd>(values: *const Self, pair: usize, padded: usize, column: usize) -> [S::F; 2] {
        let values = values.wrapping_add(2 * pair * padded + column);
        // SAFETY: the caller's word; V is [32][padded].
        unsafe { [S::load(values), S::load(values.wrapping_add(padded))] }
    }
}

/// bf16 bits.
impl TileElement for u16 {
    #[inline(always)]
    unsafe fn keys<S: Simd>(keys: *const Self, pair: usize, _: usize) -> [[S::F; 2]; 2] {
        let keys = keys.wrapping_add(pair * 2 * BLOCK_SIZE);
        // SAFETY: the caller's word; K is [padded head_dim / 2][32][2].
        unsafe {
            let low = S::load_bf16_pairs(keys);
            let high = S::load_bf16_pairs(keys.wrapping_add(2 * LANES));
            [[low[0], high[0]], [low[1], high[1]]]
        }
    }
    #[inline(always)]
    unsafe fn values<S: Simd>(values: *const Self, pair: usize, padded: usize, column: usize) -> [S::F; 2] {
        // SAFETY: the caller's word; V is [16][padded][2].
        unsafe { S::load_bf16_pairs(values.wrapping_add((pair * padded + column) * 2)) }
    }
}

/// Does one item.
pub fn attend<T: TileElement>(isa: Isa, work: Work<'_, T>) {
    let lanes = work.lanes();
    let (width, padded) = (work.layout.head_dim.next_multiple_of(2), work.layout.padded_head_dim());
    let bytes = [
        lanes * 4,
        lanes * width * 4,
        lanes * 4,
        lanes * LANES * 4,
        lanes * padded * 4,
        LANES_TOGETHER * BLOCK_SIZE * 4,
        LANES_TOGETHER * 4,
    ];
    with_scratch(bytes, |[positions, queries, maxima, sums, accumulators, tile, corrections]| {
        let state = State {
            positions: positions.cast(),
            queries: queries.cast(),
            maxima: maxima.cast(),
            sums: sums.cast(),
            accumulators: accumulators.cast(),
            tile: tile.cast(),
            corrections: corrections.cast(),
        };
        // SAFETY: the buffers are as long as `State` says, and the work has been checked.
        unsafe { isa.dispatch(Attend { work, width, padded, state }) }
    });
}

/// What a lane carries from tile to tile, and what it needs inside one.
struct State {
    /// `[lanes]`
    positions: *mut u32,
    /// `[lanes][width]`
    queries: *mut f32,
    /// `[lanes]`
    maxima: *mut f32,
    /// `[lanes][16]`, folded at the end.
    sums: *mut f32,
    /// `[lanes][padded]`
    accumulators: *mut f32,
    /// `[24][32]`, the probabilities of the tile at hand.
    tile: *mut f32,
    /// `[24]`, what the tile's new maximum scales the sums by.
    corrections: *mut f32,
}

struct Attend<'a, T> {
    work: Work<'a, T>,
    /// head_dim, padded to pairs.
    width: usize,
    /// head_dim, padded to vectors.
    padded: usize,
    state: State,
}

/// R lanes that see the same part of a tile: the first of them in the item, the first in the scratch tile.
#[derive(Clone, Copy)]
struct Together {
    lane: usize,
    at: usize,
    first: usize,
    end: usize,
}

impl<T: TileElement> Kernel for Attend<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: all lanes are the item's, whose state is as long as written at `State`; tiles are whole.
        unsafe {
            self.begin();
            for (span, lanes) in self.work.spans() {
                let mut start = lanes.start;
                while start < lanes.end {
                    let end = lanes.end.min(start + LANES_TOGETHER);
                    let positions = std::slice::from_raw_parts(self.state.positions.add(start), end - start);
                    for tile in self.work.tiles_seen(span, positions) {
                        let elements = self.work.tile(span, tile);
                        self.tile::<S>(tile, elements.as_ptr(), start, positions);
                    }
                    start = end;
                }
            }
            for lane in 0..self.work.lanes() {
                self.finish::<S>(lane);
            }
        }
    }
}

impl<T: TileElement> Attend<'_, T> {
    #[inline(always)]
    unsafe fn begin(&self) {
        let (state, padded) = (&self.state, self.padded);
        for lane in 0..self.work.lanes() {
            let query = self.work.query(lane);
            // SAFETY: the lane is one of the item's.
            unsafe {
                state.positions.add(lane).write(self.work.position(lane));
                state.maxima.add(lane).write(f32::NEG_INFINITY);
                state.sums.add(lane * LANES).write_bytes(0, LANES);
                state.accumulators.add(lane * padded).write_bytes(0, padded);
                let to = state.queries.add(lane * self.width);
                to.add(self.width - 1).write(0.0);
                to.copy_from_nonoverlapping(query.as_ptr(), query.len());
            }
        }
    }

    /// One tile for the lanes from `start` on, as many as there are positions.
    #[inline(always)]
    unsafe fn tile<S: Simd>(&self, tile: usize, keys: *const T, start: usize, positions: &[u32]) {
        let mut at = 0;
        while at < positions.len() {
            let seen = self.work.seen(tile, positions[at]);
            let mut count = 1;
            while count < S::ATTENTION_ROWS
                && positions.get(at + count).is_some_and(|&position| self.work.seen(tile, position) == seen)
            {
                count += 1;
            }
            let end = at + count;
            if seen.0 >= seen.1 {
                at = end;
            }
            while at < end {
                let together = Together { lane: start + at, at, first: seen.0, end: seen.1 };
                // SAFETY: the caller vouches for the lanes and the tile. The comparisons with constants leave only
                // the shapes that the instruction set uses.
                at += unsafe {
                    match end - at {
                        8.. if S::ATTENTION_ROWS == 8 => self.step::<S, 8, 2, 2>(keys, together),
                        4.. if S::ATTENTION_ROWS == 8 => self.step::<S, 4, 2, 4>(keys, together),
                        3 if S::ATTENTION_ROWS == 8 => self.step::<S, 3, 2, 4>(keys, together),
                        5.. if S::ATTENTION_ROWS == 5 => self.step::<S, 5, 1, 1>(keys, together),
                        4 if S::ATTENTION_ROWS == 5 => self.step::<S, 4, 1, 1>(keys, together),
                        3 if S::ATTENTION_ROWS == 5 => self.step::<S, 3, 1, 1>(keys, together),
                        2.. if S::ATTENTION_ROWS >= 2 => self.step::<S, 2, 2, 2>(keys, together),
                        _ => self.step::<S, 1, 2, 4>(keys, together),
                    }
                };
            }
        }
    }

    /// One tile for R lanes; the scores of H halves of it, and C vectors of the values, are summed at once. Returns R.
    #[inline(always)]
    unsafe fn step<S: Simd, const R: usize, const H: usize, const C: usize>(
        &self,
        keys: *const T,
        lanes: Together,
    ) -> usize {
        // SAFETY: the tile holds K and then V; the lanes exist.
        unsafe {
            if H == 2 {
                self.scores::<S, R, H>(keys, lanes, 0);
            } else {
                self.scores::<S, R, H>(keys, lanes, 0);
                self.scores::<S, R, H>(keys, lanes, 1);
            }
            for r in 0..R {
                self.softmax::<S>(Together { lane: lanes.lane + r, at: lanes.at + r, ..lanes });
            }
            let values = keys.add(self.work.layout.values());
            let mut column = 0;
            while column < self.padded {
                if self.padded - column >= C * LANES {
                    self.weigh::<S, R, C>(values, lanes, column);
                    column += C * LANES;
                } else {
                    self.weigh::<S, R, 1>(values, lanes, column);
                    column += LANES;
                }
            }
        }
        R
    }

    /// q k of R lanes and H halves of the tile's 32 positions, each one chain over head_dim, into the scratch tile.
    #[inline(always)]
    unsafe fn scores<S: Simd, const R: usize, const H: usize>(
        &self,
        keys: *const T,
        lanes: Together,
        half: usize,
    ) {
        let head_dim = self.work.layout.head_dim;
        // SAFETY: the lanes' queries are padded to pairs, and K holds 32 positions for each dimension.
        unsafe {
            let queries = self.state.queries.add(lanes.lane * self.width);
            let mut scores = [[S::splat(0.0); H]; R];
            for pair in 0..self.width / 2 {
                let keys = T::keys::<S>(keys, pair, head_dim);
                unroll!(dimension < PAIR, {
                    unroll!(r < R, {
                        let q = queries.wrapping_add(r * self.width + 2 * pair + dimension);
                        let q = S::splat(peek(q));
                        unroll!(h < H, {
                            scores[r][h] = S::fma(q, keys[dimension][half + h], scores[r][h]);
                        });
                    });
                });
            }
            let tile = self.state.tile.add(lanes.at * BLOCK_SIZE + half * LANES);
            unroll!(r < R, {
                unroll!(h < H, {
                    S::store(tile.add(r * BLOCK_SIZE + h * LANES), scores[r][h]);
                });
            });
        }
    }

    #[inline(always)]
    unsafe fn capped<S: Simd>(&self, score: S::F) -> S::F {
        // SAFETY: no memory is touched.
        unsafe {
            let score = S::mul(score, S::splat(self.work.settings.scale as f32));
            match self.work.settings.logit_softcap {
                Some(cap) => {
                    let cap = S::splat(cap);
                    S::mul(cap, math::tanh::<S>(S::div(score, cap)))
                }
                None => score,
            }
        }
    }

    /// The scratch tile's scores to probabilities against the maximum so far, and the correction of what came before.
    #[inline(always)]
    unsafe fn softmax<S: Simd>(&self, lane: Together) {
        let Together { lane, at, first, end } = lane;
        let state = &self.state;
        // SAFETY: the lane's state is as long as written at `State`.
        unsafe {
            let hidden = S::splat(f32::NEG_INFINITY);
            let high = (first.saturating_sub(LANES), end.saturating_sub(LANES));
            let tile = state.tile.add(at * BLOCK_SIZE);
            let low = S::within(self.capped::<S>(S::load(tile)), hidden, first, end);
            let high_scores = self.capped::<S>(S::load(tile.add(LANES)));
            let high_scores = S::within(high_scores, hidden, high.0, high.1);
            let before = peek(state.maxima.add(lane));
            let in_tile = S::max_lane(S::max(low, high_scores));
            // exp(0) is 1 to the bit; most tiles bring no new maximum.
            let grown = in_tile > before;
            let maximum = if grown { in_tile } else { before };
            let correction = if grown { math::exp::<S>(S::splat(before - maximum)) } else { S::splat(1.0) };
            let maxima = S::splat(maximum);
            let zero = S::splat(0.0);
            let low = S::within(math::exp::<S>(S::sub(low, maxima)), zero, first, end);
            let high = S::within(math::exp::<S>(S::sub(high_scores, maxima)), zero, high.0, high.1);
            let sums = state.sums.add(lane * LANES);
            S::store(sums, S::fma(S::load(sums), correction, S::add(low, high)));
            S::store(tile, low);
            S::store(tile.add(LANES), high);
            let mut lanes = [0.0; LANES];
            S::store(lanes.as_mut_ptr(), correction);
            poke(state.corrections.add(at), lanes[0]);
            poke(state.maxima.add(lane), maximum);
        }
    }

    /// Adds the seen values, weighted, to C vectors of R lanes' accumulators.
    #[inline(always)]
    unsafe fn weigh<S: Simd, const R: usize, const C: usize>(
        &self,
        values: *const T,
        lanes: Together,
        column: usize,
    ) {
        let padded = self.padded;
        // SAFETY: the columns are below the padded head_dim, the pairs below 16, and the lanes exist.
        unsafe {
            let to = self.state.accumulators.add(lanes.lane * padded + column);
            let probabilities = self.state.tile.add(lanes.at * BLOCK_SIZE);
            let mut sums = [[S::splat(0.0); C]; R];
            unroll!(r < R, {
                let correction = S::splat(peek(self.state.corrections.add(lanes.at + r)));
                unroll!(c < C, {
                    sums[r][c] = S::mul(S::load(to.add(r * padded + c * LANES)), correction);
                });
            });
            // A pair at the edge of what is seen may have an unseen half, whose probability is 0.
            for pair in lanes.first / 2..lanes.end.div_ceil(2) {
                unroll!(c < C, {
                    let value = T::values::<S>(values, pair, padded, column + c * LANES);
                    unroll!(at < PAIR, {
                        unroll!(r < R, {
                            let p = peek(probabilities.wrapping_add(r * BLOCK_SIZE + 2 * pair + at));
                            sums[r][c] = S::fma(S::splat(p), value[at], sums[r][c]);
                        });
                    });
                });
            }
            unroll!(r < R, {
                unroll!(c < C, {
                    S::store(to.add(r * padded + c * LANES), sums[r][c]);
                });
            });
        }
    }

    /// The accumulator over the sum, into the output.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, lane: usize) {
        let head_dim = self.work.layout.head_dim;
        // SAFETY: the lane's share of the output is head_dim floats, and its accumulator is padded.
        unsafe {
            let sum = S::splat(S::sum(S::load(self.state.sums.add(lane * LANES))));
            let from = self.state.accumulators.add(lane * self.padded);
            let to = self.work.result(lane);
            let mut i = 0;
            while i < head_dim {
                let value = load_some::<S>(from.add(i), head_dim - i);
                store_some::<S>(to.add(i), S::div(value, sum), head_dim - i);
                i += LANES;
            }
        }
    }
}
