//! The gradients of queries, keys and values. With P the weights, dP = dO V^T and delta = rowsum(dO * O):
//! `dS = P (dP - delta) scale`, `dQ = dS K`, `dK = dS^T Q`, `dV = P^T dO` (FlashAttention-2, arXiv:2307.08691, section 3.1).

use std::ops::Range;

use super::forward::exponentials;
use super::tile::{KEYS, ROWS, Rows, Sequences};
use crate::ops::parallel::SharedMut;
use crate::ops::product::{Product, panels_of_columns, panels_of_rows};
use crate::ops::real::Real;
use crate::ops::simd::LANES;

/// What the forward pass read and made, and the gradient of its result.
pub struct Operands<'a, T> {
    pub q: &'a [T],
    pub k: &'a [T],
    pub v: &'a [T],
    pub out: &'a [T],
    pub log_sums: &'a [T],
    pub gradient: &'a [T],
}

/// The gradients of q, k and v, in their shapes. Those of a key head are summed over its query heads in their order.
pub fn backward<T: Real>(sequences: &Sequences<'_>, operands: &Operands<'_, T>) -> [Vec<T>; 3] {
    let Sequences { heads, kv_heads, head_dim, .. } = *sequences;
    let mut dq = vec![T::zero(); operands.q.len()];
    let (mut dk, mut dv) = (dq.clone(), dq.clone());
    let shared = [SharedMut::new(&mut dq), SharedMut::new(&mut dk), SharedMut::new(&mut dv)];
    let ranges = sequences.ranges();
    sequences.workers.run(ranges.len() * heads, &|part| {
        let (range, head) = (ranges[part / heads].clone(), part % heads);
        Part::new(sequences, operands, range, head).run(&shared);
    });
    let of_group = |x: &[T]| {
        let mut sums = vec![T::zero(); sequences.tokens() * kv_heads * head_dim];
        let group = heads / kv_heads * head_dim;
        for (sum, x) in sums.chunks_exact_mut(head_dim).zip(x.chunks_exact(group)) {
            for x in x.chunks_exact(head_dim) {
                for (sum, &x) in sum.iter_mut().zip(x) {
                    *sum += x;
                }
            }
        }
        sums
    };
    let (dk, dv) = (of_group(&dk), of_group(&dv));
    [dq, dk, dv]
}

/// One head of one sequence.
struct Part<'a, T> {
    sequences: &'a Sequences<'a>,
    range: Range<usize>,
    head: usize,
    /// Where the head's first row begins, in q, out and the gradient.
    from: usize,
    stride: usize,
    operands: &'a Operands<'a, T>,
    /// Panels of keys and of values, `[len / 16][head_dim][16]`.
    k_rows: Vec<T>,
    v_rows: Vec<T>,
    /// Panels of dimensions, `[head_dim / 16][len][16]`.
    k_columns: Vec<T>,
    q_columns: Vec<T>,
    gradient_columns: Vec<T>,
}

impl<'a, T: Real> Part<'a, T> {
    fn new(
        sequences: &'a Sequences<'a>,
        operands: &'a Operands<'a, T>,
        range: Range<usize>,
        head: usize,
    ) -> Self {
        let Sequences { heads, kv_heads, head_dim, .. } = *sequences;
        let (stride, kv_stride, len) = (heads * head_dim, kv_heads * head_dim, range.len());
        let kv_from = range.start * kv_stride + head / (heads / kv_heads) * head_dim;
        let from = range.start * stride + head * head_dim;
        let by_rows = |x: &[T]| {
            let mut panels = vec![T::zero(); len.next_multiple_of(LANES) * head_dim];
            panels_of_rows(&x[kv_from..], len, head_dim, kv_stride, &mut panels);
            panels
        };
        let by_columns = |x: &[T], stride| {
            let mut panels = vec![T::zero(); len * sequences.padded_dim()];
            panels_of_columns(x, len, head_dim, stride, &mut panels);
            panels
        };
        Self {
            k_rows: by_rows(operands.k),
            v_rows: by_rows(operands.v),
            k_columns: by_columns(&operands.k[kv_from..], kv_stride),
            q_columns: by_columns(&operands.q[from..], stride),
            gradient_columns: by_columns(&operands.gradient[from..], stride),
            sequences,
            range,
            head,
            from,
            stride,
            operands,
        }
    }

