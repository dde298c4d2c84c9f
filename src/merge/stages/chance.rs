//! della's draws: an element is kept with a chance that grows with the rank of its magnitude in its row.
//!
//! A row that fits is sorted in memory. The one row of a long tensor is ranked a span of magnitudes at a time: their bits are counted,
//! and each span is gathered in a pass over the row and sorted. What is kept is a bit an element then, and the same either way.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::error::MergeError;
use super::super::pool::Pool;
use super::derived::Derived;
use super::masks::uniform;
use super::operands::{Buffers, Operands};
use super::select::{BUCKETS, Digits, histogram, order_key};

/// Elements of the longest row that is sorted in memory: 8 bytes each, beside the vectors.
const SORTED_MAX: usize = 1 << 22;

/// Elements that all threads gather at once: 256 MiB.
const GATHERED_MAX: usize = 32 << 20;

/// Buckets whose lower halves are counted in one pass, in 512 KiB a thread each.
const REFINED_MAX: usize = 16;

/// Whether a tensor is one row, too long to be sorted in memory.
pub fn is_long_row(shape: &[usize]) -> bool {
    let row = shape.last().copied().unwrap_or(1);
    row > SORTED_MAX && shape.iter().product::<usize>() == row
}

/// Bytes that a long row takes beside the pieces: a bit an element and vector, and the gathered spans.
pub fn long_row_bytes(elements: usize, vectors: usize) -> u64 {
    (elements.div_ceil(8) * vectors + GATHERED_MAX * 8) as u64
}

/// Elements of a span, where this many are gathered at once.
pub fn span_length(threads: usize) -> usize {
    (GATHERED_MAX / threads.max(1)).max(1 << 20)
}

/// From `density - epsilon` for the smallest of a row to `density + epsilon` for the largest; `key` names the draws.
#[derive(Debug, Clone, Copy)]
pub struct Chance {
    pub density: f64,
    pub epsilon: f64,
    pub key: u64,
}

impl Chance {
    /// Whether the element at `index` of the tensor is kept, which has this rank of 0 to `last` in its row.
    fn keeps(&self, rank: u64, last: u64, index: usize) -> bool {
        let (least, width) = ((self.density - self.epsilon) as f32, self.epsilon as f32);
        // A row of one has the middle rank.
        let rank = if last > 0 { rank as f32 / last as f32 } else { 0.5 };
        uniform(self.key, index) < least + rank * 2.0 * width
    }

    /// Set to zero what is not kept of a row. `start` is the index of its first element in the tensor.
    pub fn cut(&self, start: usize, row: &mut [f32], order: &mut Vec<u64>) {
        order.clear();
        order.extend(row.iter().enumerate().map(|(at, value)| entry(order_key(value.abs()), at)));
        order.sort_unstable();
        let last = row.len().saturating_sub(1) as u64;
        for (rank, entry) in order.iter().enumerate() {
            let at = index_of(*entry);
            if !self.keeps(rank as u64, last, start + at) {
                row[at] = 0.0;
            }
        }
    }
}

/// A magnitude and where it is, in the order of ranks: equals go by index.
fn entry(key: u32, at: usize) -> u64 {
    u64::from(key) << 32 | at as u64
}

fn index_of(entry: u64) -> usize {
    (entry & 0xFFFF_FFFF) as usize
}

/// What is kept of a long row.
pub struct Kept(Vec<AtomicU64>);

