//! The sixteen lanes as two AVX2 registers, with FMA and F16C.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _CMP_GT_OQ, _CMP_LT_OQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT,
    _MM_HINT_T1, _mm_add_ps, _mm_add_ss, _mm_and_si128, _mm_cvtsi32_si128, _mm_cvtss_f32, _mm_max_ps,
    _mm_max_ss, _mm_movehl_ps, _mm_or_si128, _mm_packus_epi16, _mm_prefetch, _mm_set1_epi8, _mm_shuffle_ps,
    _mm_sll_epi16, _mm_srl_epi16, _mm_srli_si128, _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps,
    _mm256_and_si256, _mm256_blendv_ps, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_castsi256_si128,
    _mm256_cmp_ps, _mm256_cvtepi8_epi16, _mm256_cvtepi8_epi32, _mm256_cvtepi32_pd, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi32, _mm256_cvtpd_ps, _mm256_cvtph_ps, _mm256_cvtps_epi32, _mm256_div_ps,
    _mm256_extractf128_ps, _mm256_extracti128_si256, _mm256_fmadd_pd, _mm256_fmadd_ps, _mm256_hadd_epi32,
    _mm256_madd_epi16, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_packs_epi32, _mm256_packus_epi32,
    _mm256_permute4x64_epi64, _mm256_round_ps, _mm256_set_m128, _mm256_set1_epi32, _mm256_set1_epi64x,
    _mm256_set1_pd, _mm256_set1_ps, _mm256_setr_ps, _mm256_setzero_si256, _mm256_slli_epi32,
    _mm256_srai_epi32, _mm256_srl_epi32, _mm256_sub_ps,
};

use super::{DotKernel, Kernel, Simd, peek, poke};

#[derive(Clone, Copy)]
pub struct Avx2;

type F = (__m256, __m256);
type B = __m128i;

/// Runs a kernel with the features enabled.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn run<K: Kernel>(kernel: K) {
    // SAFETY: the features are those of this function; the caller vouches for the rest.
    unsafe { kernel.run::<Avx2>() }
}

#[inline]
#[target_feature(enable = "avx2")]
fn fold_sum(x: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn fold_max(x: __m256) -> f32 {
    let four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

/// `x` where first <= lane < end, with `offset` the number of the first of these eight lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn keep(x: __m256, other: __m256, offset: f32, first: usize, end: usize) -> __m256 {
    let lane = _mm256_add_ps(_mm256_setr_ps(0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5), _mm256_set1_ps(offset));
    let above = _mm256_cmp_ps::<_CMP_GT_OQ>(lane, _mm256_set1_ps(first as f32));
    let below = _mm256_cmp_ps::<_CMP_LT_OQ>(lane, _mm256_set1_ps(end as f32));
    _mm256_blendv_ps(other, x, _mm256_and_ps(above, below))
}

#[inline]
#[target_feature(enable = "avx2")]
fn exp2_eight(n: __m256) -> __m256 {
    let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
}

#[inline]
#[target_feature(enable = "avx2")]
fn first_of_pairs(pairs: __m256i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs))
}

#[inline]
#[target_feature(enable = "avx2")]
fn second_of_pairs(pairs: __m256i) -> __m256 {
    _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(0xffff_0000_u32 as i32)))
}

/// Runs a kernel that is written for AVX2 alone.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn run_dot<K: DotKernel>(kernel: K) {
    // SAFETY: the features are those of this function; the caller vouches for the rest.
    unsafe { kernel.run() }
}

