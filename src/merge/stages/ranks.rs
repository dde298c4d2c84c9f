//! Elements whose rank lies in a span: the k largest, or a middle part. Equal elements rank by their index, so that
//! exactly as many are kept as are asked for.

use std::ops::Range;

use super::super::error::MergeError;
use super::super::pool::Pool;
use super::select::{Rank, Stream, equals_before, order_key, ranks};

/// A span of ranks, as values.
#[derive(Debug, Clone)]
pub struct Window {
    low: Option<Edge>,
    high: Option<Edge>,
    is_empty: bool,
}

/// Where a window begins or ends: among the elements of this value, those from the `split`-th on are above the edge.
#[derive(Debug, Clone)]
struct Edge {
    key: u32,
    split: u64,
    /// Elements of the value before each piece, and in all; empty where all of them are above.
    before: Vec<u64>,
}

impl Window {
    /// The windows of spans of ascending ranks among `count` elements; an empty span for a sequence that has none.
    ///
    /// # Errors
    /// A piece that cannot be read.
    pub fn find<S: Stream>(
        pool: &Pool<'_>,
        stream: &S,
        spans: &[Range<u64>],
        count: u64,
    ) -> Result<Vec<Self>, MergeError> {
        let ends = |span: &Range<u64>| [span.start, span.end];
        let inner = |rank: u64| rank > 0 && rank < count;
        let asked: Vec<Vec<u64>> = spans
            .iter()
            .map(|span| ends(span).into_iter().filter(|rank| !span.is_empty() && inner(*rank)).collect())
            .collect();
        let found = ranks(pool, stream, &asked)?;
        let mut windows = Vec::with_capacity(spans.len());
        for ((span, asked), found) in spans.iter().zip(&asked).zip(&found) {
            let edge = |rank: u64| {
                let at = asked.iter().position(|asked| *asked == rank)?;
                let Rank { key, below } = found[at];
                Some(Edge { key, split: rank - below, before: Vec::new() })
            };
            windows.push(if span.is_empty() {
                Self::nothing()
            } else {
                Self { low: edge(span.start), high: edge(span.end), is_empty: false }
            });
        }
        split_equals(pool, stream, &mut windows)?;
        Ok(windows)
    }

    /// One that keeps no element.
    pub fn nothing() -> Self {
        Self { low: None, high: None, is_empty: true }
    }

    /// Set to zero what is outside, in a piece whose ranks go by `key_of`.
    pub fn cut(&self, piece: usize, values: &mut [f32], key_of: impl Fn(f32) -> f32) {
        if let Some((low, high)) = self.keys(piece) {
            for value in values {
                let key = order_key(key_of(*value));
                *value = if key >= low && key < high { *value } else { 0.0 };
            }
            return;
        }
        let mut cursor = self.cursor(piece);
        for value in values {
            if !cursor.keeps(key_of(*value)) {
                *value = 0.0;
            }
        }
    }

    /// The keys that are inside in a piece, the last left out; `None` where an edge goes through the middle of equals there.
    fn keys(&self, piece: usize) -> Option<(u32, u32)> {
        if self.is_empty {
            return Some((0, 0));
        }
        let low = self.low.as_ref().map_or(Some(0), |edge| edge.first_above(piece))?;
        // No finite number has the largest key.
        let high = self.high.as_ref().map_or(Some(u32::MAX), |edge| edge.first_above(piece))?;
        Some((low, high))
    }

    /// Tells piece by piece which elements are inside, asked in order.
    pub fn cursor(&self, piece: usize) -> Cursor<'_> {
        let seen = |edge: &Option<Edge>| {
            edge.as_ref().and_then(|edge| edge.before.get(piece).copied()).unwrap_or_default()
        };
        Cursor { window: self, low_seen: seen(&self.low), high_seen: seen(&self.high) }
    }
}

impl Edge {
    /// The first key that is above the edge in a piece; `None` where some of its equals are and some are not.
    fn first_above(&self, piece: usize) -> Option<u32> {
        match (self.before.get(piece), self.before.get(piece + 1)) {
            (Some(before), _) if *before >= self.split => Some(self.key),
            (_, Some(after)) if *after <= self.split => Some(self.key.saturating_add(1)),
            (Some(_), _) => None,
            (None, _) => Some(self.key),
        }
    }
}

pub struct Cursor<'a> {
    window: &'a Window,
    low_seen: u64,
    high_seen: u64,
}

impl Cursor<'_> {
    /// Whether the next element is inside.
    pub fn keeps(&mut self, value: f32) -> bool {
        let key = order_key(value);
        let above_low = match &self.window.low {
            None => true,
            Some(edge) => is_above(edge, key, &mut self.low_seen),
        };
        let above_high = match &self.window.high {
            None => false,
            Some(edge) => is_above(edge, key, &mut self.high_seen),
        };
        above_low && !above_high && !self.window.is_empty
    }
}

fn is_above(edge: &Edge, key: u32, seen: &mut u64) -> bool {
    if key != edge.key {
        return key > edge.key;
    }
    *seen += 1;
    *seen > edge.split
}

/// Count equals where an edge goes through the middle of them.
fn split_equals<S: Stream>(pool: &Pool<'_>, stream: &S, windows: &mut [Window]) -> Result<(), MergeError> {
    let mut keys: Vec<Vec<u32>> = Vec::with_capacity(windows.len());
    for window in windows.iter() {
        let edges = [&window.low, &window.high].into_iter().flatten();
        // With none of the equals below the edge, the first seen is above it already.
        keys.push(edges.filter(|edge| edge.split > 0).map(|edge| edge.key).collect());
    }
    if keys.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let before = equals_before(pool, stream, &keys)?;
    for (sequence, window) in windows.iter_mut().enumerate() {
        let edges = [&mut window.low, &mut window.high].into_iter().flatten();
        for (at, edge) in edges.filter(|edge| edge.split > 0).enumerate() {
            edge.before.clone_from(&before[sequence][at]);
        }
    }
    Ok(())
}