impl Kept {
    /// `operands` has the row as its one vector; at most `span` elements are gathered at once by each thread.
    ///
    /// # Errors
    /// A tensor that cannot be read, or that has too many elements to be named in 32 bits.
    pub fn find(
        pool: &Pool<'_>,
        operands: &Operands<'_>,
        chance: Chance,
        span: usize,
    ) -> Result<Self, MergeError> {
        let count = operands.len();
        if u32::try_from(count).is_err() {
            let problem = format!("has {count} elements in a row, of which 4294967295 can be ranked");
            return Err(MergeError::Tensor { tensor: operands.name.to_owned(), problem });
        }
        let kept = Self((0..count.div_ceil(64)).map(|_| AtomicU64::new(u64::MAX)).collect());
        let last = count.saturating_sub(1) as u64;
        let spans = spans(pool, operands, span as u64)?;
        pool.each(
            spans.len(),
            || (operands.buffers(), Vec::new()),
            |(buffers, gathered): &mut (Buffers, Vec<u64>), at| {
                let Span { keys, below, is_sorted } = &spans[at];
                let mut met = *below;
                gathered.clear();
                for piece in 0..operands.pieces() {
                    pool.check()?;
                    let range = operands.load(buffers, piece)?;
                    for (at, value) in buffers.vectors[0][..range.len()].iter().enumerate() {
                        let (key, index) = (order_key(value.abs()), range.start + at);
                        if !keys.contains(&key) {
                            continue;
                        }
                        if *is_sorted {
                            gathered.push(entry(key, index));
                        } else {
                            kept.set(index, chance.keeps(met, last, index));
                            met += 1;
                        }
                    }
                }
                gathered.sort_unstable();
                for (rank, entry) in (*below..).zip(gathered.iter()) {
                    let index = index_of(*entry);
                    kept.set(index, chance.keeps(rank, last, index));
                }
                Ok(())
            },
        )?;
        Ok(kept)
    }

    fn set(&self, index: usize, is_kept: bool) {
        if !is_kept {
            self.0[index / 64].fetch_and(!(1 << (index % 64)), Ordering::Relaxed);
        }
    }

    /// Set to zero what is not kept of the elements from `start` on.
    pub fn cut(&self, start: usize, values: &mut [f32]) {
        for (index, value) in (start..).zip(values) {
            if self.0[index / 64].load(Ordering::Relaxed) >> (index % 64) & 1 == 0 {
                *value = 0.0;
            }
        }
    }
}

/// Magnitudes that are ranked together.
#[derive(Debug, PartialEq, Eq)]
struct Span {
    keys: RangeInclusive<u32>,
    /// Elements below them.
    below: u64,
    /// Whether they are gathered and sorted; a magnitude that alone has too many elements is ranked as they come.
    is_sorted: bool,
}

/// The keys of all magnitudes, in spans of at most `length` elements but for those of one key.
fn spans(pool: &Pool<'_>, operands: &Operands<'_>, length: u64) -> Result<Vec<Span>, MergeError> {
    let stream = Derived { operands, width: 1, numbers: magnitude };
    let high = &histogram(pool, &stream, Digits::High(&[true]))?[0][0];
    let large: Vec<u32> = (0..BUCKETS).filter(|at| high[*at] > length).map(|at| at as u32).collect();
    let mut refined = Vec::with_capacity(large.len());
    for buckets in large.chunks(REFINED_MAX) {
        refined.extend(histogram(pool, &stream, Digits::Low(&[buckets.to_vec()]))?.swap_remove(0));
    }
    let mut spans = Spans { length, found: Vec::new(), open: None, below: 0 };
    for (bucket, count) in high.iter().enumerate() {
        let first = (bucket as u32) << 16;
        match large.binary_search(&(bucket as u32)) {
            Err(_) => spans.add(first..=first | 0xFFFF, *count),
            Ok(at) => {
                for (low, count) in refined[at].iter().enumerate() {
                    let key = first | low as u32;
                    spans.add(key..=key, *count);
                }
            }
        }
    }
    spans.close();
    Ok(spans.found)
}

struct Spans {
    length: u64,
    found: Vec<Span>,
    /// Keys and elements of the span that may yet grow.
    open: Option<(RangeInclusive<u32>, u64)>,
    /// Elements below it.
    below: u64,
}

impl Spans {
    /// The next keys, in ascending order.
    fn add(&mut self, keys: RangeInclusive<u32>, count: u64) {
        if count == 0 {
            return;
        }
        match &mut self.open {
            Some((open, held)) if *held + count <= self.length => {
                *open = *open.start()..=*keys.end();
                *held += count;
            }
            _ => {
                self.close();
                self.open = Some((keys, count));
            }
        }
    }

