//! The sixteen lanes as one AVX-512 register.

use std::arch::x86_64::{
    __m128i, __m512, __m512i, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T1, _mm_and_si128,
    _mm_cvtsi32_si128, _mm_or_si128, _mm_prefetch, _mm_set1_epi8, _mm_sll_epi16, _mm_srl_epi16,
    _mm512_add_ps, _mm512_and_si512, _mm512_castps256_ps512, _mm512_castsi512_ps, _mm512_cvtepi8_epi32,
    _mm512_cvtepi32_epi8, _mm512_cvtepi32_epi16, _mm512_cvtepi32_pd, _mm512_cvtepi32_ps,
    _mm512_cvtepu8_epi32, _mm512_cvtpd_ps, _mm512_cvtph_ps, _mm512_cvtps_epi32, _mm512_div_ps,
    _mm512_fmadd_pd, _mm512_fmadd_ps, _mm512_insertf32x8, _mm512_mask_blend_ps, _mm512_max_ps, _mm512_min_ps,
    _mm512_mul_ps, _mm512_reduce_add_ps, _mm512_reduce_max_ps, _mm512_roundscale_ps, _mm512_scalef_ps,
    _mm512_set1_epi32, _mm512_set1_pd, _mm512_set1_ps, _mm512_slli_epi32, _mm512_srl_epi32, _mm512_sub_ps,
};

use super::avx2::Avx2;
use super::{DotKernel, Kernel, Simd, peek, poke};

#[derive(Clone, Copy)]
pub struct Avx512;

type F = __m512;
type B = __m128i;

/// Runs a kernel with the features enabled.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
#[inline(never)]
pub unsafe fn run<K: Kernel>(kernel: K) {
    // SAFETY: the features are those of this function; the caller vouches for the rest.
    unsafe { kernel.run::<Avx512>() }
}

/// Runs a kernel with dot products of bf16 pairs enabled.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")]
#[inline(never)]
pub unsafe fn run_bf16_dot<K: DotKernel>(kernel: K) {
    // SAFETY: the features are those of this function; the caller vouches for the rest.
    unsafe { kernel.run() }
}

/// Runs a kernel with dot products of bytes enabled.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
#[inline(never)]
pub unsafe fn run_byte_dot<K: DotKernel>(kernel: K) {
    // SAFETY: the features are those of this function; the caller vouches for the rest.
    unsafe { kernel.run() }
}

/// Whether VDPBF16PS is no faster than widening and multiplying. An Intel Emerald Rapids does half as many multiply-adds with it as
/// in f32 (172 against 352 GFLOP/s on two cores), an AMD Genoa twice as many (469 against 235); others were not measured and go by
/// their maker. Not by the clock: a machine always computes the same bits.
pub fn multiplies_bf16_slowly() -> bool {
    let maker = std::arch::x86_64::__cpuid(0);
    [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes).concat() == b"GenuineIntel"
}

