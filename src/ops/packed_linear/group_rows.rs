//! Rows of x in signed bytes, quantised per group of 32 neighbours: scale = largest magnitude / 127, byte = x / scale
//! rounded to nearest even, in the blocks of `activations.rs`. For processors with VPDPBUSD.
//!
//! A group that holds an infinity or a NaN has a scale of NaN, which reaches all outputs of its row.

use std::arch::x86_64::{
    __m512i, _mm512_abs_ps, _mm512_add_epi32, _mm512_cvtepi32_epi8, _mm512_cvtps_epi32, _mm512_dpbusd_epi32,
    _mm512_fpclass_ps_mask, _mm512_maskz_loadu_ps, _mm512_max_ps, _mm512_mul_ps, _mm512_reduce_max_ps,
    _mm512_set1_epi8, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_shuffle_epi32,
};
use std::ops::Range;

use super::SMALLEST;
use super::activations::{BLOCK_ROWS, LINE_BYTES, Line, TileRows};
use crate::ops::Workers;
use crate::ops::parallel::SharedMut;
use crate::ops::simd::avx512::{DotKernel, run_byte_dot};
use crate::ops::simd::{LANES, peek, poke};

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
    ///
    /// # Safety
    /// The instruction set has products of bytes.
    pub unsafe fn new(x: &[f32], in_features: usize, for_vectors: bool, workers: &Workers) -> Self {
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
            // SAFETY: each part has the numbers and lines of its own rows, and writes the lines whole; the caller
            // vouches for the instructions.
            unsafe {
                run_byte_dot(Quantize {
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

impl DotKernel for Quantize<'_> {
    #[inline(always)]
    unsafe fn run(mut self) {
        let k = self.in_features;
        let exist = self.x.len() / k;
        for (at, row) in self.rows.clone().enumerate() {
            let (block, line) = (at / BLOCK_ROWS, at % BLOCK_ROWS);
            for i in 0..self.blocks_per_row {
                let index = (block * self.blocks_per_row + i) * BLOCK_ROWS + line;
                // SAFETY: the line is one of the row block's; x is read where the row exists.
                unsafe {
                    let to = self.out.add(index).cast::<u8>();
                    if row >= exist {
                        poke(to, _mm512_setzero_si512());
                        continue;
                    }
                    let from = self.x.as_ptr().add(row * k + i * LINE_BYTES);
                    let (scales, sums) = quantize_line(from, k - i * LINE_BYTES, to);
                    for (half, scale) in scales.into_iter().enumerate() {
                        let number = (block * self.blocks_per_row + i) * GROUPS_PER_LINE + half;
                        let number = number * BLOCK_ROWS + line;
                        let [first, second] = [sums[2 * half], sums[2 * half + 1]];
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
            }
        }
    }
}

/// `count` floats, 64 at most, as two groups of bytes; the groups' scales, and the sums of each sixteen bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn quantize_line(from: *const f32, count: usize, to: *mut u8) -> ([f32; 2], [i32; 4]) {
    const NOT_FINITE: i32 = 0x99;
    let mut x = [_mm512_setzero_ps(); 4];
    for (at, x) in x.iter_mut().enumerate() {
        let mask = ((1u32 << count.saturating_sub(at * LANES).min(LANES)) - 1) as u16;
        // SAFETY: only what the mask says is read.
        *x = unsafe { _mm512_maskz_loadu_ps(mask, from.wrapping_add(at * LANES)) };
    }
    let mut scales = [0.0; 2];
    for half in 0..2 {
        let pair = [x[2 * half], x[2 * half + 1]];
        let largest = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(pair[0]), _mm512_abs_ps(pair[1])));
        let odd =
            _mm512_fpclass_ps_mask::<NOT_FINITE>(pair[0]) | _mm512_fpclass_ps_mask::<NOT_FINITE>(pair[1]);
        let finite = odd == 0;
        let to_bytes = if finite && largest > SMALLEST { 127.0 / largest } else { 0.0 };
        scales[half] = if finite { largest / 127.0 } else { f32::NAN };
        for (at, x) in pair.into_iter().enumerate() {
            let bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(to_bytes))));
            // SAFETY: the caller vouches for 64 bytes.
            unsafe { poke(to.wrapping_add((2 * half + at) * LANES), bytes) };
        }
    }
    // SAFETY: written above.
    let bytes: __m512i = unsafe { peek(to.cast_const()) };
    let fours = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), bytes);
    let pairs = _mm512_add_epi32(fours, _mm512_shuffle_epi32::<0b10_11_00_01>(fours));
    let sums = _mm512_add_epi32(pairs, _mm512_shuffle_epi32::<0b01_00_11_10>(pairs));
    let mut lanes = [0i32; LANES];
    // SAFETY: sixteen lanes.
    unsafe { poke(lanes.as_mut_ptr(), sums) };
    (scales, [lanes[0], lanes[4], lanes[8], lanes[12]])
}
