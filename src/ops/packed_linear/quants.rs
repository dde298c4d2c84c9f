//! Groups of 32 elements of block formats as vectors of bytes, columns by four neighbours, with their scales: what
//! `grouped.rs` multiplies.
//!
//! The scales are those that `blocks::widen` multiplies by, bit for bit. Q5_0 and Q5_1 are not here: their fifth bits
//! lie across columns of bits, so they are widened (`gemm.rs`).

use std::arch::x86_64::{__m128i, _mm_and_si128, _mm_or_si128, _mm_set1_epi8, _mm_srli_epi16};
use std::marker::PhantomData;

use super::blocks::BlockFormat;
use super::byte_lanes::{ByteLanes, QuantKind, VECTORS};
use super::group_rows::{GROUP, Start};
use crate::ops::simd::{LANES, unroll};

const HALF_VECTORS: usize = VECTORS / 2;

/// The scales of a group of a vector's columns.
pub struct GroupScales<L: ByteLanes> {
    /// Of the first and the second sixteen elements; the same but for `QuantKind::halves`.
    pub scales: [L::Floats; 2],
    /// What is added to each element, for `MINIMUM`.
    pub minimum: L::Floats,
}

/// A block format: an element is scale * (quant - OFFSET) + minimum.
pub trait Quants: 'static {
    const FORMAT: BlockFormat;
    const KIND: QuantKind;
    /// What unsigned quants are above the signed ones.
    const OFFSET: u8 = 0;
    /// What the sums of the first and of the second four vectors of a group start from, or 0.
    const STARTS: [Option<Start>; 2] = [None; 2];
    const MINIMUM: bool = false;
    /// Groups of 32 in a block.
    const GROUPS: usize = Self::FORMAT.block_size() / GROUP;

    /// A group's quants.
    ///
    /// # Safety
    /// The processor has the lanes, and `columns` points into sixteen blocks.
    unsafe fn quants<L: ByteLanes>(columns: Columns<L>, group: usize) -> [L::Bytes; VECTORS];
    /// # Safety
    /// As above.
    unsafe fn scales<L: ByteLanes>(columns: Columns<L>, group: usize) -> GroupScales<L>;
}

/// The columns of one vector in sixteen interleaved blocks.
pub struct Columns<L> {
    block: *const u8,
    /// The first column.
    first: usize,
    lanes: PhantomData<L>,
}

impl<L> Clone for Columns<L> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<L> Copy for Columns<L> {}

impl<L: ByteLanes> Columns<L> {
    /// Part `part` of the panel whose sixteen blocks begin at `block`.
    #[inline(always)]
    pub fn new(block: *const u8, part: usize) -> Self {
        Self { block, first: part * L::COLUMNS, lanes: PhantomData }
    }

    /// Bytes `byte` to `byte + 4` of each column's block.
    #[inline(always)]
    unsafe fn fours(self, byte: usize) -> L::Bytes {
        // SAFETY: the caller vouches for the byte.
        unsafe { L::load(self.block.wrapping_add(byte * LANES + self.first * 4)) }
    }

    /// The half at byte `byte` of each column's block.
    #[inline(always)]
    unsafe fn halves(self, byte: usize) -> L::Floats {
        // SAFETY: as above.
        unsafe { L::load_halves(self.block.wrapping_add(byte * LANES + self.first * 2)) }
    }

    /// Byte `byte` of each column's block.
    #[inline(always)]
    unsafe fn bytes(self, byte: usize) -> __m128i {
        // SAFETY: as above.
        unsafe { L::load_column_bytes(self.block.wrapping_add(byte * LANES + self.first)) }
    }

    /// One scale, of the half at the block's start.
    #[inline(always)]
    unsafe fn one_scale(self) -> GroupScales<L> {
        // SAFETY: as above.
        unsafe { GroupScales { scales: [self.halves(0); 2], minimum: L::zero() } }
    }

    /// Both nibbles of sixteen bytes: the low ones are the first sixteen elements.
    #[inline(always)]
    unsafe fn both_nibbles(self, byte: usize) -> [L::Bytes; VECTORS] {
        // SAFETY: the caller vouches for the bytes.
        unsafe {
            let mut w = [L::no_bytes(); VECTORS];
            unroll!(q < HALF_VECTORS, {
                let fours = self.fours(byte + 4 * q);
                w[q] = L::low_bits(fours, 0, 0x0f);
                w[q + 4] = L::low_bits(fours, 4, 0x0f);
            });
            w
        }
    }