    fn run(&self, out: &[SharedMut<'_, T>; 3]) {
        let (len, width) = (self.range.len(), self.sequences.padded_dim());
        let mut weights = vec![T::zero(); ROWS * KEYS];
        let mut slopes = vec![T::zero(); ROWS * KEYS];
        let (mut dk, mut dv) = (vec![T::zero(); len * width], vec![T::zero(); len * width]);
        let mut dq = vec![T::zero(); ROWS * width];
        for start in (0..len).step_by(ROWS) {
            let rows = start..len.min(start + ROWS);
            dq.fill(T::zero());
            for keys in self.sequences.key_tiles(&rows, len) {
                self.slopes(&rows, &keys, &mut weights, &mut slopes);
                let rows_of = |tile| Tile { values: tile, stride: KEYS, step: 1, rows: rows.len() };
                let columns_of = |tile| Tile { values: tile, stride: 1, step: KEYS, rows: keys.len() };
                let from = keys.start * width;
                self.add(rows_of(&slopes), &self.k_columns, &keys, &mut dq);
                self.add(columns_of(&slopes), &self.q_columns, &rows, &mut dk[from..]);
                self.add(columns_of(&weights), &self.gradient_columns, &rows, &mut dv[from..]);
            }
            self.write(&dq, rows, &out[0]);
        }
        self.write(&dk, 0..len, &out[1]);
        self.write(&dv, 0..len, &out[2]);
    }

    /// P and dS of a tile.
    fn slopes(&self, rows: &Range<usize>, keys: &Range<usize>, weights: &mut [T], slopes: &mut [T]) {
        let (sequences, Operands { q, out, log_sums, gradient, .. }) = (self.sequences, self.operands);
        let rows_of = |elements: &'a [T]| Rows { elements: &elements[self.from..], stride: self.stride };
        sequences.scores(rows_of(q), &self.k_rows, rows, keys, self.range.len(), weights);
        sequences.multiply_keys(rows_of(gradient), &self.v_rows, rows, keys, slopes);
        let scale = T::of(f64::from(sequences.scale));
        let tiles = weights.chunks_exact_mut(KEYS).zip(slopes.chunks_exact_mut(KEYS));
        for (row, (weights, slopes)) in rows.clone().zip(tiles) {
            let at = self.from + row * self.stride;
            let dimensions = at..at + sequences.head_dim;
            let delta: T =
                out[dimensions.clone()].iter().zip(&gradient[dimensions]).map(|(&o, &g)| o * g).sum();
            let log_sum = log_sums[(self.range.start + row) * sequences.heads + self.head];
            let weights = &mut weights[..keys.len()];
            exponentials(sequences, weights, log_sum);
            for (slope, &weight) in slopes.iter_mut().zip(&*weights) {
                *slope = weight * (*slope - delta) * scale;
            }
        }
    }

    /// `out += a b`, b the panels' entries `k`.
    fn add(&self, a: Tile<'_, T>, panels: &[T], k: &Range<usize>, out: &mut [T]) {
        let width = self.sequences.padded_dim();
        let product = Product {
            a: a.values.as_ptr(),
            a_stride: a.stride,
            a_step: a.step,
            rows: a.rows,
            k: k.len(),
            b: panels[k.start * LANES..].as_ptr(),
            b_stride: self.range.len() * LANES,
            panels: width / LANES,
            c: out.as_mut_ptr(),
            c_stride: width,
            c_panel: LANES,
            first: false,
        };
        // SAFETY: a is a tile, the panels hold the whole sequence, and `out` has the rows.
        unsafe { T::product(self.sequences.workers.isa(), product) };
    }

    /// Rows `[rows, padded_dim]` into this head's part of an output.
    fn write(&self, from: &[T], rows: Range<usize>, out: &SharedMut<'_, T>) {
        let Sequences { head_dim, .. } = *self.sequences;
        for (row, from) in rows.zip(from.chunks_exact(self.sequences.padded_dim())) {
            // SAFETY: this row of this head is this part's alone.
            let to = unsafe { out.slice(self.from + row * self.stride, head_dim) };
            to.copy_from_slice(&from[..head_dim]);
        }
    }
}

/// `[rows, k]`, the rows `stride` apart and their elements `step`: a tile, or the same tile turned.
#[derive(Clone, Copy)]
struct Tile<'a, T> {
    values: &'a [T],
    stride: usize,
    step: usize,
    rows: usize,
}
