//! Block weights times rows in bytes, each group of 32 with its scales: exact integer sums of a group, then a chain in
//! f32 over the groups, ascending: fma(sum as f32, weight's scale * x's scale, chain), and where the format has
//! minimums fma(minimum, x's scale * x's sum, chain). By vectors of AVX2 or VNNI, and for many rows by AMX.
//!
//! Integers are exact and the chain is one and the same, so vectors and tiles, and all batches, give the same bits.
//! The result differs from x times the widened weight by the rounding of x: at most half a step, a group's largest
//! |x| / 254, times |w|.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_sub_epi8,
};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::PANELS_MAX;
use super::activations::{BLOCK_ROWS, LINE_BYTES};
use super::blocks::BlockFormat;
use super::byte_lanes::{Avx2Lanes, ByteLanes, VECTORS, VnniLanes, prefetch};
use super::group_rows::{GROUP, GroupRows};
use super::quants::{Columns, Int8x64, Q4_0, Q4_1, Q4K, Q5K, Q6K, Q8_0, Quants};
use crate::ops::Isa;
use crate::ops::simd::DotKernel;
use crate::ops::simd::amx::{Depth, Tiles};
use crate::ops::simd::avx512::run_byte_dot;
use crate::ops::simd::{LANES, peek, poke, unroll};

const OUT_STRIDE: usize = PANELS_MAX * LANES;
/// Bytes of a group's vectors.
const GROUP_BYTES: usize = VECTORS * 64;
/// Groups that are unpacked for tiles at once: whole blocks of every format, and little enough for the first cache.
const CHUNK_GROUPS: usize = 16;
/// Products whose sums have not joined their chains yet, at most.
const IN_FLIGHT: usize = 4;

/// Some rows of x times some panels.
pub struct GroupDot<'a> {
    pub x: &'a GroupRows,
    /// From a multiple of sixteen on.
    pub rows: Range<usize>,
    pub in_features: usize,
    pub weight: &'a [u8],
    /// At most `PANELS_MAX`.
    pub panels: Range<usize>,
    /// Takes `[rows, PANELS_MAX * 16]` in whole blocks of sixteen rows, of which the kernel writes the columns of its
    /// panels.
    pub out: *mut f32,
}

/// Whether the kernels here know the format.
pub fn multiplies(format: BlockFormat) -> bool {
    !matches!(format, BlockFormat::F16 | BlockFormat::Q5_0 | BlockFormat::Q5_1)
}

impl GroupDot<'_> {
    /// Multiplies by the kernel of the format, by tiles or by the set's vectors.
    ///
    /// # Safety
    /// The set `multiplies_bytes`, and has tiles if they are asked for; `multiplies(format)`; x, the weight and `out`
    /// are as long as the fields say.
    pub unsafe fn run(self, format: BlockFormat, isa: Isa, tiles: bool) {
        // SAFETY: the caller's word.
        unsafe {
            match format {
                BlockFormat::Q4_0 => self.run_format::<Q4_0>(isa, tiles),
                BlockFormat::Q4_1 => self.run_format::<Q4_1>(isa, tiles),
                BlockFormat::Q8_0 => self.run_format::<Q8_0>(isa, tiles),
                BlockFormat::Int8x64 => self.run_format::<Int8x64>(isa, tiles),
                BlockFormat::Q4K => self.run_format::<Q4K>(isa, tiles),
                BlockFormat::Q5K => self.run_format::<Q5K>(isa, tiles),
                BlockFormat::Q6K => self.run_format::<Q6K>(isa, tiles),
                BlockFormat::F16 | BlockFormat::Q5_0 | BlockFormat::Q5_1 => {
                    unreachable!("these formats are widened")
                }
            }
        }
    }

    unsafe fn run_format<W: Quants>(self, isa: Isa, tiles: bool) {
        // SAFETY: the caller's word.
        unsafe {
            if tiles {
                run_byte_dot(ByTiles::<W>(self, PhantomData));
            } else if isa.has_byte_dot() {
                self.by_vectors::<W, VnniLanes>();
            } else {
                self.by_vectors::<W, Avx2Lanes>();
            }
        }
    }

    unsafe fn by_vectors<W: Quants, L: ByteLanes>(&self) {
        for panel in 0..self.panels.len() {
            let mut row = 0;
            while row < self.rows.len() {
                // SAFETY: the tile's rows lie in one block of sixteen, since they start at a multiple of their number.
                unsafe {
                    row += match self.rows.len() - row {
                        8.. if L::ROWS >= 8 => self.tile::<W, L, 8>(row, panel),
                        4.. => self.tile::<W, L, 4>(row, panel),
                        2.. => self.tile::<W, L, 2>(row, panel),
                        _ => self.tile::<W, L, 1>(row, panel),
                    };
                }
            }
        }
    }

    /// R rows of one block by a panel; returns R.
    unsafe fn tile<W: Quants, L: ByteLanes, const R: usize>(&self, row: usize, panel: usize) -> usize {
        for part in 0..L::PARTS {
            let tile = VectorTile::<W, L, R> { dot: self, row, panel, part, kinds: PhantomData };
            // SAFETY: the caller's word.
            unsafe { L::call(tile) };
        }
        R
    }

    /// Groups of a row of the weight; x has as many or more.
    fn groups<W: Quants>(&self) -> usize {
        self.in_features.div_ceil(W::FORMAT.block_size()) * W::GROUPS
    }

    fn panel<W: Quants>(&self, index: usize) -> *const u8 {
        let length = W::FORMAT.row_bytes(self.in_features) * LANES;
        self.weight[(self.panels.start + index) * length..][..length].as_ptr()
    }
}

