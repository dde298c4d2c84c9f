//! What memory holds where lanes are f32: f32 itself, or bf16.

use super::{LANES, Simd};
use crate::ops::aligned::Plain;

/// An element of a panel or of the KV pool.
pub(in crate::ops) trait Element: Plain {
    /// Two vectors that follow each other along the reduction: f32 one after the other, bf16 in pairs.
    ///
    /// # Safety
    /// The instruction set is present and `from` is valid for 32 elements.
    unsafe fn load_two<S: Simd>(from: *const Self) -> [S::F; 2];
    /// To nearest, ties to even.
    fn from_f32(x: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load_two<S: Simd>(from: *const Self) -> [S::F; 2] {
        // SAFETY: the caller's word.
        unsafe { [S::load(from), S::load(from.wrapping_add(LANES))] }
    }
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }
}

/// bf16 bits.
impl Element for u16 {
    #[inline(always)]
    unsafe fn load_two<S: Simd>(from: *const Self) -> [S::F; 2] {
        // SAFETY: the caller's word.
        unsafe { S::load_bf16_pairs(from) }
    }
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        half::bf16::from_f32(x).to_bits()
    }
}
