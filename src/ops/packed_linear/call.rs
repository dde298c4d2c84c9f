//! One forward of packed weights, split over the threads.
//!
//! Work goes out in units of a few panels of one weight (for a gated unit: of both). A unit takes the rows in blocks, whose
//! sums rest in a scratch that stays in the second-level cache until `Finish` has taken them into the output.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use super::finish::{Finish, Then};
use super::gemm::{FULL_ROWS, Gemm};
use super::int8::{Int8Panels, IntegerSums, Scale};
use super::operand::Operand;
use super::{PANELS_MAX, PackedLinear, Panels};
#[cfg(target_arch = "x86_64")]
use super::{
    dot::{Bytes, Pairs, TileDot, VectorDot},
    grouped::{self, GroupDot},
    operand::{GROUP_TILE_ROWS_MIN, by_tiles},
};
#[cfg(target_arch = "x86_64")]
use crate::ops::aligned::Plain;
use crate::ops::parallel::{SharedMut, output, share};
use crate::ops::simd::LANES;
#[cfg(target_arch = "x86_64")]
use crate::ops::simd::avx512::{run_bf16_dot, run_byte_dot};
use crate::ops::{Activation, Workers};

/// Multiply-adds that are worth handing to a thread, some microseconds.
const PART_MULTIPLY_ADDS: usize = 1 << 17;
/// Parts a thread of an operation, so that a thread that was kept from running does not hold up all.
const PARTS_PER_THREAD: usize = 4;
/// Rows whose sums lie in the scratch at once.
const ROWS_MAX: usize = 128;
/// The same where tiles multiply: two blocks of sixteen, whose lines stay in the first-level cache from panel to panel.
const TILE_ROWS_MAX: usize = 32;
/// Rows that are a part of their own where there are many: their x stays in the second-level cache.
const PART_ROWS: usize = 1024;
/// Panels of a unit of few rows: as many streams as the processor fetches ahead well.
const FEW_ROWS_PANELS: usize = 4;
/// Rows of bytes from which on a tile is faster than vectors, though it takes the time of sixteen.
#[cfg(target_arch = "x86_64")]
const TILE_ROWS_MIN: usize = 5;

/// One forward of checked operands.
pub(super) struct Call<'a> {
    pub x: Operand<'a>,
    pub rows: usize,
    /// Of the output.
    pub width: usize,
    pub weights: &'a [Arc<PackedLinear>],
    pub join: Join,
    pub residual: Residual<'a>,
    /// Where the first weight's columns begin in the output.
    pub offset: usize,
    pub workers: &'a Workers,
}

/// How the weights' results make the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    /// They stand beside each other.
    SideBySide,
    /// The two weights are a gate and its `up`, and give one output.
    Gated(Activation),
    /// The one weight's first half of the columns, whole panels, is a gate and the second half its `up`.
    GatedHalves(Activation),
}

/// What the sums are added to.
#[derive(Clone, Copy)]
pub(super) enum Residual<'a> {
    None,
    /// Of the output's shape.
    Elements(&'a [f32]),
    /// What the output holds before.
    Output,
}

/// Sums of a few panels for a block of rows.
type Sums = std::mem::MaybeUninit<[f32; ROWS_MAX * PANELS_MAX * LANES]>;