    /// Groups 2 j and 2 j + 1 are the low and the high nibbles of the same 32 bytes.
    #[inline(always)]
    unsafe fn one_nibble(self, byte: usize, group: usize) -> [L::Bytes; VECTORS] {
        // SAFETY: as above.
        unsafe {
            let mut w = [L::no_bytes(); VECTORS];
            unroll!(q < VECTORS, {
                let fours = self.fours(byte + group / 2 * GROUP + 4 * q);
                w[q] = L::low_bits(fours, group % 2 * 4, 0x0f);
            });
            w
        }
    }

    #[inline(always)]
    unsafe fn signed_bytes(self, byte: usize) -> [L::Bytes; VECTORS] {
        // SAFETY: as above.
        unsafe {
            let mut w = [L::no_bytes(); VECTORS];
            unroll!(q < VECTORS, {
                w[q] = self.fours(byte + 4 * q);
            });
            w
        }
    }

    /// d, dmin, scales[12]: the six-bit scale and minimum of a group, times d and -dmin.
    #[inline(always)]
    unsafe fn six_bit_scales(self, group: usize) -> GroupScales<L> {
        // SAFETY: the caller vouches for blocks that begin so.
        unsafe {
            let low = |x, mask| _mm_and_si128(x, _mm_set1_epi8(mask));
            let (scale, minimum) = if group < 4 {
                (low(self.bytes(4 + group), 63), low(self.bytes(8 + group), 63))
            } else {
                let both = self.bytes(8 + group);
                // The upper two bits of a byte, as bits 4 and 5.
                let high = |x| low(_mm_srli_epi16::<2>(x), 0x30);
                (
                    _mm_or_si128(low(both, 15), high(self.bytes(group))),
                    _mm_or_si128(low(_mm_srli_epi16::<4>(both), 15), high(self.bytes(4 + group))),
                )
            };
            let minimum = L::mul(self.halves(2), L::unsigned(minimum));
            GroupScales {
                scales: [L::mul(self.halves(0), L::unsigned(scale)); 2],
                minimum: L::sub(L::zero(), minimum),
            }
        }
    }
}

const fn unsigned(bits: u32) -> QuantKind {
    QuantKind { bits: Some(bits), halves: false }
}

const SIGNED: QuantKind = QuantKind { bits: None, halves: false };

pub struct Q4_0;
pub struct Q4_1;
pub struct Q8_0;
pub struct Int8x64;
pub struct Q4K;
pub struct Q5K;
pub struct Q6K;

/// d, qs[16]
impl Quants for Q4_0 {
    const FORMAT: BlockFormat = BlockFormat::Q4_0;
    const KIND: QuantKind = unsigned(4);
    const OFFSET: u8 = 8;
    const STARTS: [Option<Start>; 2] = [Some(Start::Eight), None];

    #[inline(always)]
    unsafe fn quants<L: ByteLanes>(columns: Columns<L>, _group: usize) -> [L::Bytes; VECTORS] {
        // SAFETY: inside the block.
        unsafe { columns.both_nibbles(2) }
    }
    #[inline(always)]
    unsafe fn scales<L: ByteLanes>(columns: Columns<L>, _group: usize) -> GroupScales<L> {
        // SAFETY: as above.
        unsafe { columns.one_scale() }
    }
}

/// d, m, qs[16]
impl Quants for Q4_1 {
    const FORMAT: BlockFormat = BlockFormat::Q4_1;
    const KIND: QuantKind = unsigned(4);
    const MINIMUM: bool = true;

    #[inline(always)]
    unsafe fn quants<L: ByteLanes>(columns: Columns<L>, _group: usize) -> [L::Bytes; VECTORS] {
        // SAFETY: inside the block.
        unsafe { columns.both_nibbles(4) }
    }
    #[inline(always)]
    unsafe fn scales<L: ByteLanes>(columns: Columns<L>, _group: usize) -> GroupScales<L> {
        // SAFETY: as above.
        unsafe { GroupScales { scales: [columns.halves(0); 2], minimum: columns.halves(2) } }
    }
}

/// d, qs[32]
impl Quants for Q8_0 {
    const FORMAT: BlockFormat = BlockFormat::Q8_0;
    const KIND: QuantKind = SIGNED;
    const STARTS: [Option<Start>; 2] = [Some(Start::HalfByte), None];

