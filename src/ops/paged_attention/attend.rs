//! The attention kernel: some rows of one sequence, some query heads of one KV head.
//!
//! A lane is one (row, head). Lanes that see the same part of a tile go through it together, so that a key or a
//! value is loaded once for several of them; a lane's own arithmetic does not depend on its company.
//! Positions that a row must not see take no part: their scores are replaced, and their values are not read, so
//! whatever a block held before cannot leak in, NaN included.

use std::ops::Range;

use super::AttentionSettings;
use crate::ops::KvLayout;
use crate::ops::kv_pool::BLOCK_SIZE;
use crate::ops::simd::{Element, Kernel, LANES, Simd, load_some, math, peek, store_some, unroll};

/// Rows times query heads of a piece of work: the lanes' state stays in the first-level cache.
pub const LANES_PER_ITEM: usize = 24;

/// A piece of work.
pub struct Item {
    pub sequence: usize,
    /// Rows of the batch.
    pub rows: Range<usize>,
    pub kv_head: usize,
    /// Query heads, all of this KV head.
    pub heads: Range<usize>,
}

/// One item on checked operands. `out` takes `[rows, heads, head_dim]`; the kernel writes its item's share.
pub struct Attend<'a, T> {
    pub q: &'a [f32],
    pub heads: usize,
    pub item: &'a Item,
    /// Of the item's rows.
    pub positions: &'a [u32],
    pub block_table: &'a [u32],
    pub elements: &'a [T],
    pub layout: &'a KvLayout,
    pub layer: usize,
    pub settings: AttentionSettings,
    pub out: *mut f32,
}

/// What a lane carries from tile to tile, and what it needs inside one.
struct State {
    /// `[lanes]`
    maxima: Vec<f32>,
    /// `[lanes][16]`, folded at the end.
    sums: Vec<f32>,
    /// `[lanes][padded_head_dim]`
    accumulators: Vec<f32>,
    /// `[lanes][32]`, the probabilities of the tile at hand.
    tile: Vec<f32>,
    /// `[lanes]`, what the tile's new maximum scales the sums by.
    corrections: Vec<f32>,
}

/// The part of a tile that a row sees, first..end; equal for all lanes that go together.
type Visible = (usize, usize);

impl<T: Element> Kernel for Attend<'_, T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let lanes = self.item.rows.len() * self.item.heads.len();
        let mut state = State {
            maxima: vec![f32::NEG_INFINITY; lanes],
            sums: vec![0.0; lanes * LANES],
            accumulators: vec![0.0; lanes * self.layout.padded_head_dim()],
            tile: vec![0.0; lanes * BLOCK_SIZE],
            corrections: vec![0.0; lanes],
        };
        let first = self.positions.iter().map(|&p| self.first_visible(p)).min().unwrap_or(0) / BLOCK_SIZE;
        let last = self.positions.iter().max().map_or(0, |&p| p as usize) / BLOCK_SIZE;
        for tile in first..=last {
            let block = self.block_table[tile] as usize;
            let at = self.layout.tile(self.layer, block, self.item.kv_head);
            let elements = &self.elements[at..at + self.layout.tile_elements()];
            let mut lane = 0;
            while lane < lanes {
                let (visible, count) = self.together(tile, lane, lanes, S::ATTENTION_ROWS);
                if visible.0 < visible.1 {
                    // SAFETY: the lanes are below `lanes`, and the tile is whole.
                    unsafe { self.tile_of_lanes::<S>(&mut state, elements, lane, count, visible) };
                }
                lane += count;
            }
        }
        for lane in 0..lanes {
            // SAFETY: the lane is one of this item.
            unsafe { self.finish::<S>(&state, lane) };
        }
    }
}