impl Simd for Avx2 {
    type F = F;
    type B = B;
    type Quads = [__m256i; 2];
    type Sums = [__m256i; 2];
    const QUAD_COLUMNS: usize = 8;
    const QUAD_ROWS: usize = 6;
    const TILE_ROWS: usize = 5;
    const TILE_PANELS: usize = 1;
    const ATTENTION_ROWS: usize = 5;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) {
        // SAFETY: passes on what the caller vouches for.
        unsafe { run(kernel) }
    }

    #[inline(always)]
    unsafe fn prefetch<T>(from: *const T) {
        // SAFETY: any address will do.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn splat(x: f32) -> F {
        let x = _mm256_set1_ps(x);
        (x, x)
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: *const f32) -> F {
        // SAFETY: valid for sixteen elements by the trait's contract.
        unsafe { (peek(from), peek(from.wrapping_add(8))) }
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_bf16_pairs(from: *const u16) -> [F; 2] {
        // SAFETY: valid for sixteen pairs by the trait's contract.
        let (low, high): (__m256i, __m256i) = unsafe { (peek(from), peek(from.wrapping_add(16))) };
        [(first_of_pairs(low), first_of_pairs(high)), (second_of_pairs(low), second_of_pairs(high))]
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn store(to: *mut f32, x: F) {
        // SAFETY: valid for sixteen elements by the trait's contract.
        unsafe {
            poke(to, x.0);
            poke(to.wrapping_add(8), x.1);
        }
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add(a: F, b: F) -> F {
        (_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sub(a: F, b: F) -> F {
        (_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn mul(a: F, b: F) -> F {
        (_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn div(a: F, b: F) -> F {
        (_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        (_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn min(a: F, b: F) -> F {
        (_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn max(a: F, b: F) -> F {
        (_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn round(x: F) -> F {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        (_mm256_round_ps::<NEAREST>(x.0), _mm256_round_ps::<NEAREST>(x.1))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn exp2_integral(n: F) -> F {
        (exp2_eight(n.0), exp2_eight(n.1))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn within(x: F, other: F, first: usize, end: usize) -> F {
        (keep(x.0, other.0, 0.0, first, end), keep(x.1, other.1, 8.0, first, end))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sum(x: F) -> f32 {
        fold_sum(_mm256_add_ps(x.0, x.1))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn max_lane(x: F) -> f32 {
        fold_max(_mm256_max_ps(x.0, x.1))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_bytes(from: *const u8) -> B {
        // SAFETY: valid for sixteen elements by the trait's contract.
        unsafe { peek(from) }
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn bits(bytes: B, shift: u32, mask: u8) -> B {
        let shifted = _mm_srl_epi16(bytes, _mm_cvtsi32_si128(shift as i32));
        // Bits that came over from the neighbouring byte are above 8 - shift.
        _mm_and_si128(shifted, _mm_set1_epi8((mask & (0xff >> shift)) as i8))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn or_shifted(a: B, b: B, shift: u32) -> B {
        _mm_or_si128(a, _mm_sll_epi16(b, _mm_cvtsi32_si128(shift as i32)))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unsigned(bytes: B) -> F {
        let high = _mm_srli_si128::<8>(bytes);
        (_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)), _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(high)))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn signed(bytes: B) -> F {
        let high = _mm_srli_si128::<8>(bytes);
        (_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high)))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_halves(from: *const u8) -> F {
        // SAFETY: valid for sixteen elements by the trait's contract.
        let (low, high) = unsafe { (peek(from), peek(from.wrapping_add(16))) };
        (_mm256_cvtph_ps(low), _mm256_cvtph_ps(high))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_byte_of_quads(from: *const u8, index: usize) -> B {
        // SAFETY: valid for sixteen quads by the trait's contract.
        let (low, high): (__m256i, __m256i) = unsafe { (peek(from), peek(from.wrapping_add(32))) };
        let shift = _mm_cvtsi32_si128(8 * index as i32);
        let byte = |x| _mm256_and_si256(_mm256_srl_epi32(x, shift), _mm256_set1_epi32(0xff));
        // Two packings interleave quarters, which the permutation puts right.
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(byte(low), byte(high)));
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn store_signed(to: *mut u8, x: F) {
        // The low byte of an integer is it as a signed byte, and of what NaN becomes, 0.
        let byte = |x| _mm256_and_si256(_mm256_cvtps_epi32(x), _mm256_set1_epi32(0xff));
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(byte(x.0), byte(x.1)));
        let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        // SAFETY: valid for sixteen elements by the trait's contract.
        unsafe { poke(to, bytes) }
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn store_words(to: *mut i16, x: F) {
        let words = _mm256_packs_epi32(_mm256_cvtps_epi32(x.0), _mm256_cvtps_epi32(x.1));
        // SAFETY: valid for sixteen elements by the trait's contract.
        unsafe { poke(to, _mm256_permute4x64_epi64::<0b11_01_10_00>(words)) }
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_quads(from: *const u8) -> Self::Quads {
        // SAFETY: valid for eight quads by the trait's contract.
        let load = |at: usize| unsafe { peek::<__m128i, _>(from.wrapping_add(16 * at)) };
        [_mm256_cvtepi8_epi16(load(0)), _mm256_cvtepi8_epi16(load(1))]
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn zero_sums() -> Self::Sums {
        [_mm256_setzero_si256(); 2]
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn dot_quads(sums: Self::Sums, x: [i16; 4], w: Self::Quads) -> Self::Sums {
        // SAFETY: of one size.
        let x = _mm256_set1_epi64x(unsafe { std::mem::transmute::<[i16; 4], i64>(x) });
        [
            _mm256_add_epi32(sums[0], _mm256_madd_epi16(x, w[0])),
            _mm256_add_epi32(sums[1], _mm256_madd_epi16(x, w[1])),
        ]
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn store_parts(high: *mut i32, low: *mut i32, sums: Self::Sums, add: bool) {
        // A column's two halves stand side by side, and together may be more than an i32 holds; adding them interleaves
        // the columns of two vectors in pairs.
        let join = |a, b| _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(a, b));
        let byte = |x| _mm256_and_si256(x, _mm256_set1_epi32(0xff));
        let mut highs = join(_mm256_srai_epi32::<8>(sums[0]), _mm256_srai_epi32::<8>(sums[1]));
        let mut lows = join(byte(sums[0]), byte(sums[1]));
        // SAFETY: valid for eight elements by the trait's contract.
        unsafe {
            if add {
                highs = _mm256_add_epi32(highs, peek(high));
                lows = _mm256_add_epi32(lows, peek(low));
            }
            poke(high, highs);
            poke(low, lows);
        }
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn join_parts(high: *const i32, low: *const i32) -> F {
        // f64 holds the joint sum exactly.
        let four = |at: usize| {
            // SAFETY: valid for sixteen elements by the trait's contract.
            let (high, low) = unsafe { (peek(high.wrapping_add(at)), peek(low.wrapping_add(at))) };
            let sum =
                _mm256_fmadd_pd(_mm256_cvtepi32_pd(high), _mm256_set1_pd(256.0), _mm256_cvtepi32_pd(low));
            _mm256_cvtpd_ps(sum)
        };
        (_mm256_set_m128(four(4), four(0)), _mm256_set_m128(four(12), four(8)))
    }
}
