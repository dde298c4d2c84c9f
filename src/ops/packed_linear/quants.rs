//! Groups of 32 elements of block formats as vectors of unsigned bytes, sixteen columns by four neighbours, with
//! their scales: what `grouped.rs` multiplies. For processors with VPDPBUSD.
//!
//! The scales are those that `blocks::widen` multiplies by, bit for bit. Q5_0 and Q5_1 are not here: their fifth bits
//! lie across columns of bits, so they are widened (`gemm.rs`).

use std::arch::x86_64::{
    __m128i, __m512, __m512i, _mm_and_si128, _mm_or_si128, _mm_set1_epi8, _mm_srli_epi16, _mm512_and_si512,
    _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtph_ps, _mm512_mul_ps,
    _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_slli_epi32, _mm512_srlv_epi32, _mm512_sub_ps, _mm512_xor_si512,
};

use super::blocks::BlockFormat;
use super::group_rows::{GROUP, Start};
use crate::ops::simd::{LANES, peek, unroll};

/// Vectors of a group.
pub const VECTORS: usize = GROUP / 4;
const HALF_VECTORS: usize = VECTORS / 2;
const VECTOR_BYTES: usize = 4 * LANES;

/// The scales of a group of sixteen columns.
#[derive(Clone, Copy)]
pub struct GroupScales {
    /// Of the first and the second sixteen elements; the same but for `HALVES`.
    pub scales: [__m512; 2],
    /// What is added to each element, for `MINIMUM`.
    pub minimum: __m512,
}

/// A block format: an element is scale * (quant - OFFSET) + minimum.
pub trait Quants {
    const FORMAT: BlockFormat;
    /// What the unsigned quants are above the signed ones.
    const OFFSET: u8;
    /// What the sums of the first and of the second four vectors of a group start from, or 0.
    const STARTS: [Option<Start>; 2] = [None; 2];
    const MINIMUM: bool = false;
    /// Each sixteen elements have a scale of their own.
    const HALVES: bool = false;
    /// Groups of 32 in a block.
    const GROUPS: usize = Self::FORMAT.block_size() / GROUP;

    /// Group `group` of sixteen blocks.
    ///
    /// # Safety
    /// The processor has AVX-512 with bytes, and `block` holds sixteen blocks.
    unsafe fn quants(block: *const u8, group: usize) -> [__m512i; VECTORS];
    /// # Safety
    /// As above.
    unsafe fn scales(block: *const u8, group: usize) -> GroupScales;
}

pub struct Q4_0;
pub struct Q4_1;
pub struct Q8_0;
pub struct Int8x64;
pub struct Q4K;
pub struct Q5K;
pub struct Q6K;

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn halves(block: *const u8, byte: usize) -> __m512 {
    // SAFETY: the caller vouches for sixteen blocks.
    _mm512_cvtph_ps(unsafe { peek(block.wrapping_add(byte * LANES)) })
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn one_scale(scale: __m512) -> GroupScales {
    GroupScales { scales: [scale; 2], minimum: _mm512_setzero_ps() }
}

/// Both nibbles of sixteen bytes a column: the low ones are the first sixteen elements.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn both_nibbles(from: *const u8) -> [__m512i; VECTORS] {
    let mut w = [_mm512_setzero_si512(); VECTORS];
    unroll!(q < HALF_VECTORS, {
        // SAFETY: the caller vouches for four vectors.
        let bytes: __m512i = unsafe { peek(from.wrapping_add(q * VECTOR_BYTES)) };
        w[q] = low_bits(bytes, 0, 0x0f);
        w[q + 4] = low_bits(bytes, 4, 0x0f);
    });
    w
}

/// `(bytes >> shift) & mask`, byte by byte; the mask leaves out what comes over from the neighbour.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn low_bits(bytes: __m512i, shift: usize, mask: i8) -> __m512i {
    let shifted = _mm512_srlv_epi32(bytes, _mm512_set1_epi32(shift as i32));
    _mm512_and_si512(shifted, _mm512_set1_epi8(mask))
}

