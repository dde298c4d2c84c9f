//! The candle operations on packed weights: one, several side by side on one x, one added to a residual, and
//! SwiGLU's gate and up.
//!
//! Work goes out in units of a few panels of one weight (for SwiGLU: of both). A unit takes the rows in blocks, whose
//! sums rest in a scratch that stays in the second-level cache until `Finish` has taken them into the output.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};

use super::backward::{Term, input_gradient};
use super::finish::{Finish, Then};
use super::gemm::Gemm;
use super::int8::{Int8Panels, IntegerSums, Scale};
use super::operand::Operand;
use super::{Norm, PANELS_MAX, PackedLinear, Panels, doubles};
#[cfg(target_arch = "x86_64")]
use super::{
    dot::{Bytes, Pairs, TileDot, VectorDot},
    grouped::{self, GroupDot},
    operand::{GROUP_TILE_ROWS_MIN, by_tiles},
};
#[cfg(target_arch = "x86_64")]
use crate::ops::aligned::Plain;
use crate::ops::parallel::{SharedMut, output, share};
use crate::ops::rows::{contiguous, contiguous_f32, elements};
use crate::ops::simd::LANES;
#[cfg(target_arch = "x86_64")]
use crate::ops::simd::avx512::{run_bf16_dot, run_byte_dot};
use crate::ops::tape::{self, Keeps, apply1, apply2, is_tracked};
use crate::ops::{OpsError, Workers, rms_norm, shape_error, swiglu};

const OP: &str = "packed_linear";
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

/// `x W^T + b`: x f32 `[tokens, in_features]`, result f32 `[tokens, out_features]`.
pub fn linear(x: &Tensor, weight: &Arc<PackedLinear>) -> Result<Tensor> {
    linears(x, &[weight])
}

/// `x W^T + b` of several weights on one x, side by side: f32 `[tokens, sum of out_features]`.
pub fn linears(x: &Tensor, weights: &[&Arc<PackedLinear>]) -> Result<Tensor> {
    let keeps = keeps(weights);
    let weights = weights.iter().map(|&weight| Arc::clone(weight)).collect();
    apply1(&tape::contiguous(x)?, Linears(Weights::SideBySide(weights)), keeps)
}

/// `linears` of `rms_norm(x, norm, eps)`, bit for bit, without the normed rows between them where it can be done so.
pub fn normed_linears(x: &Tensor, norm: &Tensor, eps: f32, weights: &[&Arc<PackedLinear>]) -> Result<Tensor> {
    if is_tracked(x) || is_tracked(norm) || x.dtype() == DType::F64 {
        return linears(&normed(x, norm, eps, weights)?, weights);
    }
    let weights = weights.iter().map(|&weight| Arc::clone(weight)).collect();
    let op = NormedLinears { linears: Linears(Weights::SideBySide(weights)), eps };
    apply2(&tape::contiguous(x)?, &tape::contiguous(norm)?, op, Keeps::NOTHING)
}

/// The norm that the weights have in common, as an operation of its own: its result is what their gradients need.
fn normed(x: &Tensor, norm: &Tensor, eps: f32, weights: &[&Arc<PackedLinear>]) -> Result<Tensor> {
    match weights.first() {
        Some(weight) => rms_norm(x, norm, eps, &weight.workers),
        None => Ok(x.clone()),
    }
}

/// `gated_linear` of `rms_norm(x, norm, eps)`, bit for bit.
pub fn normed_gated_linear(
    x: &Tensor,
    norm: &Tensor,
    eps: f32,
    gate: &Arc<PackedLinear>,
    up: &Arc<PackedLinear>,
) -> Result<Tensor> {
    if is_tracked(x) || is_tracked(norm) || x.dtype() == DType::F64 {
        return gated_linear(&normed(x, norm, eps, &[gate])?, gate, up);
    }
    let weights = Weights::Gated { gate: Arc::clone(gate), up: Arc::clone(up) };
    let op = NormedLinears { linears: Linears(weights), eps };
    apply2(&tape::contiguous(x)?, &tape::contiguous(norm)?, op, Keeps::NOTHING)
}

