//! Rows of x in whole numbers of up to `MOST`, quantised per row ("per token"): scale = largest magnitude / `MOST`,
//! number = x / scale rounded to nearest even. A number is two signed bytes, `256 high + low`, and each row of x two
//! rows of bytes, in the blocks of `activations.rs`, for processors with dot products of bytes (`word_rows.rs` for the
//! others). Every instruction set gives the same numbers and scales.
//!
//! One byte would not do: a few features of a language model's activations are a hundred times as large as the rest
//! and set the scale, so that the rest would be left with one bit. The second byte costs a second product with a
//! weight that is in the register already.
//!
//! A row that holds an infinity or a NaN has a scale of NaN, which reaches all of its outputs.

use std::ops::Range;

use super::activations::{BLOCK_ROWS, LINE_BYTES, Line, TileRows};
use crate::ops::Workers;
use crate::ops::parallel::SharedMut;
use crate::ops::simd::{Kernel, LANES, Simd, load_some};

/// The largest number of two signed bytes whose negative is one too, by the rounding of `Quantize`.
const MOST: f32 = 127.0 * 256.0 + 127.0;

/// Magnitudes below count as 0, so that `MOST` / largest is finite and a scale is a normal number.
const SMALLEST: f32 = MOST * f32::MIN_POSITIVE;

pub struct ByteRows {
    /// Rows 2 i and 2 i + 1 are the high and low bytes of x's row i.
    pub rows: TileRows,
    /// Of each row of x.
    pub scales: Vec<f32>,
    /// -128 times the sum of each row of bytes: what a sum of x (w + 128) starts from to become a sum of x w.
    pub starts: Vec<i32>,
}

impl ByteRows {
    /// Quantises x, whole rows of `in_features`.
    pub fn new(x: &[f32], in_features: usize, workers: &Workers) -> Self {
        let count = x.len() / in_features;
        let (mut scales, mut starts) = (vec![0.0; count], vec![0; 2 * count]);
        let (shared_scales, shared_starts) = (SharedMut::new(&mut scales), SharedMut::new(&mut starts));
        let fill = |blocks: Range<usize>, out| {
            const ROWS: usize = BLOCK_ROWS / 2;
            let rows = (blocks.start * ROWS).min(count)..(blocks.end * ROWS).min(count);
            // SAFETY: each part writes the scales, starts and lines of its own rows, and the lines whole.
            unsafe {
                let scales = shared_scales.slice(rows.start, rows.len());
                let starts = shared_starts.slice(2 * rows.start, 2 * rows.len());
                let row_blocks = blocks.len();
                workers.isa().dispatch(Quantize { x, in_features, rows, row_blocks, scales, starts, out });
            }
        };
        // SAFETY: as above.
        let rows = unsafe { TileRows::new(2 * count, in_features.div_ceil(LINE_BYTES), workers, &fill) };
        Self { rows, scales, starts }
    }
}

struct Quantize<'a> {
    x: &'a [f32],
    in_features: usize,
    /// Of x, from the first of a row block on, as far as they exist.
    rows: Range<usize>,
    row_blocks: usize,
    scales: &'a mut [f32],
    starts: &'a mut [i32],
    out: *mut Line,
}

impl Kernel for Quantize<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let k = self.in_features;
        let blocks = k.div_ceil(LINE_BYTES);
        // SAFETY: the lines are those of whole row blocks; x is read where a row exists.
        unsafe {
            if 2 * self.rows.len() < self.row_blocks * BLOCK_ROWS || !k.is_multiple_of(LINE_BYTES) {
                self.out.write_bytes(0, self.row_blocks * blocks * BLOCK_ROWS);
            }
            for (at, row) in self.rows.clone().enumerate() {
                let x = &self.x[row * k..(row + 1) * k];
                let byte_row = 2 * at;
                let line = self.out.add(byte_row / BLOCK_ROWS * blocks * BLOCK_ROWS + byte_row % BLOCK_ROWS);
                let rounding = Rounding::of::<S>(x);
                let (mut high_sum, mut low_sum) = (S::splat(0.0), S::splat(0.0));
                for i in (0..k).step_by(LANES) {
                    let number = rounding.number::<S>(load_some::<S>(x.as_ptr().add(i), k - i));
                    // A quarter more, for a tie must go up: the low byte is -128 to 127.
                    let high = S::round(S::mul(S::add(number, S::splat(0.25)), S::splat(1.0 / 256.0)));
                    let low = S::fma(high, S::splat(-256.0), number);
                    (high_sum, low_sum) = (S::add(high_sum, high), S::add(low_sum, low));
                    let to = line.add(i / LINE_BYTES * BLOCK_ROWS).cast::<u8>().add(i % LINE_BYTES);
                    S::store_signed(to, high);
                    S::store_signed(to.add(LINE_BYTES), low);
                }
                self.scales[at] = rounding.scale;
                self.starts[byte_row] = -128 * S::sum(high_sum) as i32;
                self.starts[byte_row + 1] = -128 * S::sum(low_sum) as i32;
            }
        }
    }
}

/// How a row becomes whole numbers.
pub struct Rounding {
    to_number: f32,
    /// NaN where the row holds an infinity or a NaN.
    pub scale: f32,
}

impl Rounding {
    /// # Safety
    /// The instruction set is present.
    #[inline(always)]
    pub unsafe fn of<S: Simd>(row: &[f32]) -> Self {
        // SAFETY: only the row is read.
        unsafe {
            let (zero, mut largest, mut poison) = (S::splat(0.0), S::splat(0.0), S::splat(0.0));
            for i in (0..row.len()).step_by(LANES) {
                let x = load_some::<S>(row.as_ptr().add(i), row.len() - i);
                largest = S::max(S::max(x, S::sub(zero, x)), largest);
                poison = S::fma(x, zero, poison);
            }
            let largest = S::max_lane(largest);
            let to_number = if largest > SMALLEST { MOST / largest } else { 0.0 };
            Self { to_number, scale: largest / MOST + S::sum(poison) }
        }
    }

    /// # Safety
    /// As above.
    #[inline(always)]
    pub unsafe fn number<S: Simd>(&self, x: S::F) -> S::F {
        // SAFETY: the caller's word.
        unsafe { S::round(S::mul(x, S::splat(self.to_number))) }
    }
}
