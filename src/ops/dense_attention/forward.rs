//! Scores, softmax and the weighted sum of values, a tile after the other, with a running maximum and sum.

use std::ops::Range;

use super::tile::{KEYS, ROWS, Rows, Sequences};
use crate::ops::parallel::SharedMut;
use crate::ops::product::{Product, panels_of_columns, panels_of_rows};
use crate::ops::real::{Real, largest};
use crate::ops::simd::LANES;

/// The result `[tokens, heads * head_dim]` and the log-sum-exps `[tokens, heads]`.
pub fn forward<T: Real>(sequences: &Sequences<'_>, q: &[T], k: &[T], v: &[T]) -> (Vec<T>, Vec<T>) {
    let mut out = vec![T::zero(); q.len()];
    let mut log_sums = vec![T::zero(); sequences.tokens() * sequences.heads];
    let (out_shared, log_sums_shared) = (SharedMut::new(&mut out), SharedMut::new(&mut log_sums));
    let ranges = sequences.ranges();
    let group = sequences.heads / sequences.kv_heads;
    sequences.workers.run(ranges.len() * sequences.heads, &|part| {
        let (range, head) = (ranges[part / sequences.heads].clone(), part % sequences.heads);
        let one = Part::new(sequences, [q, k, v], range, head, head / group);
        one.run(&out_shared, &log_sums_shared);
    });
    (out, log_sums)
}

/// One head of one sequence.
struct Part<'a, T> {
    sequences: &'a Sequences<'a>,
    range: Range<usize>,
    head: usize,
    q: Rows<'a, T>,
    /// Panels of keys, `[len / 16][head_dim][16]`.
    k: Vec<T>,
    /// Panels of dimensions, `[head_dim / 16][len][16]`.
    v: Vec<T>,
}

impl<'a, T: Real> Part<'a, T> {
    fn new(
        sequences: &'a Sequences<'a>,
        [q, k, v]: [&'a [T]; 3],
        range: Range<usize>,
        head: usize,
        kv_head: usize,
    ) -> Self {
        let Sequences { heads, kv_heads, head_dim, .. } = *sequences;
        let (len, kv_stride) = (range.len(), kv_heads * head_dim);
        let from = range.start * kv_stride + kv_head * head_dim;
        let mut key_panels = vec![T::zero(); len.next_multiple_of(LANES) * head_dim];
        panels_of_rows(&k[from..], len, head_dim, kv_stride, &mut key_panels);
        let mut value_panels = vec![T::zero(); len * sequences.padded_dim()];
        panels_of_columns(&v[from..], len, head_dim, kv_stride, &mut value_panels);
        let stride = heads * head_dim;
        let q = Rows { elements: &q[range.start * stride + head * head_dim..], stride };
        Self { sequences, range, head, q, k: key_panels, v: value_panels }
    }

    fn run(&self, out: &SharedMut<'_, T>, log_sums: &SharedMut<'_, T>) {
        let Sequences { heads, head_dim, .. } = *self.sequences;
        let (len, width) = (self.range.len(), self.sequences.padded_dim());
        let mut scores = vec![T::zero(); ROWS * KEYS];
        let mut sums = vec![T::zero(); ROWS * width];
        for start in (0..len).step_by(ROWS) {
            let rows = start..len.min(start + ROWS);
            let mut state = vec![(T::neg_infinity(), T::zero()); rows.len()];
            sums.fill(T::zero());
            for keys in self.sequences.key_tiles(&rows, len) {
                self.sequences.scores(self.q, &self.k, &rows, &keys, len, &mut scores);
                self.soften(&mut scores, &mut sums, &mut state, keys.len());
                self.add_values(&scores, &keys, rows.len(), &mut sums);
            }
            for (index, (largest, sum)) in state.into_iter().enumerate() {
                let token = self.range.start + start + index;
                // SAFETY: this token's part of this head is this part's alone.
                let (out, log_sum) = unsafe {
                    let at = token * heads + self.head;
                    (out.slice(at * head_dim, head_dim), log_sums.slice(at, 1))
                };
                log_sum[0] = largest + sum.ln();
                for (out, &x) in out.iter_mut().zip(&sums[index * width..]) {
                    *out = x / sum;
                }
            }
        }
    }

    /// Turns scores into weights relative to each row's largest score so far, and scales what was summed before.
    fn soften(&self, scores: &mut [T], sums: &mut [T], state: &mut [(T, T)], keys: usize) {
        let width = self.sequences.padded_dim();
        let rows = scores.chunks_exact_mut(KEYS).zip(sums.chunks_exact_mut(width));
        for ((before, sum), (scores, sums)) in state.iter_mut().zip(rows) {
            let scores = &mut scores[..keys];
            let now = largest(scores, *before);
            if now == T::neg_infinity() {
                // No key of this tile is seen, nor any before.
                scores.fill(T::zero());
                continue;
            }
            let factor = if *before == T::neg_infinity() { T::zero() } else { (*before - now).exp() };
            exponentials(self.sequences, scores, now);
            *sum = *sum * factor + scores.iter().copied().sum();
            *before = now;
            for x in sums {
                *x *= factor;
            }
        }
    }

    fn add_values(&self, weights: &[T], keys: &Range<usize>, rows: usize, sums: &mut [T]) {
        let (len, width) = (self.range.len(), self.sequences.padded_dim());
        let product = Product {
            a: weights.as_ptr(),
            a_stride: KEYS,
            a_step: 1,
            rows,
            k: keys.len(),
            b: self.v[keys.start * LANES..].as_ptr(),
            b_stride: len * LANES,
            panels: width / LANES,
            c: sums.as_mut_ptr(),
            c_stride: width,
            c_panel: LANES,
            first: false,
        };
        // SAFETY: the weights are a tile, the panels hold all values, and the sums whole rows.
        unsafe { T::product(self.sequences.workers.isa(), product) };
    }
}

/// `exp(score - shift)`, 0 for keys that are not seen.
pub fn exponentials<T: Real>(sequences: &Sequences<'_>, scores: &mut [T], shift: T) {
    let hidden = |x: T| x == T::neg_infinity();
    // The vector exponential ends at exp(-87): what is not seen must be 0 itself.
    let first = scores.iter().position(|&x| !hidden(x)).unwrap_or(scores.len());
    let end = scores.iter().rposition(|&x| !hidden(x)).map_or(first, |last| last + 1);
    scores[..first].fill(T::zero());
    scores[end..].fill(T::zero());
    let seen = &mut scores[first..end];
    for x in seen.iter_mut() {
        *x -= shift;
    }
    T::exp_all(sequences.workers.isa(), seen);
}