/// `residual + (x W^T + b)`, the residual f32 `[tokens, out_features]`.
pub fn linear_add(x: &Tensor, weight: &Arc<PackedLinear>, residual: &Tensor) -> Result<Tensor> {
    let op = Linears(Weights::SideBySide(vec![Arc::clone(weight)]));
    apply2(&tape::contiguous(x)?, &tape::contiguous(residual)?, op, keeps(&[weight]))
}

/// `silu(x Wg^T + bg) * (x Wu^T + bu)`: f32 `[tokens, out_features]`, the two weights of one shape.
pub fn gated_linear(x: &Tensor, gate: &Arc<PackedLinear>, up: &Arc<PackedLinear>) -> Result<Tensor> {
    if is_tracked(x) || x.dtype() == DType::F64 {
        // Both results are what the gradients need, and computing them again would cost two products.
        return swiglu(&linear(x, gate)?, &linear(x, up)?, &gate.workers);
    }
    let op = Linears(Weights::Gated { gate: Arc::clone(gate), up: Arc::clone(up) });
    apply1(&tape::contiguous(x)?, op, Keeps::NOTHING)
}

/// The gradient of a weight needs x; that of x does not.
fn keeps(weights: &[&Arc<PackedLinear>]) -> Keeps {
    Keeps { operands: weights.iter().any(|weight| weight.is_trainable()), result: false }
}

/// `x W^T + b` of rows that are no tensor: x `[rows, in_features]`; `[rows, out_features]`.
pub(in crate::ops) fn product(x: &[f32], rows: usize, weight: &Arc<PackedLinear>) -> Result<Vec<f32>> {
    let op = Linears(Weights::SideBySide(vec![Arc::clone(weight)]));
    op.forward(x, &Shape::from((rows, weight.in_features)), None, None).map(|(y, _)| y)
}

/// The results of several weights on one x, beside each other, added to a residual of their shape.
pub(super) fn side_by_side(
    x: &[f32],
    x_shape: &Shape,
    weights: Vec<Arc<PackedLinear>>,
    residual: Option<(&[f32], &Shape)>,
) -> Result<(Vec<f32>, Shape)> {
    Linears(Weights::SideBySide(weights)).forward(x, x_shape, residual, None)
}

/// Adds `x W^T + b` to some columns of y `[rows, width]`: those from `offset` on, as many as the weight has outputs.
pub(super) fn add_product(
    x: &[f32],
    rows: usize,
    weight: &Arc<PackedLinear>,
    y: &mut [f32],
    width: usize,
    offset: usize,
) -> Result<()> {
    let weights = std::slice::from_ref(weight);
    check(weights, false, &Shape::from((rows, x.len() / rows.max(1))))?;
    if y.len() != rows * width || offset + weight.out_features > width {
        let detail = format!("{} columns from {offset} on are not in [{rows}, {width}]", weight.out_features);
        return Err(shape_error(OP, detail));
    }
    let call = Call {
        x: Operand::new(x, rows, weights, None, &weight.workers),
        rows,
        width,
        weights,
        gated: false,
        residual: Residual::Output,
        offset,
        workers: &weight.workers,
    };
    call.run_into(&SharedMut::new(y));
    Ok(())
}

struct Linears(Weights);

enum Weights {
    SideBySide(Vec<Arc<PackedLinear>>),
    Gated { gate: Arc<PackedLinear>, up: Arc<PackedLinear> },
}

impl CustomOp1 for Linears {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        if let CpuStorage::F64(_) = storage {
            return self.forward_f64(contiguous(OP, "x", storage, layout)?, layout.shape(), None);
        }
        let (y, shape) =
            self.forward(contiguous_f32(OP, "x", storage, layout)?, layout.shape(), None, None)?;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        self.backward(x, gradient).map(Some)
    }
}

/// Linears of x after a norm, whose weight is the second operand.
struct NormedLinears {
    linears: Linears,
    eps: f32,
}

impl CustomOp2 for NormedLinears {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        norm: &CpuStorage,
        norm_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = contiguous_f32(OP, "x", x, x_layout)?;
        let weight = contiguous_f32(OP, "norm", norm, norm_layout)?;
        let (x_shape, norm_shape) = (x_layout.shape().dims(), norm_layout.shape().dims());
        if x_shape.last() != Some(&weight.len()) || norm_shape.len() != 1 {
            let detail = format!("a norm of shape {norm_shape:?} does not fit x of shape {x_shape:?}");
            return Err(shape_error(OP, detail));
        }
        let norm = Some(Norm { weight, eps: self.eps });
        let (y, shape) = self.linears.forward(x, x_layout.shape(), None, norm)?;
        Ok((CpuStorage::F32(y), shape))
    }
}

