//! Packed weights that learn: the gradient lies beside the panels, in their order, and backward passes add to it.
//!
//! `dW = dy^T x` is added where a tracked `x` meets the weight: by `linear`, `linears`, `linear_add` and their like, by
//! `cross_entropy` (with the loss) and by `embedding_gradient`. An element is one chain of fused sums over the rows of all
//! passes since the gradient was last cleared, ascending: its bits do not depend on the number of threads.
//!
//! Where the panels are rounded, the weights that learn are f32 masters in the same order, and `refresh` rounds them anew; or, to
//! take less memory, the panels themselves with a gradient in bf16, which is rounded once a pass.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::{PackedLinear, PanelElement, Panels, WeightData};
use crate::ops::OpsError;
use crate::ops::aligned::AlignedBuffer;
use crate::ops::parallel::{SharedMut, share};
use crate::ops::product::{Product, panels_of_columns};
use crate::ops::real::Real;
use crate::ops::scratch::with_scratch;
use crate::ops::simd::{Element, LANES};

const OP: &str = "packed_linear gradient";
/// Input features of a tile of the gradient.
const TILE_FEATURES: usize = 256;
/// Panels of output features of a tile.
const TILE_PANELS: usize = 8;
/// Rows of x laid out at once, so that they stay in the second-level cache.
const TILE_ROWS: usize = 128;
/// From row to row of x laid out: an odd number of cache lines, so that a feature's rows lie in different sets.
const TAKEN_STRIDE: usize = TILE_FEATURES + LANES;
/// Rows of an embedding's gradient that are worth a thread.
const FEATURES_PART: usize = 64;

/// What a weight has that learns.
pub(super) struct Learning {
    /// The weights in f32, where the panels are not.
    master: Option<AlignedBuffer<f32>>,
    gradient: Mutex<Gradient>,
}

/// Sums of the passes since it was cleared.
struct Gradient {
    weight: Sums,
    bias: Vec<f32>,
}

enum Sums {
    F32(AlignedBuffer<f32>),
    /// Bits, in the order of panels of bf16.
    Bf16(AlignedBuffer<u16>),
}

/// Where the elements of a weight `[out_features, in_features]` lie among `PanelOrder::len` floats; the others are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PanelOrder {
    pub out_features: usize,
    pub in_features: usize,
}

impl PanelOrder {
    /// Floats of the panels.
    pub fn len(self) -> usize {
        self.out_features.div_ceil(LANES) * f32::panel_elements(self.in_features)
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The place of one element.
    pub fn index(self, row: usize, column: usize) -> usize {
        row / LANES * f32::panel_elements(self.in_features) + f32::at(column, row % LANES)
    }

    /// Row-major `[out_features, in_features]` of what lies in this order.
    pub fn to_rows<T: Copy>(self, panels: &[T]) -> Vec<T> {
        let mut rows = Vec::with_capacity(self.out_features * self.in_features);
        for row in 0..self.out_features {
            let start = self.index(row, 0);
            rows.extend((0..self.in_features).map(|column| panels[start + column * LANES]));
        }
        rows
    }

    /// The place of one element in panels of bf16, which hold pairs of a row's elements.
    fn pairs_index(self, row: usize, column: usize) -> usize {
        row / LANES * u16::panel_elements(self.in_features) + u16::at(column, row % LANES)
    }

    /// As [`Self::to_rows`], of panels of bf16.
    pub fn pairs_to_rows<T: Copy>(self, panels: &[T]) -> Vec<T> {
        let mut rows = Vec::with_capacity(self.out_features * self.in_features);
        for row in 0..self.out_features {
            rows.extend((0..self.in_features).map(|column| panels[self.pairs_index(row, column)]));
        }
        rows
    }

    /// As [`Self::from_rows`], of panels of bf16.
    pub fn pairs_from_rows<T: Copy>(self, rows: &[T], panels: &mut [T]) {
        for (row, values) in rows.chunks_exact(self.in_features.max(1)).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                panels[self.pairs_index(row, column)] = value;
            }
        }
    }

    /// From row-major `[out_features, in_features]` to where the elements lie.
    pub fn from_rows<T: Copy>(self, rows: &[T], panels: &mut [T]) {
        for (row, values) in rows.chunks_exact(self.in_features.max(1)).enumerate() {
            let start = self.index(row, 0);
            for (column, &value) in values.iter().enumerate() {
                panels[start + column * LANES] = value;
            }
        }
    }
}

