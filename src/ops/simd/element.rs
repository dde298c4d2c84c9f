//! What memory holds where lanes are f32: f32 itself, or bf16.

use super::Simd;
use crate::ops::aligned::Plain;

/// An element of a panel or of the KV pool.
pub(in crate::ops) trait Element: Plain {
    /// Sixteen elements as f32 lanes.
    ///
    /// # Safety
    /// The instruction set is present and `from` is valid for sixteen elements.
    unsafe fn load<S: Simd>(from: *const Self) -> S::F;
    /// To nearest, ties to even.
    fn from_f32(x: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const Self) -> S::F {
        // SAFETY: the caller's word.
        unsafe { S::load(from) }
    }
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }
}

/// bf16 bits.
impl Element for u16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const Self) -> S::F {
        // SAFETY: the caller's word.
        unsafe { S::load_bf16(from) }
    }
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        half::bf16::from_f32(x).to_bits()
    }
}