impl Simd for Avx512 {
    type F = F;
    type B = B;
    type Quads = <Avx2 as Simd>::Quads;
    type Sums = <Avx2 as Simd>::Sums;
    const QUAD_COLUMNS: usize = Avx2::QUAD_COLUMNS;
    const QUAD_ROWS: usize = Avx2::QUAD_ROWS;
    const TILE_ROWS: usize = 8;
    const TILE_PANELS: usize = 3;
    const ATTENTION_ROWS: usize = 8;

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
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn splat(x: f32) -> F {
        _mm512_set1_ps(x)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load(from: *const f32) -> F {
        // SAFETY: valid for sixteen elements by the trait's contract.
        unsafe { peek(from) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load_bf16_pairs(from: *const u16) -> [F; 2] {
        // SAFETY: valid for sixteen pairs by the trait's contract.
        let bits: __m512i = unsafe { peek(from) };
        let second = _mm512_and_si512(bits, _mm512_set1_epi32(!0xffff));
        [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits)), _mm512_castsi512_ps(second)]
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn store(to: *mut f32, x: F) {
        // SAFETY: valid for sixteen elements by the trait's contract.
        unsafe { poke(to, x) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn add(a: F, b: F) -> F {
        _mm512_add_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn sub(a: F, b: F) -> F {
        _mm512_sub_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn mul(a: F, b: F) -> F {
        _mm512_mul_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn div(a: F, b: F) -> F {
        _mm512_div_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        _mm512_fmadd_ps(a, b, c)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn min(a: F, b: F) -> F {
        _mm512_min_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn max(a: F, b: F) -> F {
        _mm512_max_ps(a, b)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn round(x: F) -> F {
        _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn exp2_integral(n: F) -> F {
        _mm512_scalef_ps(_mm512_set1_ps(1.0), n)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn within(x: F, other: F, first: usize, end: usize) -> F {
        let below = |lane: usize| (1u32 << lane.min(16)) - 1;
        _mm512_mask_blend_ps((below(end) & !below(first)) as u16, other, x)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn sum(x: F) -> f32 {
        _mm512_reduce_add_ps(x)
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn max_lane(x: F) -> f32 {
        _mm512_reduce_max_ps(x)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load_bytes(from: *const u8) -> B {
        // SAFETY: valid for sixteen elements by the trait's contract.
        unsafe { peek(from) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn bits(bytes: B, shift: u32, mask: u8) -> B {
        let shifted = _mm_srl_epi16(bytes, _mm_cvtsi32_si128(shift as i32));
        // Bits that came over from the neighbouring byte are above 8 - shift.
        _mm_and_si128(shifted, _mm_set1_epi8((mask & (0xff >> shift)) as i8))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn or_shifted(a: B, b: B, shift: u32) -> B {
        _mm_or_si128(a, _mm_sll_epi16(b, _mm_cvtsi32_si128(shift as i32)))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn unsigned(bytes: B) -> F {
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn signed(bytes: B) -> F {
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load_halves(from: *const u8) -> F {
        // SAFETY: valid for sixteen elements by the trait's contract.
        _mm512_cvtph_ps(unsafe { peek(from) })
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn load_byte_of_quads(from: *const u8, index: usize) -> B {
        // SAFETY: valid for sixteen quads by the trait's contract.
        let quads: __m512i = unsafe { peek(from) };
        _mm512_cvtepi32_epi8(_mm512_srl_epi32(quads, _mm_cvtsi32_si128(8 * index as i32)))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn store_signed(to: *mut u8, x: F) {
        // SAFETY: valid for sixteen elements by the trait's contract.
        unsafe { poke(to, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x))) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn store_words(to: *mut i16, x: F) {
        // SAFETY: valid for sixteen elements by the trait's contract.
        unsafe { poke(to, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x))) }
    }
    // Without VPDPBUSD the bytes go AVX2's way.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn load_quads(from: *const u8) -> Self::Quads {
        // SAFETY: the caller's word.
        unsafe { Avx2::load_quads(from) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn zero_sums() -> Self::Sums {
        // SAFETY: the caller's word.
        unsafe { Avx2::zero_sums() }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn dot_quads(sums: Self::Sums, x: [i16; 4], w: Self::Quads) -> Self::Sums {
        // SAFETY: the caller's word.
        unsafe { Avx2::dot_quads(sums, x, w) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn store_parts(high: *mut i32, low: *mut i32, sums: Self::Sums, add: bool) {
        // SAFETY: the caller's word.
        unsafe { Avx2::store_parts(high, low, sums, add) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn join_parts(high: *const i32, low: *const i32) -> F {
        // f64 holds the joint sum exactly.
        let eight = |at: usize| {
            // SAFETY: valid for sixteen elements by the trait's contract.
            let (high, low) = unsafe { (peek(high.wrapping_add(at)), peek(low.wrapping_add(at))) };
            let sum =
                _mm512_fmadd_pd(_mm512_cvtepi32_pd(high), _mm512_set1_pd(256.0), _mm512_cvtepi32_pd(low));
            _mm512_cvtpd_ps(sum)
        };
        _mm512_insertf32x8::<1>(_mm512_castps256_ps512(eight(0)), eight(8))
    }
}
