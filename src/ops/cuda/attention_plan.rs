//! How a ragged batch is dealt out to blocks of the attention kernel: pure, without a device.
//!
//! A sequence with many lanes (a prompt's chunk) is cut by lanes, and a block takes all of its splits in turn. One with few (decoding,
//! drafts) is cut by splits of 256 positions, so that a long context keeps many blocks busy; what they find is merged later. Where
//! decoding sequences share all blocks of a split, one item reads them for all. No bit of a result depends on any of this:
//! kernels/paged_attention.cu says why.

use super::wire::AttentionItem;

/// Positions of a block of the pool, and of a tile.
const BLOCK: usize = 32;
/// Positions of a split; `SPLIT_TILES` in the kernel.
pub(super) const SPLIT: usize = 256;
const SPLIT_BLOCKS: usize = SPLIT / BLOCK;
/// Lanes of a warp.
pub(super) const WARP_LANES: usize = 16;
/// Warps of a wide block.
pub(super) const WIDE_WARPS: usize = 4;
const WIDE_LANES: usize = WARP_LANES * WIDE_WARPS;

/// The batch as `PagedBatch` has it, checked: tables reach as far as positions do.
#[derive(Debug, Clone, Copy)]
pub struct PlannedBatch<'a> {
    /// `[sequences + 1]`
    pub cu_seqlens: &'a [u32],
    /// `[rows]`
    pub positions: &'a [u32],
    /// `[sequences]`
    pub block_tables: &'a [Vec<u32>],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanShape {
    /// Query heads of a KV head.
    pub group: usize,
    pub sliding_window: Option<usize>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttentionPlan {
    /// The batch's rows in the plan's order; lanes are numbered by it.
    pub rows: Vec<i32>,
    /// Items of up to 16 lanes, for blocks of one warp.
    pub narrow: Vec<AttentionItem>,
    /// Items of up to 64, for blocks of four.
    pub wide: Vec<AttentionItem>,
    /// Rows whose splits are merged.
    pub merged_rows: Vec<i32>,
    /// `[rows]`: where a merged row's splits begin among the partial results; 0 of others.
    pub slots: Vec<i32>,
    /// Partial results in all.
    pub slot_count: usize,
}

impl AttentionPlan {
    pub fn new(batch: PlannedBatch<'_>, shape: PlanShape) -> Self {
        let mut planner = Planner { batch, shape, plan: Self::default() };
        planner.plan.slots = vec![0; batch.positions.len()];
        let (mut decoding, mut prompts) = (Vec::new(), Vec::new());
        for sequence in 0..batch.block_tables.len() {
            match planner.rows_of(sequence).len() * shape.group {
                0 => {}
                lanes if lanes <= WIDE_LANES => decoding.push(sequence),
                _ => prompts.push(sequence),
            }
        }
        for sequence in prompts {
            let start = planner.lay(sequence);
            planner.add(start..planner.plan.rows.len(), sequence, None);
        }
        planner.deal_splits(decoding);
        planner.plan
    }
}

struct Planner<'a> {
    batch: PlannedBatch<'a>,
    shape: PlanShape,
    plan: AttentionPlan,
}

