//! The gradient of x of `y = x W^T`: `dx = dy W`, from the panels that the forward pass reads, so that a frozen weight is
//! in memory once. A tile of the weight, widened to f32, is laid out anew in a scratch and multiplied by many rows.
//!
//! An element of dx is one chain of fused sums over the output features, ascending, of one weight after the other.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Result;

use super::blocks::{self, BlockFormat};
use super::{OpsError, PackedLinear, PanelElement, Panels};
use crate::ops::parallel::SharedMut;
use crate::ops::product::Product;
use crate::ops::real::Real;
use crate::ops::scratch::with_scratch;
use crate::ops::shape_error;
use crate::ops::simd::{Kernel, LANES, Simd};

const OP: &str = "packed_linear backward";
/// Input features of a tile: whole blocks of every format.
const TILE_COLUMNS: usize = 256;
/// Output features of a tile, so that it stays in the second-level cache.
const TILE_ROWS: usize = 128;
/// Rows of dy that a tile is laid out for, at most.
const PART_ROWS: usize = 1024;

/// One weight's part in the gradient of x.
#[derive(Clone, Copy)]
pub struct Term<'a> {
    pub weight: &'a Arc<PackedLinear>,
    /// `[rows, width]`, in which the weight's outputs are the columns from `offset` on.
    pub dy: &'a [f32],
    pub width: usize,
    pub offset: usize,
}

/// `sum of dy W` over the terms, `[rows, in_features]`. The weights are of one number of input features, and at least one.
pub fn input_gradient(terms: &[Term<'_>], rows: usize) -> Result<Vec<f32>> {
    let fits = |term: &Term<'_>| {
        term.dy.len() == rows * term.width
            && term.offset + term.weight.out_features <= term.width
            && term.weight.in_features == terms[0].weight.in_features
    };
    let Some(Term { weight: first, .. }) = terms.first().filter(|_| terms.iter().all(fits)) else {
        let weights: Vec<_> = terms.iter().map(|term| (term.weight, term.dy.len(), term.width)).collect();
        return Err(shape_error(OP, format!("gradients do not fit {rows} rows of {weights:?}")));
    };
    let (in_features, workers) = (first.in_features, &first.workers);
    let columns = in_features.div_ceil(TILE_COLUMNS);
    // Enough parts for all threads, of as many rows as there can be.
    let blocks =
        rows.div_ceil(PART_ROWS).max((4 * workers.threads()).div_ceil(columns)).min(rows.div_ceil(64));
    let block_rows = rows.div_ceil(blocks.max(1)).next_multiple_of(5);
    let parts = columns * rows.div_ceil(block_rows.max(1));
    let mut dx = vec![0.0; rows * in_features];
    let out = SharedMut::new(&mut dx);
    let failed = Mutex::new(None);
    workers.run(parts, &|part| {
        let start = part / columns * block_rows;
        let piece = Piece {
            terms,
            rows: start..rows.min(start + block_rows),
            columns: part % columns * TILE_COLUMNS..in_features.min((part % columns + 1) * TILE_COLUMNS),
        };
        if let Err(error) = piece.run(&out) {
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(candle_core::Error::wrap(error)),
        None => Ok(dx),
    }
}

/// Some rows and columns of dx.
struct Piece<'a> {
    terms: &'a [Term<'a>],
    rows: Range<usize>,
    /// From a multiple of `TILE_COLUMNS` on.
    columns: Range<usize>,
}

impl Piece<'_> {
    fn run(&self, out: &SharedMut<'_, f32>) -> std::result::Result<(), OpsError> {
        let stride = self.columns.len().next_multiple_of(LANES);
        let lengths = [self.rows.len() * stride, TILE_COLUMNS * TILE_ROWS, TILE_COLUMNS * LANES];
        with_scratch(OP, lengths, |[sums, tile, widened]| {
            sums.fill(0.0);
            for term in self.terms {
                for from in (0..term.weight.out_features).step_by(TILE_ROWS) {
                    let outputs = from..term.weight.out_features.min(from + TILE_ROWS);
                    self.add(term, outputs, sums, tile, widened);
                }
            }
            let in_features = self.terms[0].weight.in_features;
            for (row, sums) in self.rows.clone().zip(sums.chunks_exact(stride)) {
                // SAFETY: the columns of this row are this piece's alone.
                let to = unsafe { out.slice(row * in_features + self.columns.start, self.columns.len()) };
                to.copy_from_slice(&sums[..self.columns.len()]);
            }
        })
    }

    /// What some outputs of a weight add.
    fn add(
        &self,
        &Term { weight, dy, width, offset }: &Term<'_>,
        outputs: Range<usize>,
        sums: &mut [f32],
        tile: &mut [f32],
        widened: &mut [f32],
    ) {
        let panels = self.columns.len().div_ceil(LANES);
        for panel in outputs.start / LANES..outputs.end.div_ceil(LANES) {
            weight.widen_panel(panel, self.columns.clone(), widened);
            let first = panel * LANES - outputs.start;
            let count = LANES.min(outputs.len() - first);
            lay_out(widened, first, count, panels, outputs.len(), tile);
        }
        let at = self.rows.start * width + offset + outputs.start;
        let product = Product {
            a: dy[at..].as_ptr(),
            a_stride: width,
            a_step: 1,
            rows: self.rows.len(),
            k: outputs.len(),
            b: tile.as_ptr(),
            b_stride: outputs.len() * LANES,
            panels,
            c: sums.as_mut_ptr(),
            c_stride: panels * LANES,
            c_panel: LANES,
            first: false,
        };
        // SAFETY: dy has these rows and columns, the tile as many panels of as many outputs, and the sums are theirs.
        unsafe { f32::product(weight.workers.isa(), product) };
    }
}

