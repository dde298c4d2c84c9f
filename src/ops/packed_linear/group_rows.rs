//! Rows of x in signed bytes, quantised per group of 32 neighbours: scale = largest magnitude / 127, byte = x / scale
//! rounded to nearest even, in the blocks of `activations.rs`. Every instruction set gives the same bytes and scales.
//!
//! A group that holds an infinity or a NaN has a scale of NaN, which reaches all outputs of its row.

use std::ops::Range;

use super::SMALLEST;
use super::activations::{BLOCK_ROWS, LINE_BYTES, Line, TileRows};
use crate::ops::Workers;
use crate::ops::parallel::SharedMut;
use crate::ops::simd::{Kernel, LANES, Simd, load_some};

/// Elements of a group.
pub const GROUP: usize = 32;
const GROUPS_PER_LINE: usize = LINE_BYTES / GROUP;

/// All but the bytes is `[rows / 16][groups][16]`; rows and groups that do not exist are 0.
pub struct GroupRows {
    pub rows: TileRows,
    pub scales: Vec<f32>,
    /// What sums of x's bytes times unsigned quants start from, for each `Start`; empty where only tiles are used,
    /// which multiply signed quants.
    pub starts: [Vec<i32>; 4],
    /// The scale times the sum of the bytes.
    pub totals: Vec<f32>,
}

/// Minus x's sum times what makes quants unsigned.
#[derive(Clone, Copy)]
pub enum Start {
    /// 8 times the sum of a group.
    Eight,
    /// 128 times the sum of a group.
    HalfByte,
    /// 32 times the sum of its first sixteen bytes.
    ThirtyTwoFirst,
    /// 32 times the sum of its second sixteen bytes.
    ThirtyTwoSecond,
}

impl GroupRows {
    /// Quantises x, whole rows of `in_features`, with the starts that vectors need or without.
    pub fn new(x: &[f32], in_features: usize, for_vectors: bool, workers: &Workers) -> Self {
        let rows = x.len() / in_features;
        let blocks_per_row = in_features.div_ceil(LINE_BYTES);
        let block_numbers = blocks_per_row * GROUPS_PER_LINE * BLOCK_ROWS;
        let numbers = rows.div_ceil(BLOCK_ROWS) * block_numbers;
        let (mut scales, mut totals) = (vec![0.0; numbers], vec![0.0; numbers]);
        let starts_length = if for_vectors { numbers } else { 0 };
        let mut starts = [const { Vec::new() }; 4];
        starts.fill_with(|| vec![0; starts_length]);
        let shared = (SharedMut::new(&mut scales), SharedMut::new(&mut totals));
        let shared_starts = starts.each_mut().map(|starts| SharedMut::new(starts));
        let fill = |blocks: Range<usize>, out| {
            let (from, count) = (blocks.start * block_numbers, blocks.len() * block_numbers);
            // SAFETY: each part has the numbers and lines of its own rows, and writes the lines whole.
            unsafe {
                workers.isa().dispatch(Quantize {
                    x,
                    in_features,
                    blocks_per_row,
                    rows: blocks.start * BLOCK_ROWS..blocks.end * BLOCK_ROWS,
                    scales: shared.0.slice(from, count),
                    totals: shared.1.slice(from, count),
                    starts: for_vectors
                        .then(|| shared_starts.each_ref().map(|starts| starts.slice(from, count))),
                    out,
                });
            }
        };
        // SAFETY: as above.
        let rows = unsafe { TileRows::new(rows, blocks_per_row, workers, &fill) };
        Self { rows, scales, starts, totals }
    }

    /// Where the number of a row's group lies.
    #[inline(always)]
    pub fn at(&self, row: usize, group: usize) -> usize {
        let groups = self.rows.blocks_per_row() * GROUPS_PER_LINE;
        (row / BLOCK_ROWS * groups + group) * BLOCK_ROWS + row % BLOCK_ROWS
    }
}

struct Quantize<'a> {
    x: &'a [f32],
    in_features: usize,
    blocks_per_row: usize,
    /// Whole row blocks, perhaps beyond the rows that exist.
    rows: Range<usize>,
    scales: &'a mut [f32],
    totals: &'a mut [f32],
    starts: Option<[&'a mut [i32]; 4]>,
    out: *mut Line,
}

impl Kernel for Quantize<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let k = self.in_features;
        let exist = self.x.len() / k;
        for (at, row) in self.rows.clone().enumerate() {
            let (block, line) = (at / BLOCK_ROWS, at % BLOCK_ROWS);
            for i in 0..self.blocks_per_row {
                let index = (block * self.blocks_per_row + i) * BLOCK_ROWS + line;
                // SAFETY: the line is one of the row block's; x is read where the row and the element exist.
                unsafe {
                    let to = self.out.add(index).cast::<u8>();
                    if row >= exist {
                        to.write_bytes(0, LINE_BYTES);
                        continue;
                    }
                    for half in 0..GROUPS_PER_LINE {
                        let element = i * LINE_BYTES + half * GROUP;
                        let from = self.x.as_ptr().add(row * k).wrapping_add(element);
                        let (scale, sums) =
                            quantize_group::<S>(from, k.saturating_sub(element), to.add(half * GROUP));
                        let number = (block * self.blocks_per_row + i) * GROUPS_PER_LINE + half;
                        self.note(number * BLOCK_ROWS + line, scale, sums);
                    }
                }
            }
        }
    }
}

impl Quantize<'_> {
    /// What is known of a group beside its bytes: the scale, and the sums of its first and second sixteen bytes.
    #[inline(always)]
    fn note(&mut self, number: usize, scale: f32, [first, second]: [i32; 2]) {
        self.scales[number] = scale;
        self.totals[number] = scale * (first + second) as f32;
        if let Some(starts) = &mut self.starts {
            starts[Start::Eight as usize][number] = -8 * (first + second);
            starts[Start::HalfByte as usize][number] = -128 * (first + second);
            starts[Start::ThirtyTwoFirst as usize][number] = -32 * first;
            starts[Start::ThirtyTwoSecond as usize][number] = -32 * second;
        }
    }
}

/// `count` floats, 32 at most, as a group of bytes; its scale, and the sums of each sixteen bytes.
#[inline(always)]
unsafe fn quantize_group<S: Simd>(from: *const f32, count: usize, to: *mut u8) -> (f32, [i32; 2]) {
    // SAFETY: only `count` floats are read; the caller vouches for 32 bytes and for the instruction set.
    unsafe {
        let zero = S::splat(0.0);
        let x = [
            load_some::<S>(from, count),
            load_some::<S>(from.wrapping_add(LANES), count.saturating_sub(LANES)),
        ];
        let magnitude = |x| S::max(x, S::sub(zero, x));
        let largest = S::max_lane(S::max(magnitude(x[0]), magnitude(x[1])));
        // 0, and NaN where an element is an infinity or none.
        let poison = S::sum(S::fma(x[0], zero, S::mul(x[1], zero)));
        let finite = poison == 0.0;
        let to_bytes = S::splat(if finite && largest > SMALLEST { 127.0 / largest } else { 0.0 });
        let mut sums = [0; 2];
        for half in 0..2 {
            let bytes = S::round(S::mul(x[half], to_bytes));
            S::store_signed(to.add(half * LANES), bytes);
            // Small integers: exact in f32, and 0 for NaN.
            sums[half] = S::sum(bytes) as i32;
        }
        (if finite { largest / 127.0 } else { f32::NAN }, sums)
    }
}
