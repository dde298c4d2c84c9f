//! Which rows and keys meet: the tiles of a head of a sequence, and their scores.

use std::ops::Range;

use crate::ops::Workers;
use crate::ops::product::{Product, panels_of_columns, panels_of_rows};
use crate::ops::real::Real;
use crate::ops::simd::LANES;

/// Rows of a tile.
pub const ROWS: usize = 64;
/// Keys of a tile, whole panels.
pub const KEYS: usize = 256;
/// Rows, or keys, of a sequence that are a part for a thread, at least; whole tiles of both.
const PART: usize = 1024;
/// Parts of a sequence, at most: each has sums of its own as large as the sequence on the way back.
const PARTS_MAX: usize = 4;

/// A ragged batch, its shapes checked.
pub struct Sequences<'a> {
    /// First 0, ascending.
    pub offsets: &'a [u32],
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub causal: bool,
    pub window: Option<usize>,
    pub scale: f64,
    pub workers: &'a Workers,
}

impl Sequences<'_> {
    pub fn tokens(&self) -> usize {
        self.offsets.last().map_or(0, |&last| last as usize)
    }

    /// The tokens of each sequence that has some.
    pub fn ranges(&self) -> Vec<Range<usize>> {
        let pairs = self.offsets.windows(2).map(|pair| pair[0] as usize..pair[1] as usize);
        pairs.filter(|range| !range.is_empty()).collect()
    }

    /// A sequence's tokens in parts, which depend on its length alone.
    pub fn parts(len: usize) -> impl Iterator<Item = Range<usize>> {
        let part = PART.max(len.div_ceil(PARTS_MAX).next_multiple_of(PART));
        (0..len).step_by(part).map(move |start| start..len.min(start + part))
    }

    /// The parts of all sequences and heads, those with the most work last: that is what threads begin with.
    pub fn tasks(&self, work: impl Fn(&Range<usize>, usize) -> usize) -> Vec<Task> {
        let mut tasks = Vec::new();
        for range in self.ranges() {
            for (index, tokens) in Self::parts(range.len()).enumerate() {
                let of_head = |head| Task { range: range.clone(), head, tokens: tokens.clone(), index };
                tasks.extend((0..self.heads).map(of_head));
            }
        }
        tasks.sort_by_key(|task| work(&task.tokens, task.range.len()));
        tasks
    }

    /// The head dimension in whole panels.
    pub fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// The keys that a row sees, as positions of its sequence of `len` tokens.
    pub fn seen(&self, row: usize, len: usize) -> Range<usize> {
        let first = self.window.map_or(0, |window| (row + 1).saturating_sub(window));
        if self.causal { first..row + 1 } else { 0..len }
    }

    /// The tiles of keys that some of the rows see.
    pub fn key_tiles(&self, rows: &Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let first = self.seen(rows.start, len).start / KEYS;
        let end = self.seen(rows.end - 1, len).end;
        (first..end.div_ceil(KEYS)).map(move |tile| tile * KEYS..end.min((tile + 1) * KEYS))
    }

    /// The scores of some rows and a tile of keys, scaled, in `scores` `[ROWS, KEYS]`; minus infinity where a key is not
    /// seen. `q` holds the head's rows, `stride` apart.
    pub fn scores<T: Real>(
        &self,
        q: Rows<'_, T>,
        k: &Keys<T>,
        rows: &Range<usize>,
        keys: &Range<usize>,
        len: usize,
        scores: &mut [T],
    ) {
        self.multiply_keys(q, k, rows, keys, scores);
        let scale = T::of(self.scale);
        for (row, scores) in rows.clone().zip(scores.chunks_exact_mut(KEYS)) {
            let seen = self.seen(row, len);
            let inside = |key: usize| key.clamp(keys.start, keys.end) - keys.start;
            let (first, end) = (inside(seen.start), inside(seen.end));
            scores[..first].fill(T::neg_infinity());
            scores[end.max(first)..keys.len()].fill(T::neg_infinity());
            scores[first..end.max(first)].iter_mut().for_each(|score| *score *= scale);
        }
    }

    /// The products of rows of `x` with rows of what lies in panels, at `keys`, into `out` `[ROWS, KEYS]`.
    pub fn multiply_keys<T: Real>(
        &self,
        x: Rows<'_, T>,
        panels: &Keys<T>,
        rows: &Range<usize>,
        keys: &Range<usize>,
        out: &mut [T],
    ) {
        let product = Product {
            a: x.elements[rows.start * x.stride..].as_ptr(),
            a_stride: x.stride,
            a_step: 1,
            rows: rows.len(),
            k: self.head_dim,
            b: panels.panels[(keys.start - panels.first) * self.head_dim..].as_ptr(),
            b_stride: self.head_dim * LANES,
            panels: keys.len().div_ceil(LANES),
            c: out.as_mut_ptr(),
            c_stride: KEYS,
            c_panel: LANES,
            first: true,
        };
        // SAFETY: x has the rows, the panels hold these keys from a multiple of sixteen on, and `out` a tile.
        unsafe { T::product(self.workers.isa(), product) };
    }
}

/// What a thread takes of a head of a sequence.
#[derive(Debug, Clone)]
pub struct Task {
    /// The sequence.
    pub range: Range<usize>,
    pub head: usize,
    /// Of the sequence: rows forward, keys backward.
    pub tokens: Range<usize>,
    /// Of the sequence's parts.
    pub index: usize,
}

/// Some keys of one head of a sequence, or values, in panels `[keys / 16][head_dim][16]`.
pub struct Keys<T> {
    panels: Vec<T>,
    /// A multiple of sixteen.
    first: usize,
}

impl<T: Real> Keys<T> {
    /// `x` begins at the head's first row, rows `stride` apart.
    pub fn new(x: &[T], keys: &Range<usize>, head_dim: usize, stride: usize) -> Self {
        let mut panels = vec![T::zero(); keys.len().next_multiple_of(LANES) * head_dim];
        panels_of_rows(&x[keys.start * stride..], keys.len(), head_dim, stride, &mut panels);
        Self { panels, first: keys.start }
    }
}

/// Some tokens of one head of a sequence in panels `[head_dim / 16][tokens][16]`.
pub struct Columns<T> {
    panels: Vec<T>,
    tokens: Range<usize>,
}

impl<T: Real> Columns<T> {
    /// `x` begins at the head's first row, rows `stride` apart.
    pub fn new(x: &[T], tokens: &Range<usize>, head_dim: usize, stride: usize) -> Self {
        let mut panels = vec![T::zero(); tokens.len() * head_dim.next_multiple_of(LANES)];
        panels_of_columns(&x[tokens.start * stride..], tokens.len(), head_dim, stride, &mut panels);
        Self { panels, tokens: tokens.clone() }
    }

    /// From this token on, and how far apart the panels are.
    pub fn from(&self, token: usize) -> (*const T, usize) {
        (self.panels[(token - self.tokens.start) * LANES..].as_ptr(), self.tokens.len() * LANES)
    }
}

/// The rows of one head of a sequence: from `stride` to `stride`.
#[derive(Clone, Copy)]
pub struct Rows<'a, T> {
    pub elements: &'a [T],
    pub stride: usize,
}
