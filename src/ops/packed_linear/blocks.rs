//! GGUF block formats in panel form, and their widening to f32.
//!
//! A panel stores, for each block along the row, the bytes of its sixteen columns interleaved in units: quantised
//! values in units of four bytes, so that a vector is sixteen columns by four bytes, what VPDPBUSD and AMX multiply;
//! halves in units of two, the six- and eight-bit scales in units of one. Widening is then ggml's scalar algorithm
//! with sixteen lanes in the place of each value, and gives the very bits that `dequantize_row_*` of ggml and candle
//! give. Nothing is added to the file's bytes. References: ggml-quants.c, and candle-core's `quantized/k_quants.rs`.
//!
//! One format is not ggml's: `Int8x64`, sixty-four signed bytes after a half, for weights quantised at load.

use candle_core::quantized::GgmlDType;

use crate::ops::OpsError;
use crate::ops::simd::{LANES, Simd};

/// Elements of a row that are widened at once: the largest block.
pub const CHUNK: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockFormat {
    F16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
    Int8x64,
}

impl BlockFormat {
    /// The format of a GGUF type. F32 and BF16 have panels of their own and are not among them.
    pub fn from_dtype(dtype: GgmlDType) -> Result<Self, OpsError> {
        Ok(match dtype {
            GgmlDType::F16 => Self::F16,
            GgmlDType::Q4_0 => Self::Q4_0,
            GgmlDType::Q4_1 => Self::Q4_1,
            GgmlDType::Q5_0 => Self::Q5_0,
            GgmlDType::Q5_1 => Self::Q5_1,
            GgmlDType::Q8_0 => Self::Q8_0,
            GgmlDType::Q4K => Self::Q4K,
            GgmlDType::Q5K => Self::Q5K,
            GgmlDType::Q6K => Self::Q6K,
            _ => return Err(OpsError::UnsupportedDtype { dtype }),
        })
    }

    /// Elements of a block.
    pub const fn block_size(self) -> usize {
        match self {
            Self::F16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Int8x64 => 64,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::Int8x64 => 66,
        }
    }

    /// Bytes of `elements` of a row, in whole blocks.
    pub const fn row_bytes(self, elements: usize) -> usize {
        elements.div_ceil(self.block_size()) * self.block_bytes()
    }

    /// Where byte `index` of a block's first column lies among the bytes of sixteen blocks, and how many bytes further
    /// on that of the next column.
    pub const fn position(self, index: usize) -> (usize, usize) {
        let (field, unit) = match self {
            Self::F16 => (0, 2),
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 | Self::Int8x64 if index < 2 => (0, 2),
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 | Self::Int8x64 => (2, 4),
            Self::Q4_1 | Self::Q5_1 | Self::Q4K | Self::Q5K if index < 4 => (0, 2),
            Self::Q4_1 | Self::Q5_1 => (4, 4),
            Self::Q4K | Self::Q5K if index < 16 => (4, 1),
            Self::Q4K | Self::Q5K => (16, 4),
            Self::Q6K if index < 192 => (0, 4),
            Self::Q6K if index < 208 => (192, 1),
            Self::Q6K => (208, 2),
        };
        let within = index - field;
        (field * LANES + within / unit * unit * LANES + within % unit, unit)
    }
}

/// Widens `elements` of a panel, a multiple of the block size, into `[elements][16]`.
///
/// # Safety
/// `panel` holds `16 * format.row_bytes(elements)` bytes and `out` takes `16 * elements` floats.
#[inline(always)]
pub unsafe fn widen<S: Simd>(format: BlockFormat, panel: *const u8, elements: usize, out: *mut f32) {
    for block in 0..elements / format.block_size() {
        // SAFETY: the block lies inside the panel, and its elements inside `out`.
        unsafe {
            let x = Block(panel.add(block * format.block_bytes() * LANES));
            let y = out.add(block * format.block_size() * LANES);
            match format {
                BlockFormat::F16 => S::store(y, x.half::<S>(0)),
                BlockFormat::Q4_0 => x.q4_0::<S>(y),
                BlockFormat::Q4_1 => x.q4_1::<S>(y),
                BlockFormat::Q5_0 => x.q5::<S>(2, y),
                BlockFormat::Q5_1 => x.q5::<S>(4, y),
                BlockFormat::Q8_0 => x.signed_bytes::<S>(32, y),
                BlockFormat::Int8x64 => x.signed_bytes::<S>(64, y),
                BlockFormat::Q4K => x.q4k::<S>(y),
                BlockFormat::Q5K => x.q5k::<S>(y),
                BlockFormat::Q6K => x.q6k::<S>(y),
            }
        }
    }
}