impl<T: Element> Attend<'_, T> {
    /// The first position that a row at `position` sees.
    #[inline(always)]
    fn first_visible(&self, position: u32) -> usize {
        self.settings.sliding_window.map_or(0, |window| (position as usize + 1).saturating_sub(window))
    }

    #[inline(always)]
    fn visible(&self, tile: usize, lane: usize) -> Visible {
        let position = self.positions[lane / self.item.heads.len()];
        let start = tile * BLOCK_SIZE;
        let first = self.first_visible(position).saturating_sub(start).min(BLOCK_SIZE);
        (first, (position as usize + 1).saturating_sub(start).min(BLOCK_SIZE))
    }

    /// How many lanes from `lane` on, `most` at most, see the same part of the tile.
    #[inline(always)]
    fn together(&self, tile: usize, lane: usize, lanes: usize, most: usize) -> (Visible, usize) {
        let visible = self.visible(tile, lane);
        let mut count = 1;
        while count < most && lane + count < lanes && self.visible(tile, lane + count) == visible {
            count += 1;
        }
        (visible, count)
    }

    /// Where the lane's query starts in q, and its result in the output.
    #[inline(always)]
    fn offset(&self, lane: usize) -> usize {
        let heads = self.item.heads.len();
        let row = self.item.rows.start + lane / heads;
        (row * self.heads + self.item.heads.start + lane % heads) * self.layout.head_dim
    }

    #[inline(always)]
    unsafe fn tile_of_lanes<S: Simd>(
        &self,
        state: &mut State,
        tile: &[T],
        lane: usize,
        count: usize,
        visible: Visible,
    ) {
        let (mut lane, end) = (lane, lane + count);
        while lane < end {
            // SAFETY: the caller vouches for the lanes and the tile. The comparisons with constants leave only the
            // shapes that the instruction set uses.
            lane += unsafe {
                match end - lane {
                    8.. if S::ATTENTION_ROWS >= 8 => self.step::<S, 8, 2>(state, tile, lane, visible),
                    4.. if S::ATTENTION_ROWS >= 4 => self.step::<S, 4, 4>(state, tile, lane, visible),
                    3.. if S::ATTENTION_ROWS >= 4 => self.step::<S, 3, 4>(state, tile, lane, visible),
                    3.. if S::ATTENTION_ROWS == 3 => self.step::<S, 3, 1>(state, tile, lane, visible),
                    2.. if S::ATTENTION_ROWS >= 2 => self.step::<S, 2, 2>(state, tile, lane, visible),
                    _ => self.step::<S, 1, 4>(state, tile, lane, visible),
                }
            };
        }
    }

    /// One tile for R lanes; C vectors of the values are summed at once. Returns R.
    #[inline(always)]
    unsafe fn step<S: Simd, const R: usize, const C: usize>(
        &self,
        state: &mut State,
        tile: &[T],
        lane: usize,
        visible: Visible,
    ) -> usize {
        let keys = tile.as_ptr();
        // SAFETY: the tile holds K of 32 * head_dim elements and then V of 32 * padded; the lanes exist.
        unsafe {
            let scores = self.scores::<S, R>(keys, lane);
            for (r, scores) in scores.into_iter().enumerate() {
                self.softmax::<S>(state, lane + r, scores, visible);
            }
            let padded = self.layout.padded_head_dim();
            let values = keys.add(BLOCK_SIZE * self.layout.head_dim);
            let mut column = 0;
            while column < padded {
                if padded - column >= C * LANES {
                    self.weigh::<S, R, C>(state, values, lane, column, visible);
                    column += C * LANES;
                } else {
                    self.weigh::<S, R, 1>(state, values, lane, column, visible);
                    column += LANES;
                }
            }
        }
        R
    }

    /// q k of R lanes and the tile's 32 positions, each one chain over head_dim.
    #[inline(always)]
    unsafe fn scores<S: Simd, const R: usize>(&self, mut keys: *const T, lane: usize) -> [[S::F; 2]; R] {
        // SAFETY: the lanes' queries are inside q, and K holds 32 positions for each dimension.
        unsafe {
            let mut q = [self.q.as_ptr(); R];
            for (r, q) in q.iter_mut().enumerate() {
                *q = q.add(self.offset(lane + r));
            }
            let mut scores = [[S::splat(0.0); 2]; R];
            for i in 0..self.layout.head_dim {
                let low = T::load::<S>(keys);
                let high = T::load::<S>(keys.wrapping_add(LANES));
                keys = keys.wrapping_add(BLOCK_SIZE);
                unroll!(r < R, {
                    let q = S::splat(peek(q[r].wrapping_add(i)));
                    scores[r][0] = S::fma(q, low, scores[r][0]);
                    scores[r][1] = S::fma(q, high, scores[r][1]);
                });
            }
            scores
        }
    }

    #[inline(always)]
    unsafe fn capped<S: Simd>(&self, score: S::F) -> S::F {
        // SAFETY: no memory is touched.
        unsafe {
            let score = S::mul(score, S::splat(self.settings.scale));
            match self.settings.logit_softcap {
                Some(cap) => {
                    let cap = S::splat(cap);
                    S::mul(cap, math::tanh::<S>(S::div(score, cap)))
                }
                None => score,
            }
        }
    }

    /// The tile's probabilities against the maximum so far, and the correction of what came before.
    #[inline(always)]
    unsafe fn softmax<S: Simd>(
        &self,
        state: &mut State,
        lane: usize,
        scores: [S::F; 2],
        (first, end): Visible,
    ) {
        // SAFETY: the lane's state is as long as written at `State`.
        unsafe {
            let hidden = S::splat(f32::NEG_INFINITY);
            let high = (first.saturating_sub(LANES), end.saturating_sub(LANES));
            let low = S::within(self.capped::<S>(scores[0]), hidden, first, end);
            let high_scores = S::within(self.capped::<S>(scores[1]), hidden, high.0, high.1);
            let before = state.maxima[lane];
            let in_tile = S::max_lane(S::max(low, high_scores));
            let maximum = if in_tile > before { in_tile } else { before };
            let correction = math::exp::<S>(S::splat(before - maximum));
            let maxima = S::splat(maximum);
            let zero = S::splat(0.0);
            let low = S::within(math::exp::<S>(S::sub(low, maxima)), zero, first, end);
            let high = S::within(math::exp::<S>(S::sub(high_scores, maxima)), zero, high.0, high.1);
            let sums = state.sums.as_mut_ptr().add(lane * LANES);
            S::store(sums, S::fma(S::load(sums), correction, S::add(low, high)));
            let tile = state.tile.as_mut_ptr().add(lane * BLOCK_SIZE);
            S::store(tile, low);
            S::store(tile.add(LANES), high);
            let mut lanes = [0.0; LANES];
            S::store(lanes.as_mut_ptr(), correction);
            state.corrections[lane] = lanes[0];
            state.maxima[lane] = maximum;
        }
    }

    /// Adds the visible values, weighted, to C vectors of R lanes' accumulators.
    #[inline(always)]
    unsafe fn weigh<S: Simd, const R: usize, const C: usize>(
        &self,
        state: &mut State,
        values: *const T,
        lane: usize,
        column: usize,
        (first, end): Visible,
    ) {
        let padded = self.layout.padded_head_dim();
        // SAFETY: the columns are below the padded head_dim, the slots below 32, and the lanes exist.
        unsafe {
            let to = state.accumulators.as_mut_ptr().add(lane * padded + column);
            let probabilities = state.tile.as_ptr().add(lane * BLOCK_SIZE);
            let mut sums = [[S::splat(0.0); C]; R];
            unroll!(r < R, {
                let correction = S::splat(state.corrections[lane + r]);
                unroll!(c < C, {
                    sums[r][c] = S::mul(S::load(to.add(r * padded + c * LANES)), correction);
                });
            });
            let mut values = values.wrapping_add(first * padded + column);
            for slot in first..end {
                let mut value = [S::splat(0.0); C];
                unroll!(c < C, {
                    value[c] = T::load::<S>(values.wrapping_add(c * LANES));
                });
                values = values.wrapping_add(padded);
                unroll!(r < R, {
                    let p = S::splat(peek(probabilities.wrapping_add(r * BLOCK_SIZE + slot)));
                    unroll!(c < C, {
                        sums[r][c] = S::fma(p, value[c], sums[r][c]);
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
    unsafe fn finish<S: Simd>(&self, state: &State, lane: usize) {
        let (head_dim, padded) = (self.layout.head_dim, self.layout.padded_head_dim());
        // SAFETY: the lane's share of the output is head_dim floats, and its accumulator is padded.
        unsafe {
            let sum = S::splat(S::sum(S::load(state.sums.as_ptr().add(lane * LANES))));
            let from = state.accumulators.as_ptr().add(lane * padded);
            let to = self.out.add(self.offset(lane));
            let mut i = 0;
            while i < head_dim {
                let value = load_some::<S>(from.add(i), head_dim - i);
                store_some::<S>(to.add(i), S::div(value, sum), head_dim - i);
                i += LANES;
            }
        }
    }
}
