//! The candle operations on packed weights: one, several side by side on one x, one added to a residual, and
//! a gated unit's gate and up. How one is computed is in `call.rs`.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};

use super::backward::{Term, input_gradient};
use super::call::{Call, Join, Residual};
use super::operand::Operand;
use super::{Norm, PackedLinear, doubles};
use crate::ops::parallel::SharedMut;
use crate::ops::rows::{contiguous, contiguous_f32, elements, elements_f64};
use crate::ops::simd::LANES;
use crate::ops::tape::{self, Keeps, apply1, apply2, is_tracked};
use crate::ops::{Activation, OpsError, glu, glu_of_halves, rms_norm, shape_error};

const OP: &str = "packed_linear";

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
    activation: Activation,
) -> Result<Tensor> {
    if is_tracked(x) || is_tracked(norm) || x.dtype() == DType::F64 {
        return gated_linear(&normed(x, norm, eps, &[gate])?, gate, up, activation);
    }
    let weights = Weights::Gated { gate: Arc::clone(gate), up: Arc::clone(up), activation };
    let op = NormedLinears { linears: Linears(weights), eps };
    apply2(&tape::contiguous(x)?, &tape::contiguous(norm)?, op, Keeps::NOTHING)
}

/// `normed_gated_linear` of a weight whose first half of the rows is the gate's and whose second half is up's, bit for bit.
pub fn normed_fused_gated_linear(
    x: &Tensor,
    norm: &Tensor,
    eps: f32,
    gate_up: &Arc<PackedLinear>,
    activation: Activation,
) -> Result<Tensor> {
    let halves_are_panels = gate_up.out_features.is_multiple_of(2 * LANES);
    if is_tracked(x) || is_tracked(norm) || x.dtype() == DType::F64 || !halves_are_panels {
        let both = linear(&normed(x, norm, eps, &[gate_up])?, gate_up)?;
        return glu_of_halves(&both, activation, &gate_up.workers);
    }
    let op = NormedLinears { linears: Linears(Weights::GatedHalves(Arc::clone(gate_up), activation)), eps };
    apply2(&tape::contiguous(x)?, &tape::contiguous(norm)?, op, Keeps::NOTHING)
}

/// `residual + (x W^T + b)`, the residual f32 `[tokens, out_features]`.
pub fn linear_add(x: &Tensor, weight: &Arc<PackedLinear>, residual: &Tensor) -> Result<Tensor> {
    let op = Linears(Weights::SideBySide(vec![Arc::clone(weight)]));
    apply2(&tape::contiguous(x)?, &tape::contiguous(residual)?, op, keeps(&[weight]))
}

/// `activation(x Wg^T + bg) * (x Wu^T + bu)`: f32 `[tokens, out_features]`, the two weights of one shape.
pub fn gated_linear(
    x: &Tensor,
    gate: &Arc<PackedLinear>,
    up: &Arc<PackedLinear>,
    activation: Activation,
) -> Result<Tensor> {
    if is_tracked(x) || x.dtype() == DType::F64 {
        // Both results are what the gradients need, and computing them again would cost two products.
        return glu(&linear(x, gate)?, &linear(x, up)?, activation, &gate.workers);
    }
    let op = Linears(Weights::Gated { gate: Arc::clone(gate), up: Arc::clone(up), activation });
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

/// `gated_linear` of rows that are no tensor.
pub(in crate::ops) fn gated_product(
    x: &[f32],
    rows: usize,
    gate: &Arc<PackedLinear>,
    up: &Arc<PackedLinear>,
    activation: Activation,
) -> Result<Vec<f32>> {
    let op = Linears(Weights::Gated { gate: Arc::clone(gate), up: Arc::clone(up), activation });
    op.forward(x, &Shape::from((rows, gate.in_features)), None, None).map(|(y, _)| y)
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
    check(weights, Join::SideBySide, &Shape::from((rows, x.len() / rows.max(1))))?;
    if y.len() != rows * width || offset + weight.out_features > width {
        let detail = format!("{} columns from {offset} on are not in [{rows}, {width}]", weight.out_features);
        return Err(shape_error(OP, detail));
    }
    let call = Call {
        x: Operand::new(x, rows, weights, None, &weight.workers),
        rows,
        width,
        weights,
        join: Join::SideBySide,
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
    Gated {
        gate: Arc<PackedLinear>,
        up: Arc<PackedLinear>,
        activation: Activation,
    },
    /// Gate above up in one weight, each whole panels.
    GatedHalves(Arc<PackedLinear>, Activation),
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
            let (values, dy) = (elements_f64(x)?, elements_f64(gradient)?);
            let dx = doubles::backward(weights, &values, &dy, gradient.dim(0)?)?;
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
        let (rows, width) = check(weights, Join::SideBySide, x_shape)?;
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
            Weights::Gated { gate, up, .. } => &[Arc::clone(gate), Arc::clone(up)],
            Weights::GatedHalves(gate_up, _) => std::slice::from_ref(gate_up),
        };
        let join = match self.0 {
            Weights::SideBySide(_) => Join::SideBySide,
            Weights::Gated { activation, .. } => Join::Gated(activation),
            Weights::GatedHalves(_, activation) => Join::GatedHalves(activation),
        };
        let (rows, width) = check(weights, join, x_shape)?;
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
            join,
            residual: residual.map_or(Residual::None, |(elements, _)| Residual::Elements(elements)),
            offset: 0,
            workers,
        };
        Ok((call.run(), shape))
    }
}

/// The number of rows and the width of the output.
fn check(weights: &[Arc<PackedLinear>], join: Join, x: &Shape) -> Result<(usize, usize)> {
    let fits = |weight: &&Arc<PackedLinear>| match *x.dims() {
        [_, k] => k != weight.in_features,
        _ => true,
    };
    if let Some(weight) = weights.iter().find(fits) {
        return Err(shape_error(OP, format!("x of shape {:?} does not fit {weight:?}", x.dims())));
    }
    let widths = || weights.iter().map(|weight| weight.out_features);
    if matches!(join, Join::Gated(_)) && widths().min() != widths().max() {
        return Err(shape_error(OP, format!("gate and up differ in shape: {weights:?}")));
    }
    let width = match join {
        Join::SideBySide => widths().sum(),
        Join::Gated(_) => weights[0].out_features,
        Join::GatedHalves(_) => weights[0].out_features / 2,
    };
    Ok((x.dims().first().copied().unwrap_or(0), width))
}

/// A packed weight holds as many elements as its shape says; an empty shape has no kernel.
pub(super) fn check_not_empty(out_features: usize, in_features: usize) -> std::result::Result<(), OpsError> {
    if out_features == 0 || in_features == 0 {
        let detail = format!("a weight of {out_features} x {in_features} is empty");
        return Err(OpsError::shape(OP, detail));
    }
    Ok(())
}
