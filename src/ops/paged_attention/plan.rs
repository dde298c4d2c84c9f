//! What work a ragged batch is, and how it is dealt out: pure, without a tensor.
//!
//! Sequences whose block tables begin with the same blocks (samples of one prompt, prompts after one system prompt)
//! form a prefix tree. The batch's rows are laid in the tree's order, so that the rows below a node are neighbours;
//! a node is a `Span`: tiles, and the rows that read them. The spans are listed parents first, so a row that passes
//! through its spans in order sees its tiles from left to right, as it would alone.
//!
//! A lane is a row with one query head; the lanes of a KV head are numbered row by row in the tree's order. An item
//! is a range of them, cut so that items cost about the same.

use std::ops::Range;

use crate::ops::kv_pool::BLOCK_SIZE;

/// Lanes that go through a tile together.
pub const LANES_TOGETHER: usize = 16;
/// An item's lanes at most, which bounds what it carries from span to span.
const ITEM_LANES_MAX: usize = 256;
/// Lanes times tiles of an item at most: some tens of microseconds, so that the last item keeps nobody waiting.
const ITEM_COST_MAX: usize = 8192;
/// Items a thread, where there is work enough.
const ITEMS_PER_THREAD: usize = 4;

/// What a plan is made for, beside the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub kv_heads: usize,
    /// Query heads of a KV head.
    pub group: usize,
    pub threads: usize,
    pub group_prefixes: bool,
}

/// Tiles that some rows have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// One of the sequences, whose block table names the tiles' blocks.
    pub sequence: usize,
    pub tiles: Range<usize>,
    /// Rows in the plan's order.
    pub rows: Range<usize>,
}

/// A piece of work: some lanes of a KV head, and the spans among which theirs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub kv_head: usize,
    pub lanes: Range<usize>,
    pub spans: Range<usize>,
}

#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The batch's rows in the plan's order.
    pub rows: Vec<usize>,
    pub spans: Vec<Span>,
    pub items: Vec<Item>,
}

/// The batch's sequences: their rows, and the blocks that these rows see.
struct Sequences<'a> {
    cu_seqlens: &'a [u32],
    tables: Vec<&'a [u32]>,
}

impl Plan {
    /// The batch has been checked: the tables reach as far as the positions do.
    pub fn new(cu_seqlens: &[u32], positions: &[u32], block_tables: &[Vec<u32>], shape: Shape) -> Self {
        let needed = |bounds: &[u32]| {
            let positions = &positions[bounds[0] as usize..bounds[1] as usize];
            positions.iter().max().map_or(0, |&last| last as usize / BLOCK_SIZE + 1)
        };
        let tables =
            block_tables.iter().zip(cu_seqlens.windows(2)).map(|(table, bounds)| &table[..needed(bounds)]);
        let sequences = Sequences { cu_seqlens, tables: tables.collect() };
        let mut plan = Self::default();
        let mut order: Vec<usize> = (0..block_tables.len()).collect();
        if shape.group_prefixes {
            order.sort_by_key(|&sequence| sequences.tables[sequence]);
            plan.grow(&sequences, &order);
        } else {
            for &sequence in &order {
                plan.grow(&sequences, &[sequence]);
            }
        }
        plan.deal(positions, shape);
        plan
    }

    /// Adds the prefix tree of sequences whose tables are in ascending order.
    fn grow(&mut self, sequences: &Sequences<'_>, order: &[usize]) {
        let first_row = self.rows.len();
        // offsets[i] is where the rows of order[i] start in the plan.
        let mut offsets = vec![first_row];
        for &sequence in order {
            let bounds = &sequences.cu_seqlens[sequence..];
            self.rows.extend(bounds[0] as usize..bounds[1] as usize);
            offsets.push(self.rows.len());
        }
        // Ranges of `order` whose tables agree up to a depth. A stack, not recursion: a tree can be as deep as there
        // are sequences.
        let mut open = vec![(0..order.len(), 0)];
        while let Some((range, depth)) = open.pop() {
            if range.is_empty() {
                continue;
            }
            let table = |index: usize| sequences.tables[order[index]];
            // In sorted order, what the first and the last share, all share.
            let (first, last) = (table(range.start), table(range.end - 1));
            let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
            let rows = offsets[range.start]..offsets[range.end];
            if common > depth && !rows.is_empty() {
                self.spans.push(Span { sequence: order[range.start], tiles: depth..common, rows });
            }
            // The tables that end here come first; the others part by their next block.
            let mut start = range.start;
            while start < range.end && table(start).len() == common {
                start += 1;
            }
            let mut parts = Vec::new();
            while start < range.end {
                let block = table(start)[common];
                let mut end = start + 1;
                while end < range.end && table(end)[common] == block {
                    end += 1;
                }
                parts.push((start..end, common));
                start = end;
            }
            open.extend(parts.into_iter().rev());
        }
    }

