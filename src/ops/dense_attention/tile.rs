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
    /// Of each sequence where its branches begin; none where nothing branches.
    pub branches: &'a [Vec<u32>],
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub causal: bool,
    pub window: Option<usize>,
    pub scale: f64,
    pub workers: &'a Workers,
}

impl<'a> Sequences<'a> {
    pub fn tokens(&self) -> usize {
        self.offsets.last().map_or(0, |&last| last as usize)
    }

    /// Each sequence that has tokens.
    pub fn spans(&self) -> impl Iterator<Item = Span<'a>> {
        let branches = self.branches.iter().map(Vec::as_slice).chain(std::iter::repeat(&[][..]));
        let spans = self.offsets.windows(2).zip(branches);
        let spans =
            spans.map(|(pair, branches)| Span { range: pair[0] as usize..pair[1] as usize, branches });
        spans.filter(|span| !span.range.is_empty())
    }

    /// A sequence's tokens in parts, which depend on its length alone.
    pub fn parts(len: usize) -> impl Iterator<Item = Range<usize>> {
        let part = PART.max(len.div_ceil(PARTS_MAX).next_multiple_of(PART));
        (0..len).step_by(part).map(move |start| start..len.min(start + part))
    }

    /// The parts of all sequences and heads, those with the most work last: that is what threads begin with.
    pub fn tasks(&self, work: impl Fn(&Range<usize>, usize) -> usize) -> Vec<Task<'a>> {
        let mut tasks = Vec::new();
        for span in self.spans() {
            for (index, tokens) in Self::parts(span.len()).enumerate() {
                let of_head = |head| Task { span: span.clone(), head, tokens: tokens.clone(), index };
                tasks.extend((0..self.heads).map(of_head));
            }
        }
        tasks.sort_by_key(|task| work(&task.tokens, task.span.len()));
        tasks
    }

    /// The head dimension in whole panels.
    pub fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// The keys that a row sees, as places in its sequence: those of what branches see it before their own.
    pub fn seen(&self, row: usize, span: &Span<'_>) -> [Range<usize>; 2] {
        if !self.causal {
            return [0..0, 0..span.len()];
        }
        let (stem, start) = span.branch_of(row);
        let first = |position: usize| self.window.map_or(0, |window| (position + 1).saturating_sub(window));
        let position = stem + row - start;
        [first(position).min(stem)..stem, start + first(position).saturating_sub(stem)..row + 1]
    }

    /// The tiles of keys that some of the rows see.
    pub fn key_tiles(
        &self,
        rows: &Range<usize>,
        span: &Span<'_>,
    ) -> impl Iterator<Item = Range<usize>> + use<> {
        let [before, own] = self.seen(rows.start, span);
        let end = self.seen(rows.end - 1, span)[1].end;
        // A branch that begins among the rows sees more of the stem than the one that ends there.
        let befores =
            rows.clone().map(|row| self.seen(row, span)[0].clone()).filter(|before| !before.is_empty());
        let stem = if span.branches.is_empty() {
            before
        } else {
            befores.reduce(|a, b| a.start.min(b.start)..b.end).unwrap_or(before)
        };
        let first = own.start / KEYS;
        let tiles = (stem.start / KEYS..first.min(stem.end.div_ceil(KEYS))).chain(first..end.div_ceil(KEYS));
        tiles.map(move |tile| tile * KEYS..end.min((tile + 1) * KEYS))
    }

    /// The scores of some rows and a tile of keys, scaled, in `scores` `[ROWS, KEYS]`; minus infinity where a key is not
    /// seen. `q` holds the head's rows, `stride` apart.
    pub fn scores<T: Real>(
        &self,
        q: Rows<'_, T>,
        k: &Keys<T>,
        rows: &Range<usize>,
        keys: &Range<usize>,
        span: &Span<'_>,
        scores: &mut [T],
    ) {
        self.multiply_keys(q, k, rows, keys, scores);
        let scale = T::of(self.scale);
        for (row, scores) in rows.clone().zip(scores.chunks_exact_mut(KEYS)) {
            let mut hidden = 0;
            for seen in self.seen(row, span) {
                let inside = |key: usize| key.clamp(keys.start, keys.end) - keys.start;
                let (first, end) = (inside(seen.start).max(hidden), inside(seen.end));
                if first < end {
                    scores[hidden..first].fill(T::neg_infinity());
                    scores[first..end].iter_mut().for_each(|score| *score *= scale);
                    hidden = end;
                }
            }
            scores[hidden..keys.len()].fill(T::neg_infinity());
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

/// One sequence of a batch.
#[derive(Debug, Clone)]
pub struct Span<'a> {
    /// Its tokens in the batch.
    pub range: Range<usize>,
    /// Where its branches begin, ascending: each goes on from what lies before the first of them, the stem, and sees no other.
    pub branches: &'a [u32],
}

impl Span<'_> {
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// The tokens of the stem that a row's branch goes on from, and where the branch begins: 0 and 0 in the stem itself.
    fn branch_of(&self, row: usize) -> (usize, usize) {
        match self.branches.partition_point(|&start| start as usize <= row) {
            0 => (0, 0),
            after => (self.branches[0] as usize, self.branches[after - 1] as usize),
        }
    }
}

/// What a thread takes of a head of a sequence.
#[derive(Debug, Clone)]
pub struct Task<'a> {
    pub span: Span<'a>,
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