impl CustomOp2 for Linears {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        if let CpuStorage::F64(_) = x {
            let residual = contiguous(OP, "residual", residual, residual_layout)?;
            return self.forward_f64(contiguous(OP, "x", x, x_layout)?, x_layout.shape(), Some(residual));
        }
        let x = contiguous_f32(OP, "x", x, x_layout)?;
        let elements = contiguous_f32(OP, "residual", residual, residual_layout)?;
        let residual = Some((elements, residual_layout.shape()));
        let (y, shape) = self.forward(x, x_layout.shape(), residual, None)?;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(self.backward(x, gradient)?), Some(gradient.clone())))
    }
}

impl Linears {
    /// The gradient of x; those of trainable weights are added to theirs.
    fn backward(&self, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let Weights::SideBySide(weights) = &self.0 else {
            return Err(candle_core::Error::BackwardNotSupported { op: "gated_linear" });
        };
        if weights.is_empty() {
            return x.zeros_like();
        }
        if gradient.dtype() == DType::F64 {
            let values = |x: &Tensor| x.flatten_all()?.to_vec1::<f64>();
            let dx = doubles::backward(weights, &values(x)?, &values(gradient)?, gradient.dim(0)?)?;
            return Tensor::from_vec(dx, x.shape(), x.device());
        }
        let dy = elements(gradient)?;
        if weights.iter().any(|weight| weight.is_trainable()) {
            let x = elements(x)?;
            let (width, mut offset) = (weights.iter().map(|weight| weight.out_features).sum(), 0);
            for weight in weights {
                weight.accumulate(&x, &dy, width, offset).map_err(candle_core::Error::wrap)?;
                offset += weight.out_features;
            }
        }
        let (width, mut offset) = (gradient.dim(1)?, 0);
        let terms = weights.iter().map(|weight| {
            let term = Term { weight, dy: &dy, width, offset };
            offset += weight.out_features;
            term
        });
        let gradient = input_gradient(&terms.collect::<Vec<_>>(), x.dim(0)?)?;
        Tensor::from_vec(gradient, x.shape(), x.device())
    }

    fn forward_f64(
        &self,
        x: &[f64],
        x_shape: &Shape,
        residual: Option<&[f64]>,
    ) -> Result<(CpuStorage, Shape)> {
        let Weights::SideBySide(weights) = &self.0 else {
            return Err(shape_error(OP, "gate and up are multiplied in f32 alone"));
        };
        let (rows, width) = check(weights, false, x_shape)?;
        Ok((CpuStorage::F64(doubles::forward(weights, x, rows, residual)?), Shape::from((rows, width))))
    }

    fn forward(
        &self,
        x: &[f32],
        x_shape: &Shape,
        residual: Option<(&[f32], &Shape)>,
        norm: Option<Norm<'_>>,
    ) -> Result<(Vec<f32>, Shape)> {
        let weights = match &self.0 {
            Weights::SideBySide(weights) => weights.as_slice(),
            Weights::Gated { gate, up } => &[Arc::clone(gate), Arc::clone(up)],
        };
        let gated = matches!(self.0, Weights::Gated { .. });
        let (rows, width) = check(weights, gated, x_shape)?;
        let shape = Shape::from((rows, width));
        if let Some((_, found)) = residual.filter(|(_, found)| **found != shape) {
            return Err(shape_error(
                OP,
                format!("a residual of shape {found:?} does not fit an output of {shape:?}"),
            ));
        }
        let Some(workers) = weights.first().map(|weight| &weight.workers) else {
            return Ok((Vec::new(), shape));
        };
        let call = Call {
            x: Operand::new(x, rows, weights, norm, workers),
            rows,
            width,
            weights,
            gated,
            residual: residual.map_or(Residual::None, |(elements, _)| Residual::Elements(elements)),
            offset: 0,
            workers,
        };
        Ok((call.run(), shape))
    }
}

