//! The gradients of queries, keys and values. With P the weights, dP = dO V^T and delta = rowsum(dO * O):
//! `dS = P (dP - delta) scale`, `dQ = dS K`, `dK = dS^T Q`, `dV = P^T dO` (FlashAttention-2, arXiv:2307.08691, section 3.1).

use std::ops::Range;

use super::forward::exponentials;
use super::tile::{Columns, KEYS, Keys, ROWS, Rows, Sequences, Task};
use crate::ops::parallel::{SharedMut, share};
use crate::ops::product::Product;
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
    let work = |keys: &Range<usize>, len| {
        keys.len() * if sequences.causal { 2 * len - keys.start - keys.end } else { 2 * len }
    };
    let tasks = sequences.tasks(work);
    let parts = tasks.iter().map(|task| task.index + 1).max().unwrap_or(1);
    let zeros = || vec![T::zero(); operands.q.len()];
    let (mut dq_parts, mut dk, mut dv) = (vec![zeros(); parts], zeros(), zeros());
    let dq_shared: Vec<_> = dq_parts.iter_mut().map(|dq| SharedMut::new(dq)).collect();
    let (dk_shared, dv_shared) = (SharedMut::new(&mut dk), SharedMut::new(&mut dv));
    sequences.workers.run(tasks.len(), &|task| {
        let task = &tasks[task];
        Part::new(sequences, operands, task).run([&dq_shared[task.index], &dk_shared, &dv_shared]);
    });
    let mut dq_parts = dq_parts.into_iter();
    let mut dq = dq_parts.next().unwrap_or_default();
    for part in dq_parts {
        let shared = SharedMut::new(&mut dq);
        by_tokens(sequences, |tokens| {
            let width = sequences.heads * sequences.head_dim;
            // SAFETY: each part takes its own tokens.
            let sums = unsafe { shared.slice(tokens.start * width, tokens.len() * width) };
            sums.iter_mut().zip(&part[tokens.start * width..]).for_each(|(sum, &x)| *sum += x);
        });
    }
    [dq, of_groups(sequences, &dk), of_groups(sequences, &dv)]
}

/// The sums over the query heads of each key head.
fn of_groups<T: Real>(sequences: &Sequences<'_>, x: &[T]) -> Vec<T> {
    let Sequences { heads, kv_heads, head_dim, .. } = *sequences;
    let mut sums = vec![T::zero(); sequences.tokens() * kv_heads * head_dim];
    let (group, width) = (heads / kv_heads * head_dim, kv_heads * head_dim);
    let shared = SharedMut::new(&mut sums);
    by_tokens(sequences, |tokens| {
        // SAFETY: each part takes its own tokens.
        let sums = unsafe { shared.slice(tokens.start * width, tokens.len() * width) };
        let x = x[tokens.start * heads * head_dim..].chunks_exact(group);
        for (sum, x) in sums.chunks_exact_mut(head_dim).zip(x) {
            for x in x.chunks_exact(head_dim) {
                sum.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x);
            }
        }
    });
    sums
}

fn by_tokens(sequences: &Sequences<'_>, run: impl Fn(Range<usize>) + Sync) {
    let parts = sequences.workers.threads().min(sequences.tokens().max(1));
    sequences.workers.run(parts, &|part| run(share(sequences.tokens(), parts, part)));
}

/// Some keys of one head of one sequence, with all rows that see them.
struct Part<'a, T> {
    sequences: &'a Sequences<'a>,
    task: &'a Task<'a>,
    rows: Range<usize>,
    /// Where the head's first row begins, in q, out and the gradient.
    from: usize,
    stride: usize,
    operands: &'a Operands<'a, T>,
    k_rows: Keys<T>,
    v_rows: Keys<T>,
    k_columns: Columns<T>,
    q_columns: Columns<T>,
    gradient_columns: Columns<T>,
}

impl<'a, T: Real> Part<'a, T> {
    fn new(sequences: &'a Sequences<'a>, operands: &'a Operands<'a, T>, task: &'a Task<'a>) -> Self {
        let Sequences { heads, kv_heads, head_dim, causal, .. } = *sequences;
        let Task { span, head, tokens: keys, .. } = task;
        let (stride, kv_stride) = (heads * head_dim, kv_heads * head_dim);
        let kv_from = span.range.start * kv_stride + head / (heads / kv_heads) * head_dim;
        let from = span.range.start * stride + head * head_dim;
        let rows = if causal { keys.start..span.len() } else { 0..span.len() };
        Self {
            k_rows: Keys::new(&operands.k[kv_from..], keys, head_dim, kv_stride),
            v_rows: Keys::new(&operands.v[kv_from..], keys, head_dim, kv_stride),
            k_columns: Columns::new(&operands.k[kv_from..], keys, head_dim, kv_stride),
            q_columns: Columns::new(&operands.q[from..], &rows, head_dim, stride),
            gradient_columns: Columns::new(&operands.gradient[from..], &rows, head_dim, stride),
            sequences,
            task,
            rows,
            from,
            stride,
            operands,
        }
    }

