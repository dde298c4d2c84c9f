//! Lanes through a span by VDPBF16PS.

use std::arch::x86_64::{
    __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_storeu_ps,
};
use std::mem::transmute;

use super::{Attend, Together};
use crate::ops::kv_pool::BLOCK_SIZE;
use crate::ops::simd::{LANES, peek, unroll};

impl<const TILES: bool> Attend<'_, TILES> {
    /// Up to sixteen lanes through a span by VDPBF16PS. Rows behind the last lane, up to the sixteenth, may be
    /// computed and are never looked at. There is one buffer of scores, the first.
    #[inline(always)]
    pub(super) unsafe fn through_dots(&self, together: &Together<'_>, next: Option<&Together<'_>>) -> usize {
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
    pub(super) unsafe fn multiply_dots<const R: usize>(
        &self,
        keys: *const u16,
        lane: usize,
        at: usize,
    ) -> usize {
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
    pub(super) unsafe fn weigh<const R: usize, const C: usize>(
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