/// `count` outputs, of which `widened` `[inputs][16]` holds one a column, as rows from `first` on of the panels of a tile,
/// `[panels][outputs][16 inputs]`.
fn lay_out(widened: &[f32], first: usize, count: usize, panels: usize, outputs: usize, tile: &mut [f32]) {
    for panel in 0..panels {
        let from = &widened[panel * LANES * LANES..][..LANES * LANES];
        for column in 0..count {
            let to = &mut tile[(panel * outputs + first + column) * LANES..][..LANES];
            for (lane, to) in to.iter_mut().enumerate() {
                *to = from[lane * LANES + column];
            }
        }
    }
}

impl PackedLinear {
    /// Input features of a panel, from a multiple of `TILE_COLUMNS` on, as f32 `[features][16]`; zeros follow.
    pub(super) fn widen_panel(&self, panel: usize, features: Range<usize>, out: &mut [f32]) {
        let count = features.len();
        out[count * LANES..].fill(0.0);
        let out = &mut out[..count * LANES];
        match &self.panels {
            Panels::F32(panels) => {
                let from = panel * f32::panel_elements(self.in_features) + features.start * LANES;
                out.copy_from_slice(&panels[from..][..count * LANES]);
            }
            Panels::Bf16(panels) => {
                let panel = &panels[panel * u16::panel_elements(self.in_features)..];
                for (k, out) in features.zip(out.chunks_exact_mut(LANES)) {
                    for (column, out) in out.iter_mut().enumerate() {
                        *out = f32::from_bits(u32::from(panel[u16::at(k, column)]) << 16);
                    }
                }
            }
            Panels::F64(doubles) => {
                doubles.round_panel(panel * f32::panel_elements(self.in_features), features, out);
            }
            Panels::Int8(panels) => {
                let bytes = &panels.bytes[panel * i8::panel_elements(self.in_features)..];
                for (k, out) in features.zip(out.chunks_exact_mut(LANES)) {
                    for (column, out) in out.iter_mut().enumerate() {
                        *out = f32::from(bytes[i8::at(k, column)]) * panels.scale(panel * LANES + column);
                    }
                }
            }
            Panels::Blocks { format, bytes } => {
                let from =
                    (panel * format.row_bytes(self.in_features) + format.row_bytes(features.start)) * LANES;
                let kernel = Widen { format: *format, panel: &bytes[from..], elements: count, out };
                // SAFETY: a row is whole blocks, so that the features are, and the panel has them.
                unsafe { self.workers.isa().dispatch(kernel) };
            }
        }
    }
}

