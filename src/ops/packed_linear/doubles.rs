//! Packed weights in f64, in plain loops: what training is checked in against formulas and other implementations, to digits that
//! f32 does not have. Not fast, and not served.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Result, Tensor};

use super::trainable::{Learned, PanelOrder};
use super::{PackedLinear, Panels};
use crate::ops::parallel::SharedMut;
use crate::ops::shape_error;
use crate::ops::simd::LANES;

const OP: &str = "packed_linear in f64";

/// A weight and its bias.
pub(super) struct Doubles {
    /// In `PanelOrder`.
    weight: Vec<f64>,
    bias: Option<Vec<f64>>,
    learning: Option<Mutex<Gradient>>,
}

struct Gradient {
    weight: Vec<f64>,
    bias: Vec<f64>,
}

impl Doubles {
    /// Of row-major elements.
    pub fn new(rows: &[f64], order: PanelOrder, bias: Option<&[f32]>) -> Self {
        let mut weight = vec![0.0; order.len()];
        order.from_rows(rows, &mut weight);
        let bias = bias.map(|bias| bias.iter().map(|&x| f64::from(x)).collect());
        Self { weight, bias, learning: None }
    }

    /// Input features of the panel that begins at `start`, as f32.
    pub fn round_panel(&self, start: usize, features: Range<usize>, out: &mut [f32]) {
        let from = &self.weight[start + features.start * LANES..];
        out.iter_mut().zip(from).for_each(|(out, &x)| *out = x as f32);
    }

    pub fn set_trainable(&mut self) {
        let gradient = Gradient {
            weight: vec![0.0; self.weight.len()],
            bias: vec![0.0; self.bias.as_ref().map_or(0, Vec::len)],
        };
        self.learning.get_or_insert(Mutex::new(gradient));
    }

    pub fn learns(&self) -> bool {
        self.learning.is_some()
    }

    pub fn bytes(&self) -> usize {
        let numbers = self.weight.len() + self.bias.as_ref().map_or(0, Vec::len);
        numbers * size_of::<f64>() * if self.learns() { 2 } else { 1 }
    }

    fn learned(&mut self) -> Option<(Learned<'_, f64>, Option<Learned<'_, f64>>)> {
        let Gradient { weight, bias } =
            self.learning.as_mut()?.get_mut().unwrap_or_else(PoisonError::into_inner);
        let bias = self.bias.as_mut().map(|values| Learned { values, gradient: bias });
        Some((Learned { values: &mut self.weight, gradient: weight }, bias))
    }
}

impl PackedLinear {
    /// Whether it is in f64, and multiplies what is.
    pub fn is_f64(&self) -> bool {
        matches!(self.panels, Panels::F64(_))
    }

    fn doubles(&self) -> Result<&Doubles> {
        match &self.panels {
            Panels::F64(doubles) => Ok(doubles),
            _ => Err(shape_error(OP, format!("{self:?} does not multiply f64"))),
        }
    }

    /// As `learned`, of a weight in f64.
    pub fn learned_f64(&mut self) -> Option<(Learned<'_, f64>, Option<Learned<'_, f64>>)> {
        match &mut self.panels {
            Panels::F64(doubles) => doubles.learned(),
            _ => None,
        }
    }
}

/// Where row `row` of the output features lies, and how far apart its elements are.
fn row_of(weight: &PackedLinear, row: usize) -> usize {
    weight.order().index(row, 0)
}

/// The results side by side, added to a residual of their shape: `[rows, sum of out_features]`.
pub(in crate::ops) fn forward(
    weights: &[Arc<PackedLinear>],
    x: &[f64],
    rows: usize,
    residual: Option<&[f64]>,
) -> Result<Vec<f64>> {
    let width: usize = weights.iter().map(|weight| weight.out_features).sum();
    let mut y = vec![0.0; rows * width];
    let mut offset = 0;
    for weight in weights {
        let (Doubles { weight: panels, bias, .. }, k) = (weight.doubles()?, weight.in_features);
        let shared = SharedMut::new(&mut y);
        weight.workers.run(rows, &|row| {
            // SAFETY: each part takes its own row.
            let y = unsafe { shared.slice(row * width + offset, weight.out_features) };
            for (out, y) in y.iter_mut().enumerate() {
                let w = panels[row_of(weight, out)..].iter().step_by(LANES);
                let sum: f64 = x[row * k..][..k].iter().zip(w).map(|(x, w)| x * w).sum();
                *y = sum + bias.as_ref().map_or(0.0, |bias| bias[out]);
            }
        });
        offset += weight.out_features;
    }
    if let Some(residual) = residual {
        y.iter_mut().zip(residual).for_each(|(y, x)| *y += x);
    }
    Ok(y)
}

/// The gradient of x, `[rows, in_features]`, and, where a weight learns, its own added to its sum. dy `[rows, sum of out_features]`.
pub(in crate::ops) fn backward(
    weights: &[Arc<PackedLinear>],
    x: &[f64],
    dy: &[f64],
    rows: usize,
) -> Result<Vec<f64>> {
    let width: usize = weights.iter().map(|weight| weight.out_features).sum();
    let k = weights.first().map_or(0, |weight| weight.in_features);
    let mut dx = vec![0.0; rows * k];
    let mut offset = 0;
    for weight in weights {
        let doubles = weight.doubles()?;
        let of_row = |row: usize| &dy[row * width + offset..][..weight.out_features];
        let shared = SharedMut::new(&mut dx);
        weight.workers.run(rows, &|row| {
            // SAFETY: each part takes its own row.
            let dx = unsafe { shared.slice(row * k, k) };
            for (out, dy) in of_row(row).iter().enumerate() {
                let w = doubles.weight[row_of(weight, out)..].iter().step_by(LANES);
                dx.iter_mut().zip(w).for_each(|(dx, w)| *dx += dy * w);
            }
        });
        if let Some(learning) = &doubles.learning {
            let mut gradient = learning.lock().unwrap_or_else(PoisonError::into_inner);
            for row in 0..rows {
                for (out, dy) in of_row(row).iter().enumerate() {
                    let sums = gradient.weight[row_of(weight, out)..].iter_mut().step_by(LANES);
                    sums.zip(&x[row * k..][..k]).for_each(|(sum, x)| *sum += dy * x);
                }
                gradient.bias.iter_mut().zip(of_row(row)).for_each(|(sum, dy)| *sum += dy);
            }
        }
        offset += weight.out_features;
    }
    Ok(dx)
}

/// Rows of a table, `[ids, in_features]`.
pub(super) fn embedding(ids: &[u32], table: &PackedLinear) -> Result<Tensor> {
    let (doubles, k) = (table.doubles()?, table.in_features);
    let rows =
        ids.iter().flat_map(|&id| doubles.weight[row_of(table, id as usize)..].iter().step_by(LANES).take(k));
    Tensor::from_vec(rows.copied().collect::<Vec<f64>>(), (ids.len(), k), &Device::Cpu)
}

/// Adds the gradient of `embedding` to that of a table that learns.
pub(super) fn embedding_gradient(ids: &[u32], gradient: &[f64], table: &PackedLinear) -> Result<()> {
    let Some(learning) = &table.doubles()?.learning else { return Ok(()) };
    let mut sums = learning.lock().unwrap_or_else(PoisonError::into_inner);
    for (&id, row) in ids.iter().zip(gradient.chunks_exact(table.in_features)) {
        let sums = sums.weight[row_of(table, id as usize)..].iter_mut().step_by(LANES);
        sums.zip(row).for_each(|(sum, x)| *sum += x);
    }
    Ok(())
}