    #[inline(always)]
    unsafe fn quants<L: ByteLanes>(columns: Columns<L>, _group: usize) -> [L::Bytes; VECTORS] {
        // SAFETY: inside the block.
        unsafe { columns.signed_bytes(2) }
    }
    #[inline(always)]
    unsafe fn scales<L: ByteLanes>(columns: Columns<L>, _group: usize) -> GroupScales<L> {
        // SAFETY: as above.
        unsafe { columns.one_scale() }
    }
}

/// d, qs[64]
impl Quants for Int8x64 {
    const FORMAT: BlockFormat = BlockFormat::Int8x64;
    const KIND: QuantKind = SIGNED;
    const STARTS: [Option<Start>; 2] = [Some(Start::HalfByte), None];

    #[inline(always)]
    unsafe fn quants<L: ByteLanes>(columns: Columns<L>, group: usize) -> [L::Bytes; VECTORS] {
        // SAFETY: inside the block.
        unsafe { columns.signed_bytes(2 + group * GROUP) }
    }
    #[inline(always)]
    unsafe fn scales<L: ByteLanes>(columns: Columns<L>, _group: usize) -> GroupScales<L> {
        // SAFETY: as above.
        unsafe { columns.one_scale() }
    }
}

/// d, dmin, scales[12], qs[128]
impl Quants for Q4K {
    const FORMAT: BlockFormat = BlockFormat::Q4K;
    const KIND: QuantKind = unsigned(4);
    const MINIMUM: bool = true;

    #[inline(always)]
    unsafe fn quants<L: ByteLanes>(columns: Columns<L>, group: usize) -> [L::Bytes; VECTORS] {
        // SAFETY: inside the block.
        unsafe { columns.one_nibble(16, group) }
    }
    #[inline(always)]
    unsafe fn scales<L: ByteLanes>(columns: Columns<L>, group: usize) -> GroupScales<L> {
        // SAFETY: as above.
        unsafe { columns.six_bit_scales(group) }
    }
}

/// d, dmin, scales[12], qh[32], qs[128]
impl Quants for Q5K {
    const FORMAT: BlockFormat = BlockFormat::Q5K;
    const KIND: QuantKind = unsigned(5);
    const MINIMUM: bool = true;

    #[inline(always)]
    unsafe fn quants<L: ByteLanes>(columns: Columns<L>, group: usize) -> [L::Bytes; VECTORS] {
        // SAFETY: inside the block.
        unsafe {
            let mut w = columns.one_nibble(48, group);
            unroll!(q < VECTORS, {
                w[q] = L::or_above_four(w[q], L::low_bits(columns.fours(16 + 4 * q), group, 1));
            });
            w
        }
    }
    #[inline(always)]
    unsafe fn scales<L: ByteLanes>(columns: Columns<L>, group: usize) -> GroupScales<L> {
        // SAFETY: as above.
        unsafe { columns.six_bit_scales(group) }
    }
}

/// ql[128], qh[64], scales[16], d
impl Quants for Q6K {
    const FORMAT: BlockFormat = BlockFormat::Q6K;
    const KIND: QuantKind = QuantKind { bits: Some(6), halves: true };
    const OFFSET: u8 = 32;
    const STARTS: [Option<Start>; 2] = [Some(Start::ThirtyTwoFirst), Some(Start::ThirtyTwoSecond)];

    #[inline(always)]
    unsafe fn quants<L: ByteLanes>(columns: Columns<L>, group: usize) -> [L::Bytes; VECTORS] {
        // Half of the block, quarter of the half.
        let (half, quarter) = (group / 4, group % 4);
        let (low, high) = (half * 64 + quarter % 2 * GROUP, 128 + half * GROUP);
        // SAFETY: inside the block.
        unsafe {
            let mut w = [L::no_bytes(); VECTORS];
            unroll!(q < VECTORS, {
                let low = L::low_bits(columns.fours(low + 4 * q), quarter / 2 * 4, 0x0f);
                let high = L::low_bits(columns.fours(high + 4 * q), 2 * quarter, 3);
                w[q] = L::or_above_four(low, high);
            });
            w
        }
    }
    #[inline(always)]
    unsafe fn scales<L: ByteLanes>(columns: Columns<L>, group: usize) -> GroupScales<L> {
        // SAFETY: as above.
        unsafe {
            let d = columns.halves(208);
            let scale = |index: usize| L::mul(d, L::signed(columns.bytes(192 + index)));
            GroupScales { scales: [scale(2 * group), scale(2 * group + 1)], minimum: L::zero() }
        }
    }
}