    /// Cuts the lanes of every KV head into items.
    fn deal(&mut self, positions: &[u32], shape: Shape) {
        let Shape { kv_heads, group, threads, .. } = shape;
        let lanes = self.rows.len() * group;
        // Whole sixteens where they give every thread work, else rows, else single lanes.
        let wanted = threads * 2;
        let granule = match () {
            () if lanes * kv_heads >= wanted * LANES_TOGETHER => LANES_TOGETHER,
            () if self.rows.len() * kv_heads >= threads => group,
            () => 1,
        };
        let cost = |lane: usize| positions[self.rows[lane / group]] as usize / BLOCK_SIZE + 1;
        let total: usize =
            (0..self.rows.len()).map(|row| cost(row * group) * group).sum::<usize>() * kv_heads;
        let target = (total / (threads * ITEMS_PER_THREAD)).clamp(1, ITEM_COST_MAX);
        let mut pieces = Vec::new();
        let (mut start, mut sum) = (0, 0);
        for lane in 0..lanes {
            sum += cost(lane);
            let end = lane + 1;
            let full = sum >= target || end - start + granule > ITEM_LANES_MAX;
            if end == lanes || (full && (end - start).is_multiple_of(granule)) {
                pieces.push((start..end, self.spans_of(start / group..end.div_ceil(group))));
                (start, sum) = (end, 0);
            }
        }
        for kv_head in 0..kv_heads {
            let item = |(lanes, spans): &(Range<usize>, Range<usize>)| Item {
                kv_head,
                lanes: lanes.clone(),
                spans: spans.clone(),
            };
            self.items.extend(pieces.iter().map(item));
        }
    }

