//! Scores, softmax and the weighted sum of values, a tile after the other, with a running maximum and sum.

use std::ops::Range;

use super::tile::{Columns, KEYS, Keys, ROWS, Rows, Sequences, Task};
use crate::ops::parallel::SharedMut;
use crate::ops::product::Product;
use crate::ops::real::{Real, largest, sum_of};
use crate::ops::simd::LANES;

/// The result `[tokens, heads * head_dim]` and the log-sum-exps `[tokens, heads]`.
pub fn forward<T: Real>(sequences: &Sequences<'_>, q: &[T], k: &[T], v: &[T]) -> (Vec<T>, Vec<T>) {
    let mut out = vec![T::zero(); q.len()];
    let mut log_sums = vec![T::zero(); sequences.tokens() * sequences.heads];
    let (out_shared, log_sums_shared) = (SharedMut::new(&mut out), SharedMut::new(&mut log_sums));
    let tasks = sequences.tasks(|rows, len| rows.len() * if sequences.causal { rows.end } else { len });
    sequences.workers.run(tasks.len(), &|task| {
        Part::new(sequences, [q, k, v], &tasks[task]).run(&out_shared, &log_sums_shared);
    });
    (out, log_sums)
}

/// Some rows of one head of one sequence.
struct Part<'a, T> {
    sequences: &'a Sequences<'a>,
    task: &'a Task<'a>,
    q: Rows<'a, T>,
    k: Keys<T>,
    v: Columns<T>,
}

impl<'a, T: Real> Part<'a, T> {
    fn new(sequences: &'a Sequences<'a>, [q, k, v]: [&'a [T]; 3], task: &'a Task<'a>) -> Self {
        let Sequences { heads, kv_heads, head_dim, causal, .. } = *sequences;
        let Task { span, head, tokens, .. } = task;
        let (stride, kv_stride) = (heads * head_dim, kv_heads * head_dim);
        let from = span.range.start * kv_stride + head / (heads / kv_heads) * head_dim;
        let keys = if causal { tokens.end } else { span.len() };
        Self {
            q: Rows { elements: &q[span.range.start * stride + head * head_dim..], stride },
            k: Keys::new(&k[from..], &(0..keys), head_dim, kv_stride),
            v: Columns::new(&v[from..], &(0..keys), head_dim, kv_stride),
            sequences,
            task,
        }
    }

    fn run(&self, out: &SharedMut<'_, T>, log_sums: &SharedMut<'_, T>) {
        let Sequences { heads, head_dim, .. } = *self.sequences;
        let (width, Task { span, head, tokens, .. }) = (self.sequences.padded_dim(), self.task);
        let mut scores = vec![T::zero(); ROWS * KEYS];
        let mut sums = vec![T::zero(); ROWS * width];
        for start in tokens.clone().step_by(ROWS) {
            let rows = start..tokens.end.min(start + ROWS);
            let mut state = vec![(T::neg_infinity(), T::zero()); rows.len()];
            sums.fill(T::zero());
            for keys in self.sequences.key_tiles(&rows, span) {
                self.sequences.scores(self.q, &self.k, &rows, &keys, span, &mut scores);
                self.soften(&mut scores, &mut sums, &mut state, keys.len());
                self.add_values(&scores, &keys, rows.len(), &mut sums);
            }
            for (index, (largest, sum)) in state.into_iter().enumerate() {
                let token = span.range.start + start + index;
                // SAFETY: this token's part of this head is this part's alone.
                let (out, log_sum) = unsafe {
                    let at = token * heads + head;
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
            *sum = *sum * factor + sum_of(scores);
            *before = now;
            for x in sums {
                *x *= factor;
            }
        }
    }

    fn add_values(&self, weights: &[T], keys: &Range<usize>, rows: usize, sums: &mut [T]) {
        let width = self.sequences.padded_dim();
        let (values, values_stride) = self.v.from(keys.start);
        let product = Product {
            a: weights.as_ptr(),
            a_stride: KEYS,
            a_step: 1,
            rows,
            k: keys.len(),
            b: values,
            b_stride: values_stride,
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
    let exponentials = |seen: &mut [T]| {
        for x in seen.iter_mut() {
            *x -= shift;
        }
        T::exp_all(sequences.workers.isa(), seen);
    };
    let scores = &mut scores[first..end];
    if sequences.branches.is_empty() {
        return exponentials(scores);
    }
    for run in scores.chunk_by_mut(|&a, &b| hidden(a) == hidden(b)) {
        if hidden(run[0]) {
            run.fill(T::zero());
        } else {
            exponentials(run);
        }
    }
}