    fn run(&self, [dq_out, dk_out, dv_out]: [&SharedMut<'_, T>; 3]) {
        let (keys_all, width) = (&self.task.tokens, self.sequences.padded_dim());
        let mut weights = vec![T::zero(); ROWS * KEYS];
        let mut slopes = vec![T::zero(); ROWS * KEYS];
        let mut dk = vec![T::zero(); keys_all.len() * width];
        let mut dv = dk.clone();
        let mut dq = vec![T::zero(); ROWS * width];
        for start in self.rows.clone().step_by(ROWS) {
            let rows = start..self.rows.end.min(start + ROWS);
            dq.fill(T::zero());
            let deltas = self.deltas(&rows);
            for keys in self.sequences.key_tiles(&rows, &self.task.span) {
                // Parts are whole tiles.
                if !keys_all.contains(&keys.start) {
                    continue;
                }
                self.slopes(&rows, &keys, &deltas, &mut weights, &mut slopes);
                let rows_of = |tile| Tile { values: tile, stride: KEYS, step: 1, rows: rows.len() };
                let columns_of = |tile| Tile { values: tile, stride: 1, step: KEYS, rows: keys.len() };
                let from = (keys.start - keys_all.start) * width;
                self.add(rows_of(&slopes), &self.k_columns, &keys, &mut dq);
                self.add(columns_of(&slopes), &self.q_columns, &rows, &mut dk[from..]);
                self.add(columns_of(&weights), &self.gradient_columns, &rows, &mut dv[from..]);
            }
            self.write(&dq, rows, dq_out);
        }
        self.write(&dk, keys_all.clone(), dk_out);
        self.write(&dv, keys_all.clone(), dv_out);
    }

    /// `rowsum(dO * O)` of some rows.
    fn deltas(&self, rows: &Range<usize>) -> Vec<T> {
        let Operands { out, gradient, .. } = self.operands;
        let delta = |row: usize| {
            let at = self.from + row * self.stride;
            let dimensions = at..at + self.sequences.head_dim;
            out[dimensions.clone()].iter().zip(&gradient[dimensions]).map(|(&o, &g)| o * g).sum()
        };
        rows.clone().map(delta).collect()
    }

    /// P and dS of a tile.
    fn slopes(
        &self,
        rows: &Range<usize>,
        keys: &Range<usize>,
        deltas: &[T],
        weights: &mut [T],
        slopes: &mut [T],
    ) {
        let (sequences, Operands { q, log_sums, gradient, .. }) = (self.sequences, self.operands);
        let rows_of = |elements: &'a [T]| Rows { elements: &elements[self.from..], stride: self.stride };
        sequences.scores(rows_of(q), &self.k_rows, rows, keys, &self.task.span, weights);
        sequences.multiply_keys(rows_of(gradient), &self.v_rows, rows, keys, slopes);
        let scale = T::of(sequences.scale);
        let tiles = weights.chunks_exact_mut(KEYS).zip(slopes.chunks_exact_mut(KEYS));
        for ((row, &delta), (weights, slopes)) in rows.clone().zip(deltas).zip(tiles) {
            let log_sum = log_sums[(self.task.span.range.start + row) * sequences.heads + self.task.head];
            let weights = &mut weights[..keys.len()];
            exponentials(sequences, weights, log_sum);
            for (slope, &weight) in slopes.iter_mut().zip(&*weights) {
                *slope = weight * (*slope - delta) * scale;
            }
        }
    }

    /// `out += a b`, b the panels' entries `k`.
    fn add(&self, a: Tile<'_, T>, panels: &Columns<T>, k: &Range<usize>, out: &mut [T]) {
        let width = self.sequences.padded_dim();
        let (b, b_stride) = panels.from(k.start);
        let product = Product {
            a: a.values.as_ptr(),
            a_stride: a.stride,
            a_step: a.step,
            rows: a.rows,
            k: k.len(),
            b,
            b_stride,
            panels: width / LANES,
            c: out.as_mut_ptr(),
            c_stride: width,
            c_panel: LANES,
            first: false,
        };
        // SAFETY: a is a tile, the panels hold what it is multiplied by, and `out` has the rows.
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
