//! Eight columns an AVX2 register. Its only product of bytes, VPMADDUBSW, adds two to sixteen bits and saturates there:
//! so the sums of small quants stay in sixteen bits for only as long as the largest of them fits, and a signed byte is
//! multiplied as its magnitude times x with its sign, two of which are at most 2 * 128 * 127.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_loadl_epi64, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_and_si256, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_cvtph_ps,
    _mm256_fmadd_ps, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_or_si256,
    _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_setzero_si256, _mm256_sign_epi8, _mm256_slli_epi32, _mm256_srlv_epi32, _mm256_sub_ps,
};

use super::super::activations::LINE_BYTES;
use super::{ByteLanes, QuantKind, VECTORS};
use crate::ops::simd::DotKernel;
use crate::ops::simd::avx2::run_dot;
use crate::ops::simd::{peek, poke, unroll};

pub struct Avx2Lanes;

/// How many products of unsigned quants with signed bytes, in pairs, fit sixteen bits.
const fn products_in_sixteen_bits(bits: u32) -> usize {
    let largest_pair = 2 * ((1 << bits) - 1) * 127;
    let fit = i16::MAX as usize / largest_pair;
    // A divisor of the vectors of half a group, or all of both.
    match fit {
        VECTORS.. => VECTORS,
        4.. => 4,
        2.. => 2,
        _ => panic!("one pair of products must fit with another"),
    }
}

/// Keeps the compiler from computing one row after the other, each a chain of products that waits for itself.
#[inline]
#[target_feature(enable = "avx2")]
fn in_step<const R: usize>(x: &mut [__m256i; R]) {
    if let [a, b, c, d] = x.as_mut_slice() {
        // SAFETY: no instruction.
        unsafe {
            std::arch::asm!(
                "/* {0} {1} {2} {3} */",
                inout(ymm_reg) * a,
                inout(ymm_reg) * b,
                inout(ymm_reg) * c,
                inout(ymm_reg) * d,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
    }
}

impl ByteLanes for Avx2Lanes {
    const COLUMNS: usize = 8;
    const ROWS: usize = 4;
    const SHIFTS_SIGNED: bool = false;
    type Bytes = __m256i;
    type Floats = __m256;
    type Integers = __m256i;

    #[inline(always)]
    unsafe fn call<K: DotKernel>(kernel: K) {
        // SAFETY: the caller's word.
        unsafe { run_dot(kernel) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: *const u8) -> __m256i {
        // SAFETY: the caller vouches for 32 bytes.
        unsafe { peek(from) }
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn no_bytes() -> __m256i {
        _mm256_setzero_si256()
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn low_bits(bytes: __m256i, shift: usize, mask: i8) -> __m256i {
        let shifted = _mm256_srlv_epi32(bytes, _mm256_set1_epi32(shift as i32));
        _mm256_and_si256(shifted, _mm256_set1_epi8(mask))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn or_above_four(a: __m256i, b: __m256i) -> __m256i {
        _mm256_or_si256(a, _mm256_slli_epi32::<4>(b))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_column_bytes(from: *const u8) -> __m128i {
        // SAFETY: the caller vouches for eight bytes.
        unsafe { _mm_loadl_epi64(from.cast()) }
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unsigned(bytes: __m128i) -> __m256 {
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn signed(bytes: __m128i) -> __m256 {
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load_halves(from: *const u8) -> __m256 {
        // SAFETY: the caller vouches for eight halves.
        _mm256_cvtph_ps(unsafe { peek(from) })
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn store_floats(to: *mut f32, x: __m256) {
        // SAFETY: the caller vouches for eight floats.
        unsafe { poke(to, x) }
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn zero() -> __m256 {
        _mm256_setzero_ps()
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn fma(a: __m256, x: f32, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, _mm256_set1_ps(x), c)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn add(a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi32(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn link(sum: __m256i, scale: __m256, x_scale: f32, chain: __m256) -> __m256 {
        _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(scale, _mm256_set1_ps(x_scale)), chain)
    }
    // Too large to be inlined by itself; the intrinsics in it are, into the function that has their features.
    #[inline(always)]
    unsafe fn sums<const R: usize>(
        kind: QuantKind,
        w: &[__m256i; VECTORS],
        x: *const u8,
        starts: [[i32; 2]; R],
    ) -> [[__m256i; 2]; R] {
        // SAFETY: the caller vouches for the processor, and for R rows of 32 bytes.
        unsafe {
            let one = _mm256_set1_epi16(1);
            let four = |r: usize, q: usize| _mm256_set1_epi32(peek(x.wrapping_add(r * LINE_BYTES + 4 * q)));
            let mut sums = [[_mm256_setzero_si256(); 2]; R];
            let Some(bits) = kind.bits else {
                unroll!(q < VECTORS, {
                    let magnitude = _mm256_abs_epi8(w[q]);
                    unroll!(r < R, {
                        let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(four(r, q), w[q]));
                        sums[r][0] = _mm256_add_epi32(sums[r][0], _mm256_madd_epi16(pairs, one));
                    });
                });
                return sums;
            };
            let fit = products_in_sixteen_bits(bits);
            let run = if kind.halves { fit.min(VECTORS / 2) } else { fit };
            unroll!(r < R, {
                sums[r] = [_mm256_set1_epi32(starts[r][0]), _mm256_set1_epi32(starts[r][1])];
            });
            let mut pairs = [_mm256_setzero_si256(); R];
            unroll!(q < VECTORS, {
                let part = if kind.halves { q / 4 } else { 0 };
                unroll!(r < R, {
                    let products = _mm256_maddubs_epi16(w[q], four(r, q));
                    pairs[r] =
                        if q.is_multiple_of(run) { products } else { _mm256_add_epi16(pairs[r], products) };
                    if q % run == run - 1 {
                        sums[r][part] = _mm256_add_epi32(sums[r][part], _mm256_madd_epi16(pairs[r], one));
                    }
                });
                if R == 4 && q % run != run - 1 {
                    in_step(&mut pairs);
                }
            });
            sums
        }
    }
}
