//! Lanes through a span by AMX.

use std::arch::x86_64::{__m512i, _mm512_set1_epi32};
use std::ops::Range;

use super::{Attend, SCORE_BYTES, SHORT_TAIL_PAIRS, Together};
use crate::ops::kv_pool::BLOCK_SIZE;
use crate::ops::simd::amx::{ROW_BYTES, Tiles};
use crate::ops::simd::{LANES, peek, poke};

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
    pub(super) unsafe fn through_tiles<const COLUMNS: usize>(
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
    pub(super) unsafe fn tail(&self, values: *const u16, pairs: usize) -> *const u16 {
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
    pub(super) unsafe fn weigh_tiles<const COLUMNS: usize>(
        &self,
        tiles: &Tiles,
        together: &Together<'_>,
        tile: usize,
    ) {
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
    pub(super) unsafe fn multiply_tiles(
        &self,
        tiles: &Tiles,
        together: &Together<'_>,
        tile: usize,
        scores: *mut f32,
    ) {
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