/// A trainable weight's numbers, in `PanelOrder`, or its bias's, as they are.
pub struct Learned<'a, T = f32> {
    /// What the gradient is of: masters where the panels are rounded.
    pub values: &'a mut [T],
    pub gradient: &'a mut [T],
}

impl PackedLinear {
    /// Makes room for the gradients of weight and bias, so that they learn. Does nothing to a weight that has it.
    ///
    /// # Errors
    /// `Frozen` where the panels are quantised; `OutOfMemory`.
    pub fn set_trainable(&mut self) -> Result<(), OpsError> {
        if self.is_trainable() {
            return Ok(());
        }
        if let Panels::F64(doubles) = &mut self.panels {
            doubles.set_trainable();
            return Ok(());
        }
        let master = match &self.panels {
            Panels::F32(_) => None,
            Panels::Bf16(_) => Some(self.widened()?),
            Panels::F64(_) | Panels::Int8(_) | Panels::Blocks { .. } => {
                return Err(OpsError::Frozen { weight: format!("{self:?}") });
            }
        };
        let weight = Sums::F32(AlignedBuffer::zeroed(OP, self.order().len())?);
        self.learn(master, weight);
        Ok(())
    }

    /// The same, but panels of bf16 learn as they are, with a gradient in bf16: 4 bytes a weight in place of 10. Others learn
    /// as [`Self::set_trainable`] has them learn.
    ///
    /// # Errors
    /// As [`Self::set_trainable`].
    pub fn set_trainable_without_master(&mut self) -> Result<(), OpsError> {
        let Panels::Bf16(panels) = &self.panels else { return self.set_trainable() };
        if !self.is_trainable() {
            let weight = Sums::Bf16(AlignedBuffer::zeroed(OP, panels.len())?);
            self.learn(None, weight);
        }
        Ok(())
    }

    fn learn(&mut self, master: Option<AlignedBuffer<f32>>, weight: Sums) {
        let bias = vec![0.0; self.bias.as_ref().map_or(0, Vec::len)];
        self.learning = Some(Learning { master, gradient: Mutex::new(Gradient { weight, bias }) });
    }

    pub fn is_trainable(&self) -> bool {
        self.learning.is_some() || matches!(&self.panels, Panels::F64(doubles) if doubles.learns())
    }

    pub fn order(&self) -> PanelOrder {
        PanelOrder { out_features: self.out_features, in_features: self.in_features }
    }

    /// The weight and, if there is one, the bias of a trainable weight. After a change of the values, `refresh`. `None` for one
    /// that learns in bf16.
    pub fn learned(&mut self) -> Option<(Learned<'_>, Option<Learned<'_>>)> {
        let Learning { master, gradient } = self.learning.as_mut()?;
        let Gradient { weight, bias } = gradient.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Sums::F32(weight) = weight else { return None };
        let values = match (master, &mut self.panels) {
            (Some(master), _) => &mut **master,
            (None, Panels::F32(panels)) => &mut **panels,
            // `set_trainable` gives all others a master or refuses.
            (None, _) => return None,
        };
        let bias = self.bias.as_mut().map(|values| Learned { values, gradient: bias });
        Some((Learned { values, gradient: weight }, bias))
    }

    /// Whether it has a gradient in bf16, and no master.
    pub fn learns_in_bf16(&mut self) -> bool {
        let learning = self.learning.as_mut().map(|learning| learning.gradient.get_mut());
        learning.is_some_and(|gradient| {
            matches!(gradient.unwrap_or_else(PoisonError::into_inner).weight, Sums::Bf16(_))
        })
    }

