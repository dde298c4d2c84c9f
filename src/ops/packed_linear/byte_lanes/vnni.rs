//! Sixteen columns an AVX-512 register, four products and their sum by VPDPBUSD.

use std::arch::x86_64::{
    __m128i, __m512, __m512i, _mm512_add_epi32, _mm512_and_si512, _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps,
    _mm512_cvtepu8_epi32, _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_mul_ps,
    _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_slli_epi32, _mm512_srlv_epi32, _mm512_sub_ps, _mm512_xor_si512,
};

use super::super::activations::LINE_BYTES;
use super::{ByteLanes, QuantKind, VECTORS};
use crate::ops::simd::DotKernel;
use crate::ops::simd::avx512::run_byte_dot;
use crate::ops::simd::{peek, poke, unroll};

pub struct VnniLanes;

impl ByteLanes for VnniLanes {
    const COLUMNS: usize = 16;
    const ROWS: usize = 8;
    const SHIFTS_SIGNED: bool = true;
    type Bytes = __m512i;
    type Floats = __m512;
    type Integers = __m512i;

    #[inline(always)]
    unsafe fn call<K: DotKernel>(kernel: K) {
        // SAFETY: the caller's word.
        unsafe { run_byte_dot(kernel) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn load(from: *const u8) -> __m512i {
        // SAFETY: the caller vouches for 64 bytes.
        unsafe { peek(from) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn no_bytes() -> __m512i {
        _mm512_setzero_si512()
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn low_bits(bytes: __m512i, shift: usize, mask: i8) -> __m512i {
        let shifted = _mm512_srlv_epi32(bytes, _mm512_set1_epi32(shift as i32));
        _mm512_and_si512(shifted, _mm512_set1_epi8(mask))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn or_above_four(a: __m512i, b: __m512i) -> __m512i {
        _mm512_or_si512(a, _mm512_slli_epi32::<4>(b))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn load_column_bytes(from: *const u8) -> __m128i {
        // SAFETY: the caller vouches for sixteen bytes.
        unsafe { peek(from) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn unsigned(bytes: __m128i) -> __m512 {
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn signed(bytes: __m128i) -> __m512 {
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn load_halves(from: *const u8) -> __m512 {
        // SAFETY: the caller vouches for sixteen halves.
        _mm512_cvtph_ps(unsafe { peek(from) })
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn store_floats(to: *mut f32, x: __m512) {
        // SAFETY: the caller vouches for sixteen floats.
        unsafe { poke(to, x) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn zero() -> __m512 {
        _mm512_setzero_ps()
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn fma(a: __m512, x: f32, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, _mm512_set1_ps(x), c)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn add(a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi32(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    unsafe fn link(sum: __m512i, scale: __m512, x_scale: f32, chain: __m512) -> __m512 {
        _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(scale, _mm512_set1_ps(x_scale)), chain)
    }
    // Too large to be inlined by itself; the intrinsics in it are, into the function that has their features.
    #[inline(always)]
    unsafe fn sums<const R: usize>(
        kind: QuantKind,
        w: &[__m512i; VECTORS],
        x: *const u8,
        starts: [[i32; 2]; R],
    ) -> [[__m512i; 2]; R] {
        // SAFETY: the caller vouches for the processor, and for R rows of 32 bytes.
        unsafe {
            let mut unsigned = *w;
            if kind.bits.is_none() {
                unroll!(q < VECTORS, {
                    unsigned[q] = _mm512_xor_si512(w[q], _mm512_set1_epi8(-128));
                });
            }
            let mut sums = [[_mm512_setzero_si512(); 2]; R];
            // Two chains a row hide an instruction's latency where rows are few; many rows have not the registers.
            let apart = kind.halves || R < 4;
            unroll!(r < R, {
                sums[r] = [_mm512_set1_epi32(starts[r][0]), _mm512_set1_epi32(starts[r][1])];
                unroll!(q < VECTORS, {
                    let x = _mm512_set1_epi32(peek(x.wrapping_add(r * LINE_BYTES + 4 * q)));
                    let part = if apart { q / 4 } else { 0 };
                    sums[r][part] = _mm512_dpbusd_epi32(sums[r][part], unsigned[q], x);
                });
            });
            sums
        }
    }
}
