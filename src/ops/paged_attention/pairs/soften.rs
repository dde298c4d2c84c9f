//! From scores to probabilities: the online softmax of a tile, a lane at a time.

use std::arch::x86_64::{
    __m512, __m512bh, _CMP_GT_OQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm512_cmp_ps_mask,
    _mm512_cvtne2ps_pbh, _mm512_div_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_fmsub_ps, _mm512_loadu_ps,
    _mm512_mask_mul_ps, _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_reduce_max_ps,
    _mm512_roundscale_ps, _mm512_scalef_ps, _mm512_set1_epi16, _mm512_set1_ps, _mm512_storeu_ps,
    _mm512_sub_ps,
};
use std::mem::transmute;

use super::{Attend, RISE, Together};
use crate::ops::kv_pool::BLOCK_SIZE;
use crate::ops::simd::avx512::Avx512;
use crate::ops::simd::{LANES, math, peek, poke};

impl<const TILES: bool> Attend<'_, TILES> {
    /// Probabilities of one tile from its scores, for the lanes that see some of it. True when the accumulator of
    /// one must be scaled by its correction first.
    #[inline(always)]
    pub(super) unsafe fn soften(&self, together: &Together<'_>, tile: usize, scores: *const f32) -> bool {
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
    pub(super) unsafe fn soften_lane(&self, lane: usize, at: usize, scores: *const f32, seen: u32) -> bool {
        let state = &self.state;
        let seen = (seen as u16, (seen >> LANES) as u16);
        // SAFETY: the lane is the item's, and the scores sixteen rows of 32.
        unsafe {
            let scores = scores.add(at * BLOCK_SIZE);
            let scores = (_mm512_loadu_ps(scores), _mm512_loadu_ps(scores.add(LANES)));
            let (low, high, scale) = match self.work.settings.logit_softcap {
                None => (scores.0, scores.1, self.work.settings.scale as f32 * std::f32::consts::LOG2_E),
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
    pub(super) unsafe fn capped(&self, score: __m512, cap: f32) -> __m512 {
        // SAFETY: no memory is touched.
        unsafe {
            let cap = _mm512_set1_ps(cap);
            let score = _mm512_mul_ps(score, _mm512_set1_ps(self.work.settings.scale as f32));
            _mm512_mul_ps(cap, math::tanh::<Avx512>(_mm512_div_ps(score, cap)))
        }
    }

    /// Scales the accumulators in memory by the corrections. Times 1 changes nothing, so a lane that did not move
    /// is passed over.
    #[inline(always)]
    pub(super) unsafe fn rescale(&self, together: &Together<'_>) {
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