/// The number of rows and the width of the output.
fn check(weights: &[Arc<PackedLinear>], gated: bool, x: &Shape) -> Result<(usize, usize)> {
    let fits = |weight: &&Arc<PackedLinear>| match *x.dims() {
        [_, k] => k != weight.in_features,
        _ => true,
    };
    if let Some(weight) = weights.iter().find(fits) {
        return Err(shape_error(OP, format!("x of shape {:?} does not fit {weight:?}", x.dims())));
    }
    let widths = || weights.iter().map(|weight| weight.out_features);
    if gated && widths().min() != widths().max() {
        return Err(shape_error(OP, format!("gate and up differ in shape: {weights:?}")));
    }
    let width = if gated { weights[0].out_features } else { widths().sum() };
    Ok((x.dims().first().copied().unwrap_or(0), width))
}

/// One forward of checked operands.
struct Call<'a> {
    x: Operand<'a>,
    rows: usize,
    /// Of the output.
    width: usize,
    weights: &'a [Arc<PackedLinear>],
    /// The two weights are a gate and its `up`, and give one output.
    gated: bool,
    residual: Residual<'a>,
    /// Where the first weight's columns begin in the output.
    offset: usize,
    workers: &'a Workers,
}

/// What the sums are added to.
#[derive(Clone, Copy)]
enum Residual<'a> {
    None,
    /// Of the output's shape.
    Elements(&'a [f32]),
    /// What the output holds before.
    Output,
}

/// Sums of a few panels for a block of rows.
type Sums = std::mem::MaybeUninit<[f32; ROWS_MAX * PANELS_MAX * LANES]>;

impl Call<'_> {
    fn run(&self) -> Vec<f32> {
        // SAFETY: `run_into` writes every column of every row.
        unsafe { output(self.rows * self.width, |out| self.run_into(out)) }
    }

    /// Into `[rows, width]`.
    fn run_into(&self, out: &SharedMut<'_, f32>) {
        if self.rows == 0 {
            return;
        }
        let unit = self.unit_panels();
        let row_parts = self.rows.div_ceil(PART_ROWS).max(1);
        // Of all rows of some panels, one after the other.
        let units =
            |weight: &Arc<PackedLinear>| weight.out_features.div_ceil(LANES).div_ceil(unit) * row_parts;
        // A gated unit takes the same panels of both weights.
        let dealt = if self.gated { &self.weights[..1] } else { self.weights };
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
                    let panels = from..(from + unit).min(weight.out_features.div_ceil(LANES));
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

    /// Panels of a unit: what the kernels like best, by the instruction set and the rows.
    fn unit_panels(&self) -> usize {
        let isa = self.workers.isa();
        if self.rows > TILE_ROWS_MAX && self.by_tiles() {
            PANELS_MAX
        } else if self.gated {
            2
        } else if self.rows <= isa.few_rows() {
            FEW_ROWS_PANELS
        } else {
            isa.tile_panels()
        }
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
        let at_once = self.rows_at_once();
        for start in rows.clone().step_by(at_once) {
            let rows = start..rows.end.min(start + at_once);
            self.multiply(weight, panels.clone(), rows.clone(), sums);
            let then = match self.residual {
                _ if self.gated => {
                    let up = &self.weights[1];
                    let sums = up_sums.as_mut_ptr().cast::<f32>();
                    self.multiply(up, panels.clone(), rows.clone(), sums);
                    Then::Gate { up: sums, up_bias: up.bias.as_deref() }
                }
                Residual::Elements(residual) => Then::Add(residual),
                Residual::Output => Then::AddTo,
                Residual::None => Then::Keep,
            };
            let finish = Finish {
                sums,
                rows,
                columns: panels.start * LANES..weight.out_features.min(panels.end * LANES),
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

/// A packed weight holds as many elements as its shape says; an empty shape has no kernel.
pub(super) fn check_not_empty(out_features: usize, in_features: usize) -> std::result::Result<(), OpsError> {
    if out_features == 0 || in_features == 0 {
        let detail = format!("a weight of {out_features} x {in_features} is empty");
        return Err(OpsError::shape(OP, detail));
    }
    Ok(())
}