    /// As [`Self::learned`], of a weight whose bits in bf16 learn, in the order of their panels; the bias is in f32.
    pub fn learned_bf16(&mut self) -> Option<(Learned<'_, u16>, Option<Learned<'_>>)> {
        let Learning { gradient, .. } = self.learning.as_mut()?;
        let Gradient { weight, bias } = gradient.get_mut().unwrap_or_else(PoisonError::into_inner);
        let (Sums::Bf16(gradient), Panels::Bf16(values)) = (weight, &mut self.panels) else { return None };
        let bias = self.bias.as_mut().map(|values| Learned { values, gradient: bias });
        Some((Learned { values, gradient }, bias))
    }

    /// Rounds the masters into the panels, where there are masters.
    pub fn refresh(&mut self) {
        let Some(Learning { master: Some(master), .. }) = &self.learning else { return };
        let Panels::Bf16(panels) = &mut self.panels else { return };
        let (from, to) = (f32::panel_elements(self.in_features), u16::panel_elements(self.in_features));
        let in_features = self.in_features;
        let shared = SharedMut::new(panels);
        self.workers.run(self.out_features.div_ceil(LANES), &|panel| {
            // SAFETY: each part takes its own panel.
            let panels = unsafe { shared.slice(panel * to, to) };
            let master = &master[panel * from..][..in_features * LANES];
            for (k, values) in master.chunks_exact(LANES).enumerate() {
                for (column, &value) in values.iter().enumerate() {
                    panels[u16::at(k, column)] = u16::from_f32(value);
                }
            }
        });
    }

    /// The weight as it multiplies, in f32, in `PanelOrder`.
    fn widened(&self) -> Result<AlignedBuffer<f32>, OpsError> {
        /// `widen_panel` takes tiles that begin at its multiples.
        const TILE: usize = 256;
        let mut out = AlignedBuffer::zeroed(OP, self.order().len())?;
        let elements = f32::panel_elements(self.in_features);
        let shared = SharedMut::new(&mut out);
        self.workers.run(self.out_features.div_ceil(LANES), &|panel| {
            // SAFETY: each part takes its own panel.
            let out = unsafe { shared.slice(panel * elements, elements) };
            for start in (0..self.in_features).step_by(TILE) {
                let end = self.in_features.min(start + TILE);
                self.widen_panel(panel, start..end, &mut out[start * LANES..end * LANES]);
            }
        });
        Ok(out)
    }