/// Signed bytes as unsigned ones, 128 above.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn signed_bytes(from: *const u8) -> [__m512i; VECTORS] {
    let mut w = [_mm512_setzero_si512(); VECTORS];
    unroll!(q < VECTORS, {
        // SAFETY: the caller vouches for eight vectors.
        let bytes: __m512i = unsafe { peek(from.wrapping_add(q * VECTOR_BYTES)) };
        w[q] = _mm512_xor_si512(bytes, _mm512_set1_epi8(-128));
    });
    w
}

impl Quants for Q4_0 {
    const FORMAT: BlockFormat = BlockFormat::Q4_0;
    const OFFSET: u8 = 8;
    const STARTS: [Option<Start>; 2] = [Some(Start::Eight), None];

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn quants(block: *const u8, _group: usize) -> [__m512i; VECTORS] {
        // SAFETY: d, qs[16].
        unsafe { both_nibbles(block.wrapping_add(2 * LANES)) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn scales(block: *const u8, _group: usize) -> GroupScales {
        // SAFETY: as above.
        one_scale(unsafe { halves(block, 0) })
    }
}

impl Quants for Q4_1 {
    const FORMAT: BlockFormat = BlockFormat::Q4_1;
    const OFFSET: u8 = 0;
    const MINIMUM: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn quants(block: *const u8, _group: usize) -> [__m512i; VECTORS] {
        // SAFETY: d, m, qs[16].
        unsafe { both_nibbles(block.wrapping_add(4 * LANES)) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn scales(block: *const u8, _group: usize) -> GroupScales {
        // SAFETY: as above.
        unsafe { GroupScales { scales: [halves(block, 0); 2], minimum: halves(block, 2) } }
    }
}

impl Quants for Q8_0 {
    const FORMAT: BlockFormat = BlockFormat::Q8_0;
    const OFFSET: u8 = 128;
    const STARTS: [Option<Start>; 2] = [Some(Start::HalfByte), None];

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn quants(block: *const u8, _group: usize) -> [__m512i; VECTORS] {
        // SAFETY: d, qs[32].
        unsafe { signed_bytes(block.wrapping_add(2 * LANES)) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn scales(block: *const u8, _group: usize) -> GroupScales {
        // SAFETY: as above.
        one_scale(unsafe { halves(block, 0) })
    }
}

impl Quants for Int8x64 {
    const FORMAT: BlockFormat = BlockFormat::Int8x64;
    const OFFSET: u8 = 128;
    const STARTS: [Option<Start>; 2] = [Some(Start::HalfByte), None];

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn quants(block: *const u8, group: usize) -> [__m512i; VECTORS] {
        // SAFETY: d, qs[64].
        unsafe { signed_bytes(block.wrapping_add((2 + group * GROUP) * LANES)) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn scales(block: *const u8, _group: usize) -> GroupScales {
        // SAFETY: as above.
        one_scale(unsafe { halves(block, 0) })
    }
}

/// Groups 2j and 2j + 1 are the low and the high nibbles of the same 32 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn one_nibble(from: *const u8, group: usize) -> [__m512i; VECTORS] {
    let from = from.wrapping_add(group / 2 * GROUP * LANES);
    let mut w = [_mm512_setzero_si512(); VECTORS];
    unroll!(q < VECTORS, {
        // SAFETY: the caller vouches for the quants of a block.
        w[q] = low_bits(unsafe { peek(from.wrapping_add(q * VECTOR_BYTES)) }, group % 2 * 4, 0x0f);
    });
    w
}

/// d, dmin, scales[12]: the six-bit scale and minimum of a group, times d and -dmin.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn six_bit_scales(block: *const u8, group: usize) -> GroupScales {
    // SAFETY: the caller vouches for sixteen blocks.
    unsafe {
        let byte = |index: usize| -> __m128i { peek(block.wrapping_add(index * LANES)) };
        let low = |x, mask| _mm_and_si128(x, _mm_set1_epi8(mask));
        let (scale, minimum) = if group < 4 {
            (low(byte(4 + group), 63), low(byte(8 + group), 63))
        } else {
            let both = byte(8 + group);
            // The upper two bits of a byte, as bits 4 and 5.
            let high = |x| low(_mm_srli_epi16::<2>(x), 0x30);
            (
                _mm_or_si128(low(both, 15), high(byte(group))),
                _mm_or_si128(low(_mm_srli_epi16::<4>(both), 15), high(byte(4 + group))),
            )
        };
        let float = |x| _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(x));
        let minimum = _mm512_mul_ps(halves(block, 2), float(minimum));
        GroupScales {
            scales: [_mm512_mul_ps(halves(block, 0), float(scale)); 2],
            minimum: _mm512_sub_ps(_mm512_setzero_ps(), minimum),
        }
    }
}

impl Quants for Q4K {
    const FORMAT: BlockFormat = BlockFormat::Q4K;
    const OFFSET: u8 = 0;
    const MINIMUM: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn quants(block: *const u8, group: usize) -> [__m512i; VECTORS] {
        // SAFETY: d, dmin, scales[12], qs[128].
        unsafe { one_nibble(block.wrapping_add(16 * LANES), group) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn scales(block: *const u8, group: usize) -> GroupScales {
        // SAFETY: as above.
        unsafe { six_bit_scales(block, group) }
    }
}

impl Quants for Q5K {
    const FORMAT: BlockFormat = BlockFormat::Q5K;
    const OFFSET: u8 = 0;
    const MINIMUM: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn quants(block: *const u8, group: usize) -> [__m512i; VECTORS] {
        // SAFETY: d, dmin, scales[12], qh[32], qs[128].
        unsafe {
            let mut w = one_nibble(block.wrapping_add(48 * LANES), group);
            unroll!(q < VECTORS, {
                let bits: __m512i = peek(block.wrapping_add(16 * LANES + q * VECTOR_BYTES));
                w[q] = _mm512_or_si512(w[q], _mm512_slli_epi32::<4>(low_bits(bits, group, 1)));
            });
            w
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn scales(block: *const u8, group: usize) -> GroupScales {
        // SAFETY: as above.
        unsafe { six_bit_scales(block, group) }
    }
}

impl Quants for Q6K {
    const FORMAT: BlockFormat = BlockFormat::Q6K;
    const OFFSET: u8 = 32;
    const STARTS: [Option<Start>; 2] = [Some(Start::ThirtyTwoFirst), Some(Start::ThirtyTwoSecond)];
    const HALVES: bool = true;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn quants(block: *const u8, group: usize) -> [__m512i; VECTORS] {
        // ql[128], qh[64]: half of the block, quarter of the half.
        let (half, quarter) = (group / 4, group % 4);
        let low = block.wrapping_add((half * 64 + quarter % 2 * GROUP) * LANES);
        let high = block.wrapping_add((128 + half * GROUP) * LANES);
        let mut w = [_mm512_setzero_si512(); VECTORS];
        unroll!(q < VECTORS, {
            // SAFETY: inside the block.
            let (low, high) = unsafe {
                (peek(low.wrapping_add(q * VECTOR_BYTES)), peek(high.wrapping_add(q * VECTOR_BYTES)))
            };
            let high = _mm512_slli_epi32::<4>(low_bits(high, 2 * quarter, 3));
            w[q] = _mm512_or_si512(low_bits(low, quarter / 2 * 4, 0x0f), high);
        });
        w
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn scales(block: *const u8, group: usize) -> GroupScales {
        // scales[16] from byte 192 on, then d.
        // SAFETY: inside the block.
        unsafe {
            let d = halves(block, 208);
            let scale = |index: usize| {
                let bytes: __m128i = peek(block.wrapping_add((192 + index) * LANES));
                _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)))
            };
            GroupScales { scales: [scale(2 * group), scale(2 * group + 1)], minimum: _mm512_setzero_ps() }
        }
    }
}
