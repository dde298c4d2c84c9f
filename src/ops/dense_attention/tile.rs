//! Which rows and keys meet: the tiles of a head of a sequence, and their scores.

use std::ops::Range;

use crate::ops::Workers;
use crate::ops::product::Product;
use crate::ops::real::Real;
use crate::ops::simd::LANES;

/// Rows of a tile.
pub const ROWS: usize = 64;
/// Keys of a tile, whole panels.
pub const KEYS: usize = 256;

/// A ragged batch, its shapes checked.
pub struct Sequences<'a> {
    /// First 0, ascending.
    pub offsets: &'a [u32],
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub causal: bool,
    pub window: Option<usize>,
    pub scale: f32,
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
    /// seen. `q` holds the head's rows, `stride` apart, and `k` the sequence's keys in panels.
    pub fn scores<T: Real>(
        &self,
        q: Rows<'_, T>,
        k: &[T],
        rows: &Range<usize>,
        keys: &Range<usize>,
        len: usize,
        scores: &mut [T],
    ) {
        self.multiply_keys(q, k, rows, keys, scores);
        let scale = T::of(f64::from(self.scale));
        for (row, scores) in rows.clone().zip(scores.chunks_exact_mut(KEYS)) {
            let seen = self.seen(row, len);
            for (key, score) in keys.clone().zip(scores.iter_mut()) {
                *score = if seen.contains(&key) { *score * scale } else { T::neg_infinity() };
            }
        }
    }

    /// The products of rows of `x` with rows of what lies in panels, at `keys`, into `out` `[ROWS, KEYS]`.
    pub fn multiply_keys<T: Real>(
        &self,
        x: Rows<'_, T>,
        panels: &[T],
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
            b: panels[keys.start * self.head_dim..].as_ptr(),
            b_stride: self.head_dim * LANES,
            panels: keys.len().div_ceil(LANES),
            c: out.as_mut_ptr(),
            c_stride: KEYS,
            c_panel: LANES,
            first: true,
        };
        // SAFETY: x has the rows, the panels hold all keys of the sequence from a multiple of sixteen on, and `out` a tile.
        unsafe { T::product(self.workers.isa(), product) };
    }
}

/// The rows of one head of a sequence: from `stride` to `stride`.
#[derive(Clone, Copy)]
pub struct Rows<'a, T> {
    pub elements: &'a [T],
    pub stride: usize,
}
