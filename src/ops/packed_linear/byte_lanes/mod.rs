//! The vectors in which block weights are unpacked (`quants.rs`) and multiplied by bytes of x (`grouped.rs`): some
//! columns of a panel by four neighbours along the row. Sixteen columns with AVX-512 VNNI, eight with AVX2.
//!
//! Sums of bytes are exact on both, and floats are combined in the same order, so results have the same bits.

mod avx2;
mod vnni;

use std::arch::x86_64::{__m128i, _MM_HINT_T0, _mm_prefetch};

use super::group_rows::GROUP;
use crate::ops::simd::DotKernel;
use crate::ops::simd::LANES;
pub use avx2::Avx2Lanes;
pub use vnni::VnniLanes;

/// Vectors of a group of 32.
pub const VECTORS: usize = GROUP / 4;

/// How the quants of a format are multiplied.
#[derive(Debug, Clone, Copy)]
pub struct QuantKind {
    /// Of an unsigned quant, 6 at most. `None`: signed bytes.
    pub bits: Option<u32>,
    /// The first and the second sixteen elements have sums of their own.
    pub halves: bool,
}

/// `COLUMNS` columns of a panel.
///
/// # Safety
/// Every method needs the instruction set of the implementor; pointers hold what is read there, at any alignment.
pub trait ByteLanes: 'static {
    /// Sixteen, or a half of it.
    const COLUMNS: usize;
    /// Vectors side by side in a panel.
    const PARTS: usize = LANES / Self::COLUMNS;
    /// Rows of x that meet a vector together at most.
    const ROWS: usize;
    /// Signed bytes of weights are multiplied as if they were 128 more, which their sums' start must make good for.
    const SHIFTS_SIGNED: bool;
    /// `COLUMNS` times four bytes.
    type Bytes: Copy;
    type Floats: Copy;
    type Integers: Copy;

    /// Runs a kernel in a function of its own, with registers of its own.
    unsafe fn call<K: DotKernel>(kernel: K);

    unsafe fn load(from: *const u8) -> Self::Bytes;
    unsafe fn no_bytes() -> Self::Bytes;
    /// `(bytes >> shift) & mask`, byte by byte; the mask leaves out what comes over from the neighbour.
    unsafe fn low_bits(bytes: Self::Bytes, shift: usize, mask: i8) -> Self::Bytes;
    /// `a | b << 4`, byte by byte, where that takes no bit out of its byte.
    unsafe fn or_above_four(a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;

    /// `COLUMNS` bytes, and perhaps those behind them up to sixteen.
    unsafe fn load_column_bytes(from: *const u8) -> __m128i;
    /// Of the first `COLUMNS`.
    unsafe fn unsigned(bytes: __m128i) -> Self::Floats;
    /// Of the first `COLUMNS`.
    unsafe fn signed(bytes: __m128i) -> Self::Floats;
    unsafe fn load_halves(from: *const u8) -> Self::Floats;
    unsafe fn store_floats(to: *mut f32, x: Self::Floats);
    unsafe fn zero() -> Self::Floats;
    unsafe fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * x + c`, one x for all columns.
    unsafe fn fma(a: Self::Floats, x: f32, c: Self::Floats) -> Self::Floats;

    unsafe fn add(a: Self::Integers, b: Self::Integers) -> Self::Integers;
    /// A chain with one more sum: `sum * (scale * x_scale) + chain`.
    unsafe fn link(
        sum: Self::Integers,
        scale: Self::Floats,
        x_scale: f32,
        chain: Self::Floats,
    ) -> Self::Floats;
    /// A group's quants times R rows of x, which lie a line apart: the sums, from `starts` on, of the first and of the
    /// second sixteen elements; without `halves`, both together in any two parts. The starts do not count where signed
    /// bytes are multiplied without a shift.
    unsafe fn sums<const R: usize>(
        kind: QuantKind,
        w: &[Self::Bytes; VECTORS],
        x: *const u8,
        starts: [[i32; 2]; R],
    ) -> [[Self::Integers; 2]; R];
}

/// Asks for memory that a kernel will read soon. A kernel that passes over a weight once is as fast as memory only if it
/// asks this far ahead: the processor by itself looks less far.
#[inline(always)]
pub fn prefetch(from: *const u8, bytes: usize) {
    const AHEAD_BYTES: usize = 4096;
    for line in 0..bytes.div_ceil(64) {
        // SAFETY: any address will do.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD_BYTES + line * 64).cast()) };
    }
}