/// R rows of one block, from the dot's row `row` on, by a part of a panel.
struct VectorTile<'a, W, L, const R: usize> {
    dot: &'a GroupDot<'a>,
    row: usize,
    panel: usize,
    part: usize,
    kinds: PhantomData<(W, L)>,
}

impl<W: Quants, L: ByteLanes, const R: usize> DotKernel for VectorTile<'_, W, L, R> {
    #[inline(always)]
    unsafe fn run(self) {
        let Self { dot, row, panel, part, .. } = self;
        let first = dot.rows.start + row;
        let x = dot.x.rows.row_block(first / BLOCK_ROWS).wrapping_add(first % BLOCK_ROWS * LINE_BYTES);
        let numbers = dot.x.at(first, 0);
        let scales = dot.x.scales.as_ptr().wrapping_add(numbers);
        let totals = dot.x.totals.as_ptr().wrapping_add(numbers);
        let counts = W::KIND.bits.is_some() || L::SHIFTS_SIGNED;
        let starts = W::STARTS.map(|start| match start {
            Some(start) if counts => dot.x.starts[start as usize][numbers..].as_ptr(),
            _ => std::ptr::null(),
        });
        let block_bytes = W::FORMAT.block_bytes() * LANES;
        let mut block = dot.panel::<W>(panel);
        // SAFETY: the caller vouches for R rows of x, the panel, the processor and `out`.
        unsafe {
            let mut chains = [L::zero(); R];
            for start in (0..dot.groups::<W>()).step_by(W::GROUPS) {
                for within in 0..W::GROUPS {
                    let group = start + within;
                    if R == 1 && part == 0 {
                        let bytes = block_bytes / W::GROUPS;
                        prefetch(block.wrapping_add(within * bytes), bytes);
                    }
                    let columns = Columns::<L>::new(block, part);
                    let w = W::quants(columns, within);
                    let w_scales = W::scales(columns, within);
                    let x = x.wrapping_add(group / 2 * (BLOCK_ROWS * LINE_BYTES) + group % 2 * GROUP);
                    let number = group * BLOCK_ROWS;
                    let mut begin = [[0; 2]; R];
                    unroll!(r < R, {
                        begin[r] = starts.map(|start| {
                            if start.is_null() { 0 } else { peek(start.wrapping_add(number + r)) }
                        });
                    });
                    let sums = L::sums(W::KIND, &w, x, begin);
                    unroll!(r < R, {
                        let x_scale = peek(scales.wrapping_add(number + r));
                        if W::KIND.halves {
                            chains[r] = L::link(sums[r][0], w_scales.scales[0], x_scale, chains[r]);
                            chains[r] = L::link(sums[r][1], w_scales.scales[1], x_scale, chains[r]);
                        } else {
                            let sum = L::add(sums[r][0], sums[r][1]);
                            chains[r] = L::link(sum, w_scales.scales[0], x_scale, chains[r]);
                        }
                        if W::MINIMUM {
                            let total = peek(totals.wrapping_add(number + r));
                            chains[r] = L::fma(w_scales.minimum, total, chains[r]);
                        }
                    });
                }
                block = block.wrapping_add(block_bytes);
            }
            unroll!(r < R, {
                let at = (row + r) * OUT_STRIDE + panel * LANES + part * L::COLUMNS;
                L::store_floats(dot.out.wrapping_add(at), chains[r]);
            });
        }
    }
}