/// `elements` of a panel, whole blocks, into `out`, which takes sixteen times as many.
struct Widen<'a> {
    format: BlockFormat,
    panel: &'a [u8],
    elements: usize,
    out: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's word.
        unsafe {
            blocks::widen::<S>(self.format, self.panel.as_ptr(), self.elements, self.out.as_mut_ptr());
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor, Var};

    use super::super::{Int8Scales, Storage, WeightData, gated_linear, linear, linear_add, linears};
    use super::super::{normed_gated_linear, normed_linears};
    use super::*;
    use crate::ops::Activation;
    use crate::ops::testing::{bits, numbers};
    use crate::ops::{Isa, Workers};

    type Operation<'a> = Box<dyn Fn(&Tensor) -> Tensor + 'a>;

    const BLOCKS: [GgmlDType; 4] = [GgmlDType::Q8_0, GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q4K];

    fn pack(
        values: &[f32],
        n: usize,
        k: usize,
        storage: Storage,
        workers: &Arc<Workers>,
    ) -> Arc<PackedLinear> {
        PackedLinear::pack(WeightData::F32(values), n, k, None, storage, workers).unwrap()
    }

    /// What the panels hold, row-major: the embedding of every row.
    fn stored(weight: &Arc<PackedLinear>) -> Vec<f32> {
        let ids: Vec<u32> = (0..weight.out_features as u32).collect();
        super::super::embedding(&ids, weight).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// dx of one weight within rounding of the sum in f64 over what the panels hold.
    fn check(weight: &Arc<PackedLinear>, rows: usize) {
        let (n, k) = (weight.out_features, weight.in_features);
        let (w, dy) = (stored(weight), numbers(7, rows * n));
        let dx = input_gradient(&[Term { weight, dy: &dy, width: n, offset: 0 }], rows).unwrap();
        for (row, (dy, dx)) in dy.chunks(n).zip(dx.chunks(k)).enumerate() {
            for (i, &found) in dx.iter().enumerate() {
                let terms = dy.iter().enumerate().map(|(o, &g)| f64::from(g) * f64::from(w[o * k + i]));
                let (exact, size) = terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
                let bound = (n as f64 + 8.0) * f64::from(f32::EPSILON) * size;
                assert!((f64::from(found) - exact).abs() <= bound, "{weight:?} {row} {i}: {found} {exact}");
            }
        }
    }

    #[test]
    fn follows_f64_for_every_storage_shape_and_instruction_set() {
        for isa in Isa::available() {
            let workers = Workers::with_isa(2, isa);
            for (n, k, rows) in [(1, 1, 1), (5, 7, 3), (17, 33, 6), (130, 300, 11), (64, 257, 70)] {
                for storage in [Storage::F32, Storage::Bf16, Storage::Int8(Int8Scales::PerChannel)] {
                    check(&pack(&numbers(1, n * k), n, k, storage, &workers), rows);
                }
            }
            for scales in [Int8Scales::PerGroup32, Int8Scales::PerGroup64] {
                check(&pack(&numbers(1, 18 * 320), 18, 320, Storage::Int8(scales), &workers), 4);
            }
            for dtype in BLOCKS {
                let k = if dtype == GgmlDType::Q4K { 768 } else { 288 };
                let values = Tensor::from_vec(numbers(1, 20 * k), (20, k), &Device::Cpu).unwrap();
                let blocks = QTensor::quantize(&values, dtype).unwrap();
                let data = WeightData::Blocks { dtype, bytes: &blocks.data().unwrap() };
                check(&PackedLinear::pack(data, 20, k, None, Storage::Blocks, &workers).unwrap(), 5);
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_threads_or_rows() {
        let run = |threads, rows: usize| {
            let weight = pack(&numbers(1, 150 * 600), 150, 600, Storage::F32, &Workers::new(threads));
            let dy = &numbers(2, 2500 * 150)[..rows * 150];
            input_gradient(&[Term { weight: &weight, dy, width: 150, offset: 0 }], rows).unwrap()
        };
        let all = run(1, 2500);
        assert_eq!(bits(&run(3, 2500)), bits(&all));
        assert_eq!(bits(&run(2, 13)), bits(&all[..13 * 600]));
    }

    /// Each operation: tracked and untracked results are equal in bits, and its gradient follows differences of the f64 sum.
    #[test]
    fn every_operation_passes_gradients_on() {
        let workers = Workers::new(2);
        let weight = |seed, n, k| pack(&numbers(seed, n * k), n, k, Storage::F32, &workers);
        let (q, k, up) = (weight(1, 24, 40), weight(2, 9, 40), weight(3, 24, 40));
        let tensor = |seed, shape: (usize, usize)| {
            Tensor::from_vec(numbers(seed, shape.0 * shape.1), shape, &Device::Cpu).unwrap()
        };
        let (x, residual) = (tensor(4, (6, 40)), tensor(5, (6, 24)));
        let norm = tensor(6, (1, 40)).flatten_all().unwrap();
        let operations: [(&str, Operation<'_>); 6] = [
            ("linear", Box::new(|x| linear(x, &q).unwrap())),
            ("linears", Box::new(|x| linears(x, &[&q, &k]).unwrap())),
            ("linear_add", Box::new(|x| linear_add(x, &q, &residual).unwrap())),
            ("gated_linear", Box::new(|x| gated_linear(x, &q, &up, Activation::Silu).unwrap())),
            ("normed_linears", Box::new(|x| normed_linears(x, &norm, 1e-5, &[&q, &k]).unwrap())),
            (
                "normed_gated_linear",
                Box::new(|x| normed_gated_linear(x, &norm, 1e-5, &q, &up, Activation::Silu).unwrap()),
            ),
        ];
        for (name, operation) in operations {
            let var = Var::from_tensor(&x).unwrap();
            let y = operation(var.as_tensor());
            let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(bits(&values(&y)), bits(&values(&operation(&x))), "{name}");
            let upstream = tensor(8, y.dims2().unwrap());
            let gradients = (y * &upstream).unwrap().sum_all().unwrap().backward().unwrap();
            let gradient = values(gradients.get(var.as_tensor()).unwrap());
            let loss = |x: &[f32]| -> f64 {
                let y = operation(&Tensor::from_slice(x, (6, 40), &Device::Cpu).unwrap());
                values(&y).iter().zip(values(&upstream)).map(|(&y, g)| f64::from(y) * f64::from(g)).sum()
            };
            for index in [0, 41, 97, 239] {
                let moved = |by: f32| {
                    let mut x = values(&x);
                    x[index] += by;
                    loss(&x)
                };
                let expected = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                let error = (f64::from(gradient[index]) - expected).abs();
                // Differences of f32 results over a step of 1e-2.
                assert!(
                    error <= 5e-3 * expected.abs().max(1.0),
                    "{name} {index}: {} {expected}",
                    gradient[index]
                );
            }
        }
    }
}
