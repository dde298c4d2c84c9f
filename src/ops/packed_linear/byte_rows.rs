//! Rows of x in signed bytes, quantised per row ("per token"): scale = largest magnitude / 127, byte = x / scale
//! rounded to nearest even, in the blocks of `activations.rs`. Every instruction set gives the same bytes and scales.
//!
//! A row that holds an infinity or a NaN has a scale of NaN, which reaches all of its outputs.

use std::ops::Range;

use super::activations::{BLOCK_ROWS, LINE_BYTES, Line, TileRows};
use crate::ops::Workers;
use crate::ops::parallel::SharedMut;
use crate::ops::simd::{Kernel, LANES, Simd, load_some};

/// Magnitudes below count as 0, so that 127 / largest is finite.
pub const SMALLEST: f32 = 1e-36;

pub struct ByteRows {
    pub rows: TileRows,
    /// Of each row.
    pub scales: Vec<f32>,
    /// -128 times the sum of each row's bytes: what a sum of x (w + 128) starts from to become a sum of x w.
    pub starts: Vec<i32>,
}

impl ByteRows {
    /// Quantises x, whole rows of `in_features`.
    pub fn new(x: &[f32], in_features: usize, workers: &Workers) -> Self {
        let count = x.len() / in_features;
        let (mut scales, mut starts) = (vec![0.0; count], vec![0; count]);
        let (shared_scales, shared_starts) = (SharedMut::new(&mut scales), SharedMut::new(&mut starts));
        let fill = |blocks: Range<usize>, out| {
            let rows = (blocks.start * BLOCK_ROWS).min(count)..(blocks.end * BLOCK_ROWS).min(count);
            // SAFETY: each part writes the scales, starts and lines of its own rows, and the lines whole.
            unsafe {
                let scales = shared_scales.slice(rows.start, rows.len());
                let starts = shared_starts.slice(rows.start, rows.len());
                let row_blocks = blocks.len();
                workers.isa().dispatch(Quantize { x, in_features, rows, row_blocks, scales, starts, out });
            }
        };
        // SAFETY: as above.
        let rows = unsafe { TileRows::new(count, in_features.div_ceil(LINE_BYTES), workers, &fill) };
        Self { rows, scales, starts }
    }
}

struct Quantize<'a> {
    x: &'a [f32],
    in_features: usize,
    /// From the first of a row block on, as far as they exist.
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
            if self.rows.len() < self.row_blocks * BLOCK_ROWS || !k.is_multiple_of(LINE_BYTES) {
                self.out.write_bytes(0, self.row_blocks * blocks * BLOCK_ROWS);
            }
            for (at, row) in self.rows.clone().enumerate() {
                let x = self.x[row * k..(row + 1) * k].as_ptr();
                let line = self.out.add(at / BLOCK_ROWS * blocks * BLOCK_ROWS + at % BLOCK_ROWS);
                let (zero, mut largest, mut poison) = (S::splat(0.0), S::splat(0.0), S::splat(0.0));
                for i in (0..k).step_by(LANES) {
                    let x = load_some::<S>(x.add(i), k - i);
                    largest = S::max(S::max(x, S::sub(zero, x)), largest);
                    poison = S::fma(x, zero, poison);
                }
                let largest = S::max_lane(largest);
                let to_bytes = if largest > SMALLEST { 127.0 / largest } else { 0.0 };
                let to_bytes = S::splat(to_bytes);
                let mut sum = zero;
                for i in (0..k).step_by(LANES) {
                    let bytes = S::round(S::mul(load_some::<S>(x.add(i), k - i), to_bytes));
                    sum = S::add(sum, bytes);
                    let to = line.add(i / LINE_BYTES * BLOCK_ROWS).cast::<u8>().add(i % LINE_BYTES);
                    S::store_signed(to, bytes);
                }
                self.scales[at] = largest / 127.0 + S::sum(poison);
                self.starts[at] = -128 * S::sum(sum) as i32;
            }
        }
    }
}