/// The chain with one more group.
#[inline]
#[target_feature(enable = "avx512f")]
fn link(sum: __m512i, w_scale: __m512, x_scale: __m512, chain: __m512) -> __m512 {
    _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(w_scale, x_scale), chain)
}

struct ByTiles<'a, W>(GroupDot<'a>, PhantomData<W>);

/// A chunk of a panel: signed quants as right-hand tiles, and scales.
#[repr(C, align(64))]
struct Unpacked {
    quants: [[u8; GROUP_BYTES]; CHUNK_GROUPS],
    /// One a step of the tiles: a group, or half of one.
    scales: [[f32; LANES]; 2 * CHUNK_GROUPS],
    minimums: [[f32; LANES]; CHUNK_GROUPS],
}

impl<W: Quants> DotKernel for ByTiles<'_, W> {
    #[inline(always)]
    unsafe fn run(self) {
        let dot = self.0;
        let mut unpacked = MaybeUninit::<Unpacked>::uninit();
        let unpacked = unpacked.as_mut_ptr();
        let groups = dot.groups::<W>();
        let blocks = dot.rows.start / BLOCK_ROWS..dot.rows.end.div_ceil(BLOCK_ROWS);
        // SAFETY: the caller vouches for tiles, x, the weight and `out`; no other kernel runs on this thread.
        unsafe {
            let tiles = Tiles::configure_depth(if W::KIND.halves { Depth::Bytes16 } else { Depth::Bytes32 });
            for start in (0..groups).step_by(CHUNK_GROUPS) {
                let count = CHUNK_GROUPS.min(groups - start);
                for panel in 0..dot.panels.len() {
                    let from = start / W::GROUPS * W::FORMAT.block_bytes() * LANES;
                    unpack::<W>(dot.panel::<W>(panel).wrapping_add(from), count, unpacked);
                    for block in blocks.clone() {
                        let out = (block - blocks.start) * BLOCK_ROWS * OUT_STRIDE + panel * LANES;
                        row_block::<W>(
                            &tiles,
                            dot.x,
                            block,
                            start..start + count,
                            unpacked,
                            dot.out.add(out),
                        );
                    }
                }
            }
        }
    }
}

/// `count` groups, of whole blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
#[inline(never)]
unsafe fn unpack<W: Quants>(mut block: *const u8, count: usize, out: *mut Unpacked) {
    for start in (0..count).step_by(W::GROUPS) {
        for within in 0..W::GROUPS {
            // SAFETY: the caller vouches for the blocks, and for room in `out`.
            unsafe {
                let bytes = W::FORMAT.block_bytes() * LANES / W::GROUPS;
                prefetch(block.wrapping_add(within * bytes), bytes);
                let group = start + within;
                let quants = (&raw mut (*out).quants).cast::<u8>().wrapping_add(group * GROUP_BYTES);
                let columns = Columns::<VnniLanes>::new(block, 0);
                let w = W::quants(columns, within);
                unroll!(q < VECTORS, {
                    let signed = _mm512_sub_epi8(w[q], _mm512_set1_epi8(W::OFFSET as i8));
                    poke(quants.wrapping_add(q * 64), signed);
                });
                let scales = W::scales(columns, within);
                let to = (&raw mut (*out).scales).cast::<[f32; LANES]>();
                if W::KIND.halves {
                    poke(to.wrapping_add(2 * group), scales.scales[0]);
                    poke(to.wrapping_add(2 * group + 1), scales.scales[1]);
                } else {
                    poke(to.wrapping_add(group), scales.scales[0]);
                }
                if W::MINIMUM {
                    let to = (&raw mut (*out).minimums).cast::<[f32; LANES]>();
                    poke(to.wrapping_add(group), scales.minimum);
                }
            }
        }
        block = block.wrapping_add(W::FORMAT.block_bytes() * LANES);
    }
}

/// Integer sums of sixteen rows by a panel.
#[repr(C, align(64))]
struct TileSums([[i32; LANES]; BLOCK_ROWS]);