impl Planner<'_> {
    fn rows_of(&self, sequence: usize) -> std::ops::Range<usize> {
        self.batch.cu_seqlens[sequence] as usize..self.batch.cu_seqlens[sequence + 1] as usize
    }

    /// Puts the sequence's rows behind those that are planned; where they begin.
    fn lay(&mut self, sequence: usize) -> usize {
        let start = self.plan.rows.len();
        let rows = self.rows_of(sequence);
        self.plan.rows.extend(rows.map(|row| row as i32));
        start
    }

    fn first_seen(&self, position: usize) -> usize {
        self.shape.sliding_window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// Whole blocks that the sequence's rows reach.
    fn blocks_of(&self, sequence: usize) -> &[u32] {
        let last = self.rows_of(sequence).map(|row| self.batch.positions[row] as usize).max().unwrap_or(0);
        &self.batch.block_tables[sequence][..=last / BLOCK]
    }

    /// Sequences with few lanes, split by split.
    fn deal_splits(&mut self, mut sequences: Vec<usize>) {
        // Neighbours share the most.
        sequences.sort_by(|&a, &b| self.blocks_of(a).cmp(self.blocks_of(b)).then(a.cmp(&b)));
        let mut starts = Vec::new();
        for &sequence in &sequences {
            starts.push(self.lay(sequence));
            for row in self.rows_of(sequence) {
                let position = self.batch.positions[row] as usize;
                self.plan.merged_rows.push(row as i32);
                self.plan.slots[row] = self.plan.slot_count as i32;
                self.plan.slot_count += position / SPLIT - self.first_seen(position) / SPLIT + 1;
            }
        }
        starts.push(self.plan.rows.len());
        let splits = sequences.iter().map(|&of| self.blocks_of(of).len().div_ceil(SPLIT_BLOCKS)).max();
        for split in 0..splits.unwrap_or(0) {
            let mut at = 0;
            while at < sequences.len() {
                let mut end = at + 1;
                while end < sequences.len() && self.share(sequences[at], sequences[end], split) {
                    end += 1;
                }
                self.add(starts[at]..starts[end], sequences[at], Some(split));
                at = end;
            }
        }
    }

    /// Whether both have all of the split's blocks, and the same ones up to its end.
    fn share(&self, a: usize, b: usize, split: usize) -> bool {
        let end = (split + 1) * SPLIT_BLOCKS;
        matches!((self.blocks_of(a).get(..end), self.blocks_of(b).get(..end)), (Some(a), Some(b)) if a == b)
    }

    /// Items for rows of the plan, over one split or all of what they see.
    fn add(&mut self, rows: std::ops::Range<usize>, sequence: usize, split: Option<usize>) {
        let group = self.shape.group;
        let lanes = rows.start * group..rows.end * group;
        for first in lanes.clone().step_by(WIDE_LANES) {
            let end = (first + WIDE_LANES).min(lanes.end);
            let (mut first_position, mut end_position) = (usize::MAX, 0);
            for &row in &self.plan.rows[first / group..=(end - 1) / group] {
                let position = self.batch.positions[row as usize] as usize;
                first_position = first_position.min(self.first_seen(position));
                end_position = end_position.max(position + 1);
            }
            if let Some(split) = split {
                first_position = first_position.max(split * SPLIT);
                end_position = end_position.min((split + 1) * SPLIT);
            }
            if first_position >= end_position {
                continue;
            }
            let item = AttentionItem {
                first_lane: first as i32,
                lanes: (end - first) as i32,
                sequence: sequence as i32,
                first_position: first_position as i32,
                end_position: end_position as i32,
                partial: i32::from(split.is_some()),
            };
            let kind = if end - first <= WARP_LANES { &mut self.plan.narrow } else { &mut self.plan.wide };
            kind.push(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequences as (blocks, positions of the rows); the items must give every lane what it sees, once.
    fn check(
        sequences: &[(&[u32], std::ops::Range<u32>)],
        group: usize,
        sliding_window: Option<usize>,
    ) -> AttentionPlan {
        let (mut cu_seqlens, mut positions, mut tables) = (vec![0], Vec::new(), Vec::new());
        for (table, rows) in sequences {
            positions.extend(rows.clone());
            cu_seqlens.push(positions.len() as u32);
            tables.push(table.to_vec());
        }
        let batch = PlannedBatch { cu_seqlens: &cu_seqlens, positions: &positions, block_tables: &tables };
        let plan = AttentionPlan::new(batch, PlanShape { group, sliding_window });
        let mut sorted = plan.rows.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..positions.len() as i32), "every row is planned once");
        // How often a lane is given a position of its own blocks.
        let mut seen: Vec<Vec<u32>> = vec![Vec::new(); positions.len() * group];
        let items = plan.narrow.iter().map(|item| (item, 16)).chain(plan.wide.iter().map(|item| (item, 64)));
        for (item, lanes_max) in items {
            assert!((1..=lanes_max).contains(&item.lanes), "{item:?}");
            for lane in item.first_lane..item.first_lane + item.lanes {
                let row = plan.rows[lane as usize / group] as usize;
                let own = cu_seqlens.iter().rposition(|&start| start as usize <= row).unwrap();
                let last = positions[row] as usize;
                let first = sliding_window.map_or(0, |window| (last + 1).saturating_sub(window));
                for position in item.first_position.max(first as i32)..item.end_position.min(last as i32 + 1)
                {
                    let block = position as usize / BLOCK;
                    assert_eq!(tables[item.sequence as usize][block], tables[own][block], "{item:?}");
                    seen[row * group + lane as usize % group].push(position as u32);
                }
                let merged = plan.merged_rows.contains(&(row as i32));
                assert_eq!(item.partial == 1, merged, "{item:?}");
            }
            if item.partial == 1 {
                let splits = [item.first_position, item.end_position - 1].map(|at| at as usize / SPLIT);
                assert_eq!(splits[0], splits[1], "{item:?}");
            }
        }
        for (lane, seen) in seen.iter_mut().enumerate() {
            let last = positions[lane / group];
            let first = sliding_window.map_or(0, |window| (last + 1).saturating_sub(window as u32));
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(first..=last), "lane {lane}");
        }
        // Slots of merged rows lie end to end.
        let mut end = 0;
        for &row in &plan.merged_rows {
            assert_eq!(plan.slots[row as usize], end);
            let last = positions[row as usize] as usize;
            let first = sliding_window.map_or(0, |window| (last + 1).saturating_sub(window));
            end += (last / SPLIT - first / SPLIT + 1) as i32;
        }
        assert_eq!(plan.slot_count, end as usize);
        plan
    }

    fn blocks(start: u32, count: u32) -> Vec<u32> {
        (start..start + count).collect()
    }

    #[test]
    fn prompts_are_cut_by_lanes_and_decoding_by_splits() {
        let plan = check(&[(&blocks(0, 4), 0..100), (&blocks(10, 32), 999..1_000)], 4, None);
        // 400 lanes are six times 64 and 16.
        assert_eq!((plan.wide.len(), plan.narrow.len(), plan.merged_rows.len()), (6, 1 + 4, 1));
        assert_eq!(plan.narrow.iter().filter(|item| item.partial == 1).count(), 4);
    }

    #[test]
    fn what_is_shared_is_read_once() {
        let prompt = blocks(0, 20);
        let tables: Vec<Vec<u32>> = (0..32).map(|i| [&prompt[..], &[100 + i, 200 + i]].concat()).collect();
        let sequences: Vec<(&[u32], _)> = tables.iter().map(|table| (&table[..], 690..691)).collect();
        let plan = check(&sequences, 7, None);
        // 224 lanes over two splits that all share, and a third for each.
        assert_eq!((plan.wide.len(), plan.narrow.len()), (2 * 4, 32));
    }

    #[test]
    fn odd_batches() {
        let one = blocks(0, 40);
        check(&[], 1, None);
        check(&[(&one, 0..1)], 1, None);
        check(&[(&one, 1_200..1_200)], 3, None);
        check(&[(&one, 1_200..1_209), (&one, 700..701)], 7, None);
        check(&[(&one, 1_200..1_209), (&one, 1_000..1_100), (&one[..9], 256..257)], 2, Some(300));
        check(&[(&one, 30..33), (&one, 255..257), (&one, 511..512)], 64, Some(1));
    }
}