    /// The smallest range of spans with all that have some of the rows.
    fn spans_of(&self, rows: Range<usize>) -> Range<usize> {
        let has = |span: &Span| span.rows.start < rows.end && rows.start < span.rows.end;
        let first = self.spans.iter().position(has).unwrap_or(0);
        first..self.spans.iter().rposition(has).map_or(first, |last| last + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPE: Shape = Shape { kv_heads: 3, group: 3, threads: 2, group_prefixes: true };

    /// One row a sequence, at the end of its table.
    fn decode(tables: &[&[u32]]) -> (Vec<u32>, Vec<u32>, Vec<Vec<u32>>) {
        let positions = tables.iter().map(|table| (table.len() * BLOCK_SIZE - 1) as u32).collect();
        ((0..=tables.len() as u32).collect(), positions, tables.iter().map(|table| table.to_vec()).collect())
    }

    fn check(tables: &[&[u32]], expected: &str) {
        let (cu_seqlens, positions, tables) = decode(tables);
        let plan = Plan::new(&cu_seqlens, &positions, &tables, SHAPE);
        let spans = plan.spans.iter().map(|span| {
            let rows = &plan.rows[span.rows.clone()];
            format!("{:?} for {rows:?}", &tables[span.sequence][span.tiles.clone()])
        });
        assert_eq!(spans.collect::<Vec<_>>().join("; "), expected);
    }

    #[test]
    fn shared_blocks_are_one_span() {
        check(&[&[5]], "[5] for [0]");
        check(&[&[5, 6], &[5, 7]], "[5] for [0, 1]; [6] for [0]; [7] for [1]");
        check(&[&[5, 6], &[8], &[5]], "[5] for [2, 0]; [6] for [0]; [8] for [1]");
        check(
            &[&[1, 2, 3], &[1, 4, 5], &[1, 2, 6], &[9, 2]],
            "[1] for [0, 2, 1]; [2] for [0, 2]; [3] for [0]; [6] for [2]; [4, 5] for [1]; [9, 2] for [3]",
        );
        check(&[&[1, 2], &[1, 2]], "[1, 2] for [0, 1]");
    }

    #[test]
    fn work_is_dealt_evenly() {
        let cut = |positions: &[u32], tables: &[Vec<u32>], cu_seqlens: &[u32], shape| -> Vec<usize> {
            let plan = Plan::new(cu_seqlens, positions, tables, shape);
            plan.items.iter().map(|item| item.lanes.len()).collect()
        };
        // 32 samples of one prompt, 3 KV heads, 2 threads: three equal items each.
        let tables: Vec<Vec<u32>> = (0..32).map(|own| vec![0, 1, 2, 3 + own]).collect();
        let bounds: Vec<u32> = (0..=32).collect();
        assert_eq!(cut(&[127; 32], &tables, &bounds, SHAPE), [48; 6]);
        // With many threads, whole rows.
        let many = Shape { threads: 64, ..SHAPE };
        assert_eq!(cut(&[127; 32], &tables, &bounds, many), [3; 96]);
        // A lone decode keeps its KV head's lanes together while there are threads for the heads only.
        assert_eq!(cut(&[31], &[vec![0]], &[0, 1], SHAPE), [3; 3]);
        assert_eq!(cut(&[31], &[vec![0]], &[0, 1], many), [1; 9]);
        // A prompt's items grow shorter towards its end, where a row sees more.
        let positions: Vec<u32> = (0..2048).collect();
        let prefill = cut(&positions, &[(0..64).collect()], &[0, 2048], SHAPE);
        assert!(prefill.len() > 60 && prefill[0] > prefill[prefill.len() - 2], "{prefill:?}");
    }

    /// Random trees: every sequence takes a random path through blocks named by depth and branch.
    fn sequence() -> impl Strategy<Value = (Vec<u32>, usize)> {
        (proptest::collection::vec(0u32..2, 1..6), 0usize..70)
    }

    proptest! {
        #[test]
        fn every_lane_sees_its_tiles_once_from_left_to_right(
            sequences in proptest::collection::vec(sequence(), 1..9),
            kv_heads in 1usize..4,
            group in 1usize..10,
            threads in 1usize..70,
            group_prefixes: bool,
        ) {
            let (mut cu_seqlens, mut positions, mut tables) = (vec![0], Vec::new(), Vec::new());
            for (branches, rows) in &sequences {
                let blocks = branches.iter().enumerate().map(|(depth, branch)| 2 * depth as u32 + branch);
                let end = branches.len() * BLOCK_SIZE;
                positions.extend((end.saturating_sub(*rows)..end).map(|position| position as u32));
                cu_seqlens.push(positions.len() as u32);
                tables.push(blocks.collect::<Vec<u32>>());
            }
            let shape = Shape { kv_heads, group, threads, group_prefixes };
            let plan = Plan::new(&cu_seqlens, &positions, &tables, shape);

            let mut rows = plan.rows.clone();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..positions.len()).collect::<Vec<_>>());

            let mut seen = vec![0; positions.len() * kv_heads * group];
            for item in &plan.items {
                for lane in item.lanes.clone() {
                    let (at, head) = (lane / group, item.kv_head * group + lane % group);
                    let row = plan.rows[at];
                    seen[row * kv_heads * group + head] += 1;
                    let spans = plan.spans[item.spans.clone()].iter().filter(|span| span.rows.contains(&at));
                    let blocks: Vec<u32> =
                        spans.flat_map(|span| tables[span.sequence][span.tiles.clone()].to_vec()).collect();
                    let sequence = cu_seqlens.iter().rposition(|&start| start as usize <= row).unwrap();
                    // Spans may reach further than this row sees, as far as its sequence's last row.
                    prop_assert_eq!(&blocks, &tables[sequence]);
                }
            }
            prop_assert!(seen.iter().all(|&times| times == 1));
        }
    }
}
