//! One item on checked operands, as every kernel sees it: whose lanes they are, what they see, where the tiles lie.

use std::ops::Range;

use super::AttentionSettings;
use super::plan::{Item, Plan, Span};
use crate::ops::KvLayout;
use crate::ops::kv_pool::BLOCK_SIZE;
use crate::ops::rows::StridedRows;

/// The operands have been checked, and `item` is one of `plan`.
pub struct Work<'a, T> {
    /// `[rows, heads, head_dim]`
    pub q: StridedRows<'a>,
    pub heads: usize,
    /// Query heads of a KV head.
    pub group: usize,
    pub positions: &'a [u32],
    pub block_tables: &'a [Vec<u32>],
    pub plan: &'a Plan,
    pub item: &'a Item,
    pub elements: &'a [T],
    pub layout: &'a KvLayout,
    pub layer: usize,
    pub settings: AttentionSettings,
    /// `[rows, heads, head_dim]`; the kernel writes its item's share.
    pub out: *mut f32,
}

// Not derived: that would ask the same of T.
impl<T> Clone for Work<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Work<'_, T> {}

impl<'a, T> Work<'a, T> {
    pub fn lanes(&self) -> usize {
        self.item.lanes.len()
    }

    /// The batch's row and the query head of a lane, counted in the item.
    #[inline(always)]
    fn row_and_head(&self, lane: usize) -> (usize, usize) {
        let lane = self.item.lanes.start + lane;
        (self.plan.rows[lane / self.group], self.item.kv_head * self.group + lane % self.group)
    }

    #[inline(always)]
    pub fn position(&self, lane: usize) -> u32 {
        self.positions[self.row_and_head(lane).0]
    }

    /// `[head_dim]`
    #[inline(always)]
    pub fn query(&self, lane: usize) -> &'a [f32] {
        let (row, head) = self.row_and_head(lane);
        &self.q.row(row)[head * self.layout.head_dim..][..self.layout.head_dim]
    }

    /// Where the lane's head_dim results go.
    #[inline(always)]
    pub fn result(&self, lane: usize) -> *mut f32 {
        let (row, head) = self.row_and_head(lane);
        self.out.wrapping_add((row * self.heads + head) * self.layout.head_dim)
    }

    /// The spans that some of the item's lanes pass through, from left to right, with these lanes.
    #[inline(always)]
    pub fn spans(&self) -> impl Iterator<Item = (&'a Span, Range<usize>)> {
        let (lanes, group) = (self.item.lanes.clone(), self.group);
        self.plan.spans[self.item.spans.clone()].iter().filter_map(move |span| {
            let start = (span.rows.start * group).max(lanes.start);
            let end = (span.rows.end * group).min(lanes.end);
            (start < end).then(|| (span, start - lanes.start..end - lanes.start))
        })
    }

    /// The tile of the item's KV head at a place in a span's block table: K and then V.
    #[inline(always)]
    pub fn tile(&self, span: &Span, tile: usize) -> &'a [T] {
        let block = self.block_tables[span.sequence][tile] as usize;
        &self.elements[self.layout.tile(self.layer, block, self.item.kv_head)..]
            [..self.layout.tile_elements()]
    }

    /// The tiles of the span that some lane at these positions sees.
    #[inline(always)]
    pub fn tiles_seen(&self, span: &Span, positions: &[u32]) -> Range<usize> {
        let first =
            positions.iter().map(|&position| self.first_seen(position)).min().unwrap_or(0) / BLOCK_SIZE;
        let last = positions.iter().max().map_or(0, |&last| last as usize) / BLOCK_SIZE;
        let start = first.max(span.tiles.start);
        start..span.tiles.end.min(last + 1).max(start)
    }

    /// The first position that a row at `position` sees.
    #[inline(always)]
    pub fn first_seen(&self, position: u32) -> usize {
        self.settings.sliding_window.map_or(0, |window| (position as usize + 1).saturating_sub(window))
    }

    /// The part of a tile that a row at `position` sees, first..end; empty where first >= end.
    #[inline(always)]
    pub fn seen(&self, tile: usize, position: u32) -> (usize, usize) {
        let start = tile * BLOCK_SIZE;
        let first = self.first_seen(position).saturating_sub(start).min(BLOCK_SIZE);
        (first, (position as usize + 1).saturating_sub(start).min(BLOCK_SIZE))
    }
}