impl Call<'_> {
    pub fn run(&self) -> Vec<f32> {
        // SAFETY: `run_into` writes every column of every row.
        unsafe { output(self.rows * self.width, |out| self.run_into(out)) }
    }

    /// Into `[rows, width]`.
    pub fn run_into(&self, out: &SharedMut<'_, f32>) {
        if self.rows == 0 {
            return;
        }
        let unit = self.unit_panels();
        let row_parts = self.rows.div_ceil(PART_ROWS).max(1);
        // Of all rows of some panels, one after the other.
        let units =
            |weight: &Arc<PackedLinear>| self.columns(weight).div_ceil(LANES).div_ceil(unit) * row_parts;
        // A gated unit takes the same panels of both weights, or halves.
        let dealt = if self.is_gated() { &self.weights[..1] } else { self.weights };
        let total: usize = dealt.iter().map(units).sum();
        let work: usize =
            self.rows * self.weights.iter().map(|w| w.in_features * w.out_features).sum::<usize>();
        let most = total.min(PARTS_PER_THREAD * self.workers.threads());
        let parts = (work / PART_MULTIPLY_ADDS).clamp(1, most.max(1));
        self.workers.run(parts, &|part| {
            let Range { start, end } = share(total, parts, part);
            let (mut first, mut offset) = (0, self.offset);
            for (index, weight) in dealt.iter().enumerate() {
                let count = units(weight);
                for at in start.max(first)..end.min(first + count) {
                    let from = (at - first) / row_parts * unit;
                    let panels = from..(from + unit).min(self.columns(weight).div_ceil(LANES));
                    let row = (at - first) % row_parts * PART_ROWS;
                    let rows = row..self.rows.min(row + PART_ROWS);
                    // SAFETY: the parts' units cover every column once, all of them inside the output.
                    unsafe { self.unit(index, panels, rows, offset, out) };
                }
                first += count;
                offset += weight.out_features;
            }
        });
    }

    fn is_gated(&self) -> bool {
        self.join != Join::SideBySide
    }

    fn takes_halves(&self) -> bool {
        matches!(self.join, Join::GatedHalves(_))
    }

    /// Columns of the output that a weight makes.
    fn columns(&self, weight: &PackedLinear) -> usize {
        if self.takes_halves() { weight.out_features / 2 } else { weight.out_features }
    }

    /// Panels of a unit: what the kernels like best, by the instruction set and the rows.
    fn unit_panels(&self) -> usize {
        let isa = self.workers.isa();
        if self.rows > TILE_ROWS_MAX && self.by_tiles() {
            PANELS_MAX
        } else if self.is_gated() {
            2
        } else if self.rows <= isa.few_rows() {
            FEW_ROWS_PANELS
        } else if self.rows >= FULL_ROWS && self.by_lanes() {
            isa.gemm_panels()
        } else {
            isa.tile_panels()
        }
    }

    /// Whether `Gemm` multiplies all weights.
    fn by_lanes(&self) -> bool {
        let isa = self.workers.isa();
        self.weights.iter().all(|weight| match weight.panels {
            Panels::F32(_) => true,
            Panels::Bf16(_) => !isa.has_bf16_dot(),
            Panels::F64(_) | Panels::Int8(_) | Panels::Blocks { .. } => false,
        })
    }

    /// Whether all weights are multiplied by tiles whose sums leave them at the end of a row.
    fn by_tiles(&self) -> bool {
        self.workers.isa().has_tiles()
            && self.weights.iter().all(|weight| matches!(weight.panels, Panels::Bf16(_) | Panels::Int8(_)))
    }

    /// Rows whose sums are taken at once.
    fn rows_at_once(&self) -> usize {
        if self.by_tiles() {
            TILE_ROWS_MAX
        } else if self.weights.iter().any(|weight| matches!(weight.panels, Panels::Int8(_))) {
            // The sums of a row are in two parts.
            ROWS_MAX / 2
        } else {
            ROWS_MAX
        }
    }

    /// Some rows of some panels of a weight, whose columns begin at `offset` in the output.
    unsafe fn unit(
        &self,
        index: usize,
        panels: Range<usize>,
        rows: Range<usize>,
        offset: usize,
        out: &SharedMut<'_, f32>,
    ) {
        let (mut sums, mut up_sums) = (Sums::uninit(), Sums::uninit());
        let sums = sums.as_mut_ptr().cast::<f32>();
        let weight = &*self.weights[index];
        let columns = self.columns(weight);
        let at_once = self.rows_at_once();
        for start in rows.clone().step_by(at_once) {
            let rows = start..rows.end.min(start + at_once);
            self.multiply(weight, panels.clone(), rows.clone(), sums);
            let then = match (self.join, self.residual) {
                (Join::Gated(activation) | Join::GatedHalves(activation), _) => {
                    let (up, first) =
                        if self.takes_halves() { (weight, columns) } else { (&*self.weights[1], 0) };
                    let up_panels = panels.start + first / LANES..panels.end + first / LANES;
                    let sums = up_sums.as_mut_ptr().cast::<f32>();
                    self.multiply(up, up_panels, rows.clone(), sums);
                    let up_bias = up.bias.as_deref().map(|bias| &bias[first..]);
                    Then::Gate { activation, up: sums, up_bias }
                }
                (Join::SideBySide, Residual::Elements(residual)) => Then::Add(residual),
                (Join::SideBySide, Residual::Output) => Then::AddTo,
                (Join::SideBySide, Residual::None) => Then::Keep,
            };
            let finish = Finish {
                sums,
                rows,
                columns: panels.start * LANES..columns.min(panels.end * LANES),
                bias: weight.bias.as_deref(),
                then,
                out: out.start(),
                stride: self.width,
                offset,
            };
            // SAFETY: the sums are of these rows and columns, which are inside the output and this unit's alone.
            unsafe { self.workers.isa().dispatch(finish) };
        }
    }

    /// The sums of rows from a multiple of sixteen on and a few panels into `out`, `[ROWS_MAX, PANELS_MAX * 16]`.
    fn multiply(&self, weight: &PackedLinear, panels: Range<usize>, rows: Range<usize>, out: *mut f32) {
        let isa = self.workers.isa();
        let in_features = weight.in_features;
        match (&weight.panels, &self.x) {
            (Panels::Int8(int8), _) => {
                return self.multiply_int8(int8, in_features, panels, rows, out);
            }
            #[cfg(target_arch = "x86_64")]
            (Panels::Bf16(weight), Operand { bf16: Some(x), .. }) => {
                let weight = as_bytes(weight);
                let dot =
                    VectorDot { product: PhantomData::<Pairs>, x, rows, starts: None, weight, panels, out };
                // SAFETY: x was rounded, so the instruction set has the products, and tiles where it says so; the
                // panels and rows are there, and `out` takes whole blocks of them.
                return unsafe {
                    if isa.has_tiles() { run_bf16_dot(TileDot(dot)) } else { run_bf16_dot(dot) }
                };
            }
            #[cfg(target_arch = "x86_64")]
            (&Panels::Blocks { format, ref bytes }, Operand { groups: Some(x), .. })
                if grouped::multiplies(format) =>
            {
                let tiles = by_tiles(self.rows, GROUP_TILE_ROWS_MIN, isa);
                let dot = GroupDot { x, rows, in_features, weight: bytes, panels, out };
                // SAFETY: x was quantised, so the instruction set has the products; as above.
                return unsafe { dot.run(format, isa, tiles) };
            }
            _ => {}
        }
        let x = &self.x.floats[rows.start * in_features..rows.end * in_features];
        // SAFETY: the panels and rows are there, and `out` takes them.
        unsafe { isa.dispatch(Gemm { x, in_features, weight: &weight.panels, panels, out }) };
    }

    /// `multiply` for int8 panels: integers by the instruction that is fastest for so many rows, then the scales.
    fn multiply_int8(
        &self,
        weight: &Int8Panels,
        in_features: usize,
        panels: Range<usize>,
        rows: Range<usize>,
        out: *mut f32,
    ) {
        let isa = self.workers.isa();
        let column_scales = &weight.scales[panels.start * LANES..panels.end * LANES];
        let row_scales = match &self.x {
            #[cfg(target_arch = "x86_64")]
            Operand { bytes: Some(x), .. } => {
                let dot = VectorDot {
                    product: PhantomData::<Bytes>,
                    x: &x.rows,
                    rows: 2 * rows.start..2 * rows.end,
                    starts: Some(x.starts.as_slice()),
                    weight: as_bytes(&weight.bytes),
                    panels,
                    out,
                };
                let tiles = by_tiles(2 * self.rows, TILE_ROWS_MIN, isa);
                // SAFETY: x was cut into bytes, so the set has the products, and tiles where it says so; the panels and
                // rows are there, and `out` takes whole blocks of them.
                unsafe { if tiles { run_byte_dot(TileDot(dot)) } else { run_byte_dot(dot) } };
                &x.scales[rows]
            }
            Operand { words: Some(x), .. } => {
                let sums = IntegerSums {
                    x,
                    rows: rows.clone(),
                    in_features,
                    weight: &weight.bytes,
                    panels,
                    out: out.cast(),
                };
                // SAFETY: the panels and rows are there, and `out` takes two rows for each.
                unsafe { isa.dispatch(sums) };
                &x.scales[rows]
            }
            _ => unreachable!("x is quantised for a weight in int8"),
        };
        // SAFETY: the sums of these rows and panels were written above.
        unsafe { isa.dispatch(Scale { row_scales, column_scales, sums: out }) };
    }
}

/// The memory of a panel's elements.
#[cfg(target_arch = "x86_64")]
fn as_bytes<T: Plain>(elements: &[T]) -> &[u8] {
    // SAFETY: plain elements have no padding, and every byte is a value.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
}

impl PackedLinear {
    /// Whether x is quantised to a byte a group of 32 for this weight.
    pub(super) fn multiplies_groups(&self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.workers.isa().multiplies_bytes()
            && matches!(self.panels, Panels::Blocks { format, .. } if grouped::multiplies(format));
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// Whether x is rounded to bf16 for this weight.
    pub(super) fn multiplies_bf16(&self) -> bool {
        matches!(self.panels, Panels::Bf16(_)) && self.workers.isa().has_bf16_dot()
    }
}