/// Sixteen interleaved blocks. Every method needs the instruction set, a block of its own format behind the
/// pointer, and room for the block's elements behind `y`.
#[derive(Clone, Copy)]
struct Block(*const u8);

impl Block {
    #[inline(always)]
    unsafe fn byte<S: Simd>(self, index: usize) -> S::B {
        // SAFETY: the index is inside the block.
        unsafe { S::load_bytes(self.0.wrapping_add(index * LANES)) }
    }

    #[inline(always)]
    unsafe fn half<S: Simd>(self, index: usize) -> S::F {
        // SAFETY: the index is inside the block.
        unsafe { S::load_halves(self.0.wrapping_add(index * LANES)) }
    }

    /// Byte `at` of the quantised values from byte `field` of the block on.
    #[inline(always)]
    unsafe fn quant<S: Simd>(self, field: usize, at: usize) -> S::B {
        let quads = self.0.wrapping_add((field + at / 4 * 4) * LANES);
        // SAFETY: the quad is inside the block.
        unsafe { S::load_byte_of_quads(quads, at % 4) }
    }

    /// d, qs[16]: (q - 8) d.
    #[inline(always)]
    unsafe fn q4_0<S: Simd>(self, y: *mut f32) {
        // SAFETY: see `Block`.
        unsafe {
            let d = self.half::<S>(0);
            let eight = S::splat(8.0);
            for j in 0..16 {
                let q = self.quant::<S>(2, j);
                let low = S::sub(S::unsigned(S::bits(q, 0, 15)), eight);
                let high = S::sub(S::unsigned(S::bits(q, 4, 15)), eight);
                S::store(y.wrapping_add(j * LANES), S::mul(low, d));
                S::store(y.wrapping_add((j + 16) * LANES), S::mul(high, d));
            }
        }
    }

    /// d, m, qs[16]: q d + m.
    #[inline(always)]
    unsafe fn q4_1<S: Simd>(self, y: *mut f32) {
        // SAFETY: see `Block`.
        unsafe {
            let (d, m) = (self.half::<S>(0), self.half::<S>(2));
            for j in 0..16 {
                let q = self.quant::<S>(4, j);
                let low = S::mul(S::unsigned(S::bits(q, 0, 15)), d);
                let high = S::mul(S::unsigned(S::bits(q, 4, 15)), d);
                S::store(y.wrapping_add(j * LANES), S::add(low, m));
                S::store(y.wrapping_add((j + 16) * LANES), S::add(high, m));
            }
        }
    }

    /// Q5_0: d, qh[4], qs[16]: (q - 16) d. Q5_1: d, m, qh[4], qs[16]: q d + m. `high_bits` is where qh lies.
    #[inline(always)]
    unsafe fn q5<S: Simd>(self, high_bits: usize, y: *mut f32) {
        // SAFETY: see `Block`.
        unsafe {
            let d = self.half::<S>(0);
            let has_minimum = high_bits == 4;
            let m = if has_minimum { self.half::<S>(2) } else { S::splat(0.0) };
            for j in 0..32 {
                let q = S::bits(self.quant::<S>(high_bits + 4, j % 16), 4 * (j as u32 / 16), 15);
                let bit = S::bits(self.quant::<S>(high_bits, j / 8), j as u32 % 8, 1);
                let q = S::unsigned(S::or_shifted(q, bit, 4));
                let x =
                    if has_minimum { S::add(S::mul(q, d), m) } else { S::mul(S::sub(q, S::splat(16.0)), d) };
                S::store(y.wrapping_add(j * LANES), x);
            }
        }
    }