/// Sixteen rows by a panel over some groups, from an even one on, whose chains rest in `out` before and after.
///
/// The products of the next steps are on their way while the sums of this one join the chains: what a tile stores can
/// be loaded only a good while later.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
#[inline(never)]
unsafe fn row_block<W: Quants>(
    tiles: &Tiles,
    x: &GroupRows,
    block: usize,
    groups: Range<usize>,
    w: *const Unpacked,
    out: *mut f32,
) {
    let per_group = if W::KIND.halves { 2 } else { 1 };
    let depth = GROUP / per_group;
    let steps = groups.len() * per_group;
    let bytes = x.rows.row_block(block).wrapping_add(groups.start / 2 * BLOCK_ROWS * LINE_BYTES);
    let numbers = x.at(block * BLOCK_ROWS, groups.start);
    let (x_scales, totals) = (x.scales[numbers..].as_ptr(), x.totals[numbers..].as_ptr());
    let mut sums = MaybeUninit::<[TileSums; IN_FLIGHT]>::uninit();
    let sums = sums.as_mut_ptr().cast::<TileSums>();
    // SAFETY: the caller vouches for the rows, the unpacked groups, `out` and the tiles.
    unsafe {
        let quants = (&raw const (*w).quants).cast::<u8>();
        macro_rules! multiply {
            ($step:expr, $c:literal, $a:literal, $b:literal) => {
                let at = $step.wrapping_mul(depth);
                let x = bytes.wrapping_add((at / LINE_BYTES).wrapping_mul(BLOCK_ROWS * LINE_BYTES));
                tiles.zero::<$c>();
                tiles.load::<$a>(x.wrapping_add(at % LINE_BYTES), LINE_BYTES);
                tiles.load::<$b>(quants.wrapping_add(at.wrapping_mul(LANES)), 64);
                tiles.dot_i8::<$c, $a, $b>();
                tiles.store::<$c>(sums.wrapping_add($c).cast(), 64);
            };
        }
        let mut chains = [_mm512_setzero_ps(); BLOCK_ROWS];
        if groups.start > 0 {
            unroll!(r < BLOCK_ROWS, {
                chains[r] = peek(out.wrapping_add(r * OUT_STRIDE));
            });
        }
        // Links a step to the chains, after sending the third step after it on its way.
        macro_rules! link_step {
            ($step:expr, $sums:literal, $c:literal, $a:literal, $b:literal) => {
                let step: usize = $step;
                if step + 3 < steps {
                    multiply!((step + 3), $c, $a, $b);
                }
                if step < steps {
                    let group = step / per_group;
                    let w_scale: __m512 =
                        peek((&raw const (*w).scales).cast::<[f32; LANES]>().wrapping_add(step));
                    let x_scales = x_scales.wrapping_add(group.wrapping_mul(BLOCK_ROWS));
                    let sums = sums.wrapping_add($sums).cast_const().cast::<[i32; LANES]>();
                    unroll!(r < BLOCK_ROWS, {
                        let x_scale = _mm512_set1_ps(peek(x_scales.wrapping_add(r)));
                        chains[r] = link(peek(sums.wrapping_add(r)), w_scale, x_scale, chains[r]);
                    });
                    if W::MINIMUM {
                        let minimum: __m512 =
                            peek((&raw const (*w).minimums).cast::<[f32; LANES]>().wrapping_add(group));
                        let totals = totals.wrapping_add(group.wrapping_mul(BLOCK_ROWS));
                        unroll!(r < BLOCK_ROWS, {
                            let total = _mm512_set1_ps(peek(totals.wrapping_add(r)));
                            chains[r] = _mm512_fmadd_ps(minimum, total, chains[r]);
                        });
                    }
                }
            };
        }
        multiply!(0usize, 0, 4, 6);
        if steps > 1 {
            multiply!(1usize, 1, 5, 7);
        }
        if steps > 2 {
            multiply!(2usize, 2, 4, 6);
        }
        for first in (0..steps).step_by(4) {
            link_step!(first, 0, 3, 5, 7);
            link_step!(first + 1, 1, 0, 4, 6);
            link_step!(first + 2, 2, 1, 5, 7);
            link_step!(first + 3, 3, 2, 4, 6);
        }
        unroll!(r < BLOCK_ROWS, {
            poke(out.wrapping_add(r * OUT_STRIDE), chains[r]);
        });
    }
}