    fn close(&mut self) {
        if let Some((keys, count)) = self.open.take() {
            self.found.push(Span { keys, below: self.below, is_sorted: count <= self.length });
            self.below += count;
        }
    }
}

fn magnitude(buffers: &mut Buffers, range: std::ops::Range<usize>, take: &mut dyn FnMut(usize, &[f32])) {
    let vector = &mut buffers.vectors[0][..range.len()];
    for value in &mut *vector {
        *value = value.abs();
    }
    take(0, vector);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::super::super::elements::Elements;
    use super::super::recipe::Vectors;
    use super::*;
    use crate::weights::WeightsError;

    struct Numbers(Vec<f32>);

    impl Elements for Numbers {
        fn read(&self, from: usize, out: &mut [f32]) -> Result<(), WeightsError> {
            out.copy_from_slice(&self.0[from..from + out.len()]);
            Ok(())
        }
    }

    /// Many zeros, many equals, both signs, and numbers of all sizes.
    fn row(count: usize) -> Vec<f32> {
        let number = |at: usize| {
            let (draw, size) = (uniform(3, at), uniform(5, at));
            let sign = if uniform(9, at) < 0.5 { -1.0 } else { 1.0 };
            match at % 4 {
                0 => 0.0 * sign,
                1 => sign * 0.5,
                2 => sign * (draw * 16.0).round(),
                _ => sign * draw * (size * 40.0 - 20.0).exp(),
            }
        };
        (0..count).map(number).collect()
    }

    #[test]
    fn long_rows_keep_what_short_ones_do() {
        let chance = Chance { density: 0.5, epsilon: 0.4, key: 11 };
        let stop = AtomicBool::new(false);
        for count in [1, 63, 1000, 100_000] {
            let numbers = Numbers(row(count));
            let mut expected = numbers.0.clone();
            chance.cut(0, &mut expected, &mut Vec::new());
            let shape = [count];
            let operands = Operands::new("a", &shape, None, vec![&numbers], Vectors::Weights, false);
            for (threads, span) in [(1, 7), (3, 500), (2, 20_000), (2, 1 << 20)] {
                if count / span > 1000 {
                    continue;
                }
                let pool = Pool { threads, stop: &stop };
                let kept = Kept::find(&pool, &operands, chance, span).unwrap();
                let mut found = numbers.0.clone();
                let (first, second) = found.split_at_mut(count / 2);
                kept.cut(0, first);
                kept.cut(count / 2, second);
                assert_eq!(bits(&found), bits(&expected), "{count} {threads} {span}");
            }
        }
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn spans_hold_all_keys_once() {
        let stop = AtomicBool::new(false);
        let numbers = Numbers(row(10_000));
        let operands = Operands::new("a", &[10_000], None, vec![&numbers], Vectors::Weights, false);
        let spans = spans(&Pool { threads: 2, stop: &stop }, &operands, 300).unwrap();
        let mut below = 0;
        for span in &spans {
            assert_eq!(span.below, below);
            let count = numbers.0.iter().filter(|value| span.keys.contains(&order_key(value.abs()))).count();
            assert_eq!(span.is_sorted, count <= 300, "{span:?}");
            assert!(span.is_sorted || span.keys.start() == span.keys.end());
            below += count as u64;
        }
        assert_eq!(below, 10_000);
        // Zero, a half, and some of the small whole numbers.
        assert!(spans.iter().filter(|span| !span.is_sorted).count() >= 2);
        assert!(spans.windows(2).all(|pair| pair[0].keys.end() < pair[1].keys.start()));
    }

    #[test]
    fn shapes_with_one_long_row() {
        assert!(is_long_row(&[SORTED_MAX + 1]) && is_long_row(&[1, SORTED_MAX + 1]));
        assert!(!is_long_row(&[SORTED_MAX]) && !is_long_row(&[2, SORTED_MAX + 1]) && !is_long_row(&[]));
        assert_eq!(long_row_bytes(1_000_000_000, 3), 375_000_000 + (256 << 20));
    }
}