    /// d, then signed bytes: q d.
    #[inline(always)]
    unsafe fn signed_bytes<S: Simd>(self, count: usize, y: *mut f32) {
        // SAFETY: see `Block`.
        unsafe {
            let d = self.half::<S>(0);
            for j in 0..count {
                S::store(y.wrapping_add(j * LANES), S::mul(S::signed(self.quant::<S>(2, j)), d));
            }
        }
    }

    /// The six-bit scale and minimum of sub-block `j` of Q4_K and Q5_K, times d and dmin.
    #[inline(always)]
    unsafe fn scale_and_minimum<S: Simd>(self, j: usize) -> (S::F, S::F) {
        // SAFETY: see `Block`.
        unsafe {
            let (scale, minimum) = if j < 4 {
                (S::bits(self.byte::<S>(4 + j), 0, 63), S::bits(self.byte::<S>(8 + j), 0, 63))
            } else {
                let both = self.byte::<S>(8 + j);
                let scale_high = S::bits(self.byte::<S>(j), 6, 3);
                let minimum_high = S::bits(self.byte::<S>(4 + j), 6, 3);
                (
                    S::or_shifted(S::bits(both, 0, 15), scale_high, 4),
                    S::or_shifted(S::bits(both, 4, 15), minimum_high, 4),
                )
            };
            (S::mul(self.half::<S>(0), S::unsigned(scale)), S::mul(self.half::<S>(2), S::unsigned(minimum)))
        }
    }

    /// d, dmin, scales[12], qs[128]: d s q - dmin m in eight sub-blocks of 32.
    #[inline(always)]
    unsafe fn q4k<S: Simd>(self, y: *mut f32) {
        // SAFETY: see `Block`.
        unsafe {
            for j in 0..8 {
                let (d, m) = self.scale_and_minimum::<S>(j);
                let shift = 4 * (j as u32 % 2);
                for l in 0..32 {
                    let q = S::unsigned(S::bits(self.quant::<S>(16, j / 2 * 32 + l), shift, 15));
                    S::store(y.wrapping_add((j * 32 + l) * LANES), S::sub(S::mul(d, q), m));
                }
            }
        }
    }

    /// d, dmin, scales[12], qh[32], qs[128]: as Q4_K, with bit j of qh above the four bits of sub-block j.
    #[inline(always)]
    unsafe fn q5k<S: Simd>(self, y: *mut f32) {
        // SAFETY: see `Block`.
        unsafe {
            for j in 0..8 {
                let (d, m) = self.scale_and_minimum::<S>(j);
                let shift = 4 * (j as u32 % 2);
                for l in 0..32 {
                    let low = S::bits(self.quant::<S>(48, j / 2 * 32 + l), shift, 15);
                    let bit = S::bits(self.quant::<S>(16, l), j as u32, 1);
                    let q = S::unsigned(S::or_shifted(low, bit, 4));
                    S::store(y.wrapping_add((j * 32 + l) * LANES), S::sub(S::mul(d, q), m));
                }
            }
        }
    }

    /// ql[128], qh[64], scales[16], d: d s (q - 32) in sixteen sub-blocks of 16.
    #[inline(always)]
    unsafe fn q6k<S: Simd>(self, y: *mut f32) {
        // SAFETY: see `Block`.
        unsafe {
            let d = self.half::<S>(208);
            for j in 0..16 {
                let scale = S::mul(d, S::signed(self.byte::<S>(192 + j)));
                // Half of the block, quarter of the half, and half of the quarter.
                let (half, quarter, first) = (j / 8, j % 8 / 2, j % 2 * 16);
                for l in first..first + 16 {
                    let low = self.quant::<S>(0, half * 64 + quarter % 2 * 32 + l);
                    let low = S::bits(low, 4 * (quarter as u32 / 2), 15);
                    let high = S::bits(self.quant::<S>(128, half * 32 + l), 2 * quarter as u32, 3);
                    let q = S::sub(S::unsigned(S::or_shifted(low, high, 4)), S::splat(32.0));
                    S::store(y.wrapping_add((half * 128 + quarter * 32 + l) * LANES), S::mul(scale, q));
                }
            }
        }
    }
}