    /// The weight as it multiplies, or its masters where it learns: row-major `[out_features, in_features]`.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn to_rows(&self) -> Result<Vec<f32>, OpsError> {
        match self.learning.as_ref().and_then(|learning| learning.master.as_ref()) {
            Some(master) => Ok(self.order().to_rows(master)),
            None => Ok(self.order().to_rows(&self.widened()?)),
        }
    }

    /// The same numbers in memory of their own, which do not learn. Not of quantised weights, which never change.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn frozen_copy(&self) -> Result<Arc<Self>, OpsError> {
        let (rows, bias) = (self.to_rows()?, self.bias.clone());
        let (out, input) = (self.out_features, self.in_features);
        Self::pack(WeightData::F32(&rows), out, input, bias, self.storage(), &self.workers)
    }

    pub fn bias(&self) -> Option<&[f32]> {
        self.bias.as_deref()
    }

    /// Bytes of gradients and masters.
    pub(super) fn learning_bytes(&self) -> usize {
        let Some(Learning { master, gradient }) = &self.learning else { return 0 };
        let gradient = gradient.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = match &gradient.weight {
            Sums::F32(sums) => size_of_val(&**sums),
            Sums::Bf16(sums) => size_of_val(&**sums),
        };
        let floats = master.as_ref().map_or(0, |master| master.len()) + gradient.bias.len();
        sums + floats * size_of::<f32>()
    }

    /// Adds `dy^T x` to the gradient of a trainable weight, and the sums of dy to that of its bias. x is `[rows, in_features]`;
    /// dy `[rows, width]` has the weight's columns from `offset` on.
    pub(in crate::ops) fn accumulate(
        &self,
        x: &[f32],
        dy: &[f32],
        width: usize,
        offset: usize,
    ) -> Result<(), OpsError> {
        let Some(learning) = &self.learning else { return Ok(()) };
        let mut gradient = learning.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        let Gradient { weight, bias } = &mut *gradient;
        let columns = self.in_features.div_ceil(TILE_FEATURES);
        let panels = self.out_features.div_ceil(LANES);
        let shared = match weight {
            Sums::F32(sums) => SharedSums::F32(SharedMut::new(sums)),
            Sums::Bf16(sums) => SharedSums::Bf16(SharedMut::new(sums)),
        };
        let (x, dy) = (
            Rows { values: x, stride: self.in_features },
            Rows { values: &dy[offset.min(dy.len())..], stride: width },
        );
        let failed = Mutex::new(None);
        self.workers.run(columns * panels.div_ceil(TILE_PANELS), &|part| {
            let tile = Tile {
                weight: self,
                features: part % columns * TILE_FEATURES
                    ..self.in_features.min((part % columns + 1) * TILE_FEATURES),
                panels: part / columns * TILE_PANELS..panels.min((part / columns + 1) * TILE_PANELS),
            };
            let added = match &shared {
                SharedSums::F32(sums) => tile.accumulate(x, dy, sums),
                SharedSums::Bf16(sums) => tile.accumulate_bf16(x, dy, sums),
            };
            if let Err(error) = added {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        if !bias.is_empty() {
            for row in dy.values.chunks(width) {
                bias.iter_mut().zip(row).for_each(|(sum, &dy)| *sum += dy);
            }
        }
        Ok(())
    }

    /// Adds row i of `dy` `[ids, in_features]` to row `ids[i]` of a trainable table's gradient.
    pub(super) fn accumulate_rows(&self, ids: &[u32], dy: &[f32]) {
        let Some(learning) = &self.learning else { return };
        let mut gradient = learning.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = self.in_features.div_ceil(FEATURES_PART);
        let gradient = match &mut gradient.weight {
            Sums::F32(sums) => SharedMut::new(sums),
            Sums::Bf16(sums) => return self.accumulate_rows_bf16(ids, dy, &SharedMut::new(sums)),
        };
        self.workers.run(parts, &|part| {
            let features = share(self.in_features, parts, part);
            for (&id, dy) in ids.iter().zip(dy.chunks_exact(self.in_features)) {
                let start = self.order().index(id as usize, 0);
                for feature in features.clone() {
                    // SAFETY: the features of every row are this part's alone.
                    unsafe { gradient.slice(start + feature * LANES, 1)[0] += dy[feature] };
                }
            }
        });
    }
}

impl PackedLinear {
    /// As `accumulate_rows`, the rows of an id added up before they are rounded.
    fn accumulate_rows_bf16(&self, ids: &[u32], dy: &[f32], gradient: &SharedMut<'_, u16>) {
        let mut rows: Vec<usize> = (0..ids.len()).collect();
        rows.sort_by_key(|&row| ids[row]);
        let parts = self.in_features.div_ceil(FEATURES_PART);
        self.workers.run(parts, &|part| {
            let features = share(self.in_features, parts, part);
            for rows in rows.chunk_by(|&one, &other| ids[one] == ids[other]) {
                for feature in features.clone() {
                    let at = self.order().pairs_index(ids[rows[0]] as usize, feature);
                    // SAFETY: the features of every row are this part's alone.
                    let sum = unsafe { &mut gradient.slice(at, 1)[0] };
                    let added = rows.iter().map(|row| dy[row * self.in_features + feature]);
                    *sum = u16::from_f32(added.fold(widened(*sum), |sum, dy| sum + dy));
                }
            }
        });
    }
}

fn widened(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// `Sums` that threads share.
enum SharedSums<'a> {
    F32(SharedMut<'a, f32>),
    Bf16(SharedMut<'a, u16>),
}

/// Rows of floats, `stride` apart.
#[derive(Clone, Copy)]
struct Rows<'a> {
    values: &'a [f32],
    stride: usize,
}

/// Some features of some panels of a gradient.
struct Tile<'a> {
    weight: &'a PackedLinear,
    features: Range<usize>,
    panels: Range<usize>,
}

impl Tile<'_> {
    fn accumulate(&self, x: Rows<'_>, dy: Rows<'_>, out: &SharedMut<'_, f32>) -> Result<(), OpsError> {
        let lengths = [TILE_ROWS * TAKEN_STRIDE, TILE_PANELS * TILE_ROWS * LANES];
        let length = f32::panel_elements(self.weight.in_features);
        with_scratch(OP, lengths, |[taken, columns]| {
            // SAFETY: the panels of the tile, all of them inside the gradient.
            let c = unsafe { out.start().add(self.panels.start * length + self.features.start * LANES) };
            self.add_all(x, dy, [taken, columns], (c, length));
        })
    }

    /// The same, added up in f32 and rounded once. Tiles begin at even features, so that their pairs are their own.
    fn accumulate_bf16(&self, x: Rows<'_>, dy: Rows<'_>, out: &SharedMut<'_, u16>) -> Result<(), OpsError> {
        const SUMS: usize = TILE_FEATURES * LANES;
        let lengths = [TILE_ROWS * TAKEN_STRIDE, TILE_PANELS * TILE_ROWS * LANES, TILE_PANELS * SUMS];
        let length = u16::panel_elements(self.weight.in_features);
        let (first, pairs) = (self.features.start, self.features.len().next_multiple_of(2));
        with_scratch(OP, lengths, |[taken, columns, sums]| {
            let panels = || self.panels.clone().zip(0..);
            // SAFETY: the features of a panel that are this tile's alone.
            let bits = |panel: usize| unsafe { out.slice(panel * length + first * LANES, pairs * LANES) };
            for (panel, at) in panels() {
                let (bits, sums) = (bits(panel), &mut sums[at * SUMS..][..self.features.len() * LANES]);
                for (k, sums) in sums.chunks_exact_mut(LANES).enumerate() {
                    for (column, sum) in sums.iter_mut().enumerate() {
                        *sum = widened(bits[u16::at(k, column)]);
                    }
                }
            }
            self.add_all(x, dy, [taken, columns], (sums.as_mut_ptr(), SUMS));
            for (panel, at) in panels() {
                let (bits, sums) = (bits(panel), &sums[at * SUMS..][..self.features.len() * LANES]);
                for (k, sums) in sums.chunks_exact(LANES).enumerate() {
                    for (column, &sum) in sums.iter().enumerate() {
                        bits[u16::at(k, column)] = u16::from_f32(sum);
                    }
                }
            }
        })
    }

    /// What all rows add to the tile at `c`, whose panels lie so many floats apart.
    fn add_all(&self, x: Rows<'_>, dy: Rows<'_>, [taken, columns]: [&mut [f32]; 2], c: (*mut f32, usize)) {
        let rows = x.values.len() / x.stride.max(1);
        for start in (0..rows).step_by(TILE_ROWS) {
            self.add(x, dy, start..rows.min(start + TILE_ROWS), [&mut *taken, &mut *columns], c);
        }
    }

    /// What some rows add; x is laid out in `taken`, dy in `columns`.
    fn add(
        &self,
        x: Rows<'_>,
        dy: Rows<'_>,
        rows: Range<usize>,
        [taken, columns]: [&mut [f32]; 2],
        (c, c_panel): (*mut f32, usize),
    ) {
        let (features, panels) = (self.features.len(), self.panels.len());
        let outputs = self.panels.start * LANES..self.weight.out_features.min(self.panels.end * LANES);
        for (row, to) in rows.clone().zip(taken.chunks_exact_mut(TAKEN_STRIDE)) {
            to[..features].copy_from_slice(&x.values[row * x.stride + self.features.start..][..features]);
        }
        let from = &dy.values[rows.start * dy.stride + outputs.start..];
        panels_of_columns(from, rows.len(), outputs.len(), dy.stride, columns);
        let product = Product {
            a: taken.as_ptr(),
            a_stride: 1,
            a_step: TAKEN_STRIDE,
            rows: features,
            k: rows.len(),
            b: columns.as_ptr(),
            b_stride: rows.len() * LANES,
            panels,
            c,
            c_stride: LANES,
            c_panel,
            first: false,
        };
        // SAFETY: x is laid out for these features and rows, dy for these panels, and this part of the gradient is the
        // tile's alone.
        unsafe { f32::product(self.weight.workers.isa(), product) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::{Device, Tensor, Var};

    use super::super::{Storage, WeightData, linear, linear_add, linears};
    use super::*;
    use crate::ops::testing::{Golden, bits, numbers};
    use crate::ops::{Isa, Targets, Workers, cross_entropy, embedding, embedding_gradient};

    fn trainable(
        values: &[f32],
        n: usize,
        storage: Storage,
        bias: bool,
        workers: &Arc<Workers>,
    ) -> Arc<PackedLinear> {
        let k = values.len() / n;
        let bias = bias.then(|| numbers(9, n));
        let mut weight = PackedLinear::pack(WeightData::F32(values), n, k, bias, storage, workers).unwrap();
        Arc::get_mut(&mut weight).unwrap().set_trainable().unwrap();
        weight
    }

    /// The gradients of weight, row-major, and bias.
    fn gradients(weight: &mut Arc<PackedLinear>) -> (Vec<f32>, Vec<f32>) {
        let weight = Arc::get_mut(weight).unwrap();
        let order = weight.order();
        let (of_weight, of_bias) = weight.learned().unwrap();
        (order.to_rows(of_weight.gradient), of_bias.map_or(Vec::new(), |bias| bias.gradient.to_vec()))
    }

    #[test]
    fn follows_f64_for_every_shape_and_instruction_set() {
        for isa in Isa::available() {
            let workers = Workers::with_isa(2, isa);
            for (n, k, rows) in [(1, 1, 1), (5, 7, 3), (17, 33, 6), (150, 300, 11), (64, 257, 300)] {
                let mut weight = trainable(&numbers(1, n * k), n, Storage::F32, true, &workers);
                let (x, dy) = (numbers(2, rows * k), numbers(3, rows * (n + 4)));
                // Twice: gradients add up.
                weight.accumulate(&x, &dy, n + 4, 3).unwrap();
                weight.accumulate(&x, &dy, n + 4, 3).unwrap();
                let (found, bias) = gradients(&mut weight);
                let terms = |o: usize, i: usize| {
                    (0..rows).map(move |row| (row, o, i)).map(|(row, o, i)| {
                        2.0 * f64::from(dy[row * (n + 4) + 3 + o]) * f64::from(x[row * k + i])
                    })
                };
                for (at, &found) in found.iter().enumerate() {
                    let exact: f64 = terms(at / k, at % k).sum();
                    let size: f64 = terms(at / k, at % k).map(f64::abs).sum();
                    let bound = (2.0 * rows as f64 + 8.0) * f64::from(f32::EPSILON) * size;
                    assert!((f64::from(found) - exact).abs() <= bound, "{isa} {n}x{k} {at}: {found} {exact}");
                }
                for (o, &found) in bias.iter().enumerate() {
                    let exact: f64 = (0..rows).map(|row| 2.0 * f64::from(dy[row * (n + 4) + 3 + o])).sum();
                    assert!((f64::from(found) - exact).abs() <= 1e-5 * rows as f64, "{found} {exact}");
                }
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        let run = |threads| {
            let mut weight =
                trainable(&numbers(1, 150 * 600), 150, Storage::F32, true, &Workers::new(threads));
            weight.accumulate(&numbers(2, 300 * 600), &numbers(3, 300 * 150), 150, 0).unwrap();
            weight.accumulate_rows(&[3, 149, 3], &numbers(4, 3 * 600));
            let (weight, bias) = gradients(&mut weight);
            (bits(&weight), bits(&bias))
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn follows_pytorch() {
        let workers = Workers::new(2);
        let golden = Golden::new("linear");
        let flat = |name: &str| {
            golden.tensor(name).flatten_all().unwrap().to_dtype(candle_core::DType::F32).unwrap()
        };
        let (n, k) = golden.tensor("weight").dims2().unwrap();
        let bias = Some(flat("bias").to_vec1().unwrap());
        let data = flat("weight").to_vec1().unwrap();
        let mut weight =
            PackedLinear::pack(WeightData::F32(&data), n, k, bias, Storage::F32, &workers).unwrap();
        Arc::get_mut(&mut weight).unwrap().set_trainable().unwrap();
        let x = golden.var("x");
        golden.check(&linear(x.as_tensor(), &weight).unwrap(), &[("x", &x)]);
        let (of_weight, of_bias) = gradients(&mut weight);
        golden.compare("gradient.weight", &Tensor::new(of_weight, &Device::Cpu).unwrap());
        golden.compare("gradient.bias", &Tensor::new(of_bias, &Device::Cpu).unwrap());

        let golden = Golden::new("embedding");
        let table: Vec<f32> = golden.var("weight").flatten_all().unwrap().to_vec1().unwrap();
        let mut table =
            trainable(&table, golden.tensor("weight").dim(0).unwrap(), Storage::F32, false, &workers);
        let ids: Vec<u32> = golden.integers("ids").iter().map(|&id| id as u32).collect();
        golden.compare("out", &embedding(&ids, &table).unwrap());
        let upstream = golden.tensor("gradient.out").to_dtype(candle_core::DType::F32).unwrap();
        embedding_gradient(&ids, &upstream, &table).unwrap();
        golden.compare("gradient.weight", &Tensor::new(gradients(&mut table).0, &Device::Cpu).unwrap());

        let golden = Golden::new("linear_cross_entropy");
        let ids = golden.integers("targets");
        let counted = ids.iter().filter(|&&id| id >= 0).count() as f32;
        let targets = Targets {
            ids: ids.iter().map(|&id| id.max(0) as u32).collect(),
            weights: ids.iter().map(|&id| if id < 0 { 0.0 } else { 1.0 / counted }).collect(),
        };
        let head: Vec<f32> = golden.var("weight").flatten_all().unwrap().to_vec1().unwrap();
        let mut head =
            trainable(&head, golden.tensor("weight").dim(0).unwrap(), Storage::F32, false, &workers);
        let x = golden.var("x");
        let loss = cross_entropy(x.as_tensor(), &head, &targets).unwrap();
        loss.backward().unwrap();
        drop(loss);
        let found = Tensor::new(gradients(&mut head).0, &Device::Cpu).unwrap();
        golden.compare("gradient.weight", &(found * golden.number("gradient.out")).unwrap());
    }

    /// Side by side and with a residual, each weight gets what it gets alone.
    #[test]
    fn every_operation_adds_to_the_gradient() {
        let workers = Workers::new(2);
        let weight = |seed, n: usize| trainable(&numbers(seed, n * 40), n, Storage::F32, false, &workers);
        let (mut q, mut k) = (weight(1, 24), weight(2, 9));
        let tensor = |seed, shape: (usize, usize)| {
            Tensor::from_vec(numbers(seed, shape.0 * shape.1), shape, &Device::Cpu).unwrap()
        };
        let x = Var::from_tensor(&tensor(4, (6, 40))).unwrap();
        let upstream = tensor(8, (6, 33));
        let back = |y: Tensor, upstream: &Tensor| {
            (y * upstream).unwrap().sum_all().unwrap().backward().unwrap();
        };
        back(linears(x.as_tensor(), &[&q, &k]).unwrap(), &upstream);
        let of_q = upstream.narrow(1, 0, 24).unwrap();
        let mut alone = weight(1, 24);
        back(linear_add(x.as_tensor(), &alone, &tensor(5, (6, 24))).unwrap(), &of_q);
        assert_eq!(bits(&gradients(&mut q).0), bits(&gradients(&mut alone).0));
        assert!(gradients(&mut k).0.iter().any(|&x| x != 0.0));
    }

    #[test]
    fn masters_are_rounded_into_the_panels() {
        let workers = Workers::new(2);
        let values = numbers(1, 20 * 33);
        let mut weight = trainable(&values, 20, Storage::Bf16, false, &workers);
        let inner = Arc::get_mut(&mut weight).unwrap();
        let order = inner.order();
        order.from_rows(&values, inner.learned().unwrap().0.values);
        inner.refresh();
        assert_eq!(bits(&inner.to_rows().unwrap()), bits(&values));
        let rounded: Vec<f32> = values.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect();
        let ids: Vec<u32> = (0..20).collect();
        let panels = embedding(&ids, &weight).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(bits(&panels), bits(&rounded));
    }

    /// What a pass adds to a gradient in bf16 is the gradient in f32, rounded once; panels and features that end within a tile.
    #[test]
    fn a_gradient_in_bf16_is_that_in_f32_rounded() {
        let workers = Workers::new(3);
        for (rows, n, k) in [(5, 20, 33), (200, 300, 600)] {
            let weight = |has_master: bool| {
                let values = numbers(1, n * k);
                let data = WeightData::F32(&values);
                let mut weight = PackedLinear::pack(data, n, k, None, Storage::Bf16, &workers).unwrap();
                let inner = Arc::get_mut(&mut weight).unwrap();
                if has_master { inner.set_trainable() } else { inner.set_trainable_without_master() }
                    .unwrap();
                weight
            };
            let (mut exact, mut rounded) = (weight(true), weight(false));
            let (x, dy) = (numbers(2, rows * k), numbers(3, rows * n));
            let ids: Vec<u32> = (0..rows as u32).map(|row| row * 7 % 11).collect();
            let of_rows = numbers(4, rows * k);
            let check = |exact: &mut Arc<PackedLinear>, half: &mut Arc<PackedLinear>, what: &str| {
                let order = exact.order();
                let (exact, half) = (Arc::get_mut(exact).unwrap(), Arc::get_mut(half).unwrap());
                let expected = order.to_rows(exact.learned().unwrap().0.gradient);
                let found = order.pairs_to_rows(half.learned_bf16().unwrap().0.gradient);
                let expected: Vec<u16> = expected.into_iter().map(u16::from_f32).collect();
                assert!(found == expected && half.learned().is_none(), "{what} {rows} {n} {k}");
                exact.learned().unwrap().0.gradient.fill(0.0);
                half.learned_bf16().unwrap().0.gradient.fill(0);
            };
            for weight in [&exact, &rounded] {
                weight.accumulate(&x, &dy, n, 0).unwrap();
            }
            check(&mut exact, &mut rounded, "product");
            for weight in [&exact, &rounded] {
                weight.accumulate_rows(&ids, &of_rows);
            }
            check(&mut exact, &mut rounded, "rows");
            assert!(rounded.learning_bytes() * 2 < exact.learning_bytes());
            assert_eq!(bits(&rounded.to_rows().unwrap()), bits(&weight(false).to_rows().unwrap()));
        }
    }

    #[test]
    fn quantised_weights_stay_frozen() {
        let storage = Storage::Int8(super::super::Int8Scales::PerChannel);
        let mut weight =
            PackedLinear::pack(WeightData::F32(&numbers(1, 64)), 2, 32, None, storage, &Workers::new(1))
                .unwrap();
        let error = Arc::get_mut(&mut weight).unwrap().set_trainable().unwrap_err().to_string();
        assert!(error.contains("int8") && error.contains("f32 or bf16"), "{error}");
    }
}
