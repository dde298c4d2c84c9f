//! How a ragged batch is dealt out to blocks of the attention kernel: pure, without a device.
//!
//! A sequence with many lanes (a prompt's chunk) is cut by lanes, and a block takes all of its splits in turn. One with few (decoding,
//! drafts) is cut by splits of 256 positions, so that a long context keeps many blocks busy; what they find is merged later. Where
//! decoding sequences share all blocks of a split, one item reads them for all. No bit of a result depends on any of this:
//! kernels/paged_attention.cu says why. What a block and a plan take of memory is here too.

use half::bf16;

use super::wire::AttentionItem;

/// Positions of a block of the pool, and of a tile.
const BLOCK: usize = 32;
/// Positions of a split; `SPLIT_TILES` in the kernel.
pub(super) const SPLIT: usize = 256;
const SPLIT_BLOCKS: usize = SPLIT / BLOCK;
/// Lanes of a warp.
const WARP_LANES: usize = 16;
/// Sequences with more are cut by lanes.
const SPLIT_LANES_MAX: usize = 64;

/// Dynamic shared memory of a block: two stages of K and V, the queries, and what was folded so far.
pub(super) const fn shared_bytes(head_dim: usize, warps: usize) -> usize {
    // Rows are longer than a head, so that they lie in different banks.
    let row = (head_dim + 8) * size_of::<bf16>();
    2 * 2 * BLOCK * row + warps * WARP_LANES * row + warps * WARP_LANES * head_dim * size_of::<f32>()
}

/// Warps of a wide block on a GPU that gives a block so much shared memory; `None` if not even one has room. Heads of 256 take 163 KB
/// with four: all that compute capability 8.0 gives, and more than the 99 KB of 8.6, 8.9 and 12.0.
pub(super) fn wide_warps(head_dim: usize, shared_bytes_max: usize) -> Option<usize> {
    [4, 2, 1].into_iter().find(|&warps| shared_bytes(head_dim, warps) <= shared_bytes_max)
}

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
    /// Of a wide block: what `Gpu::wide_warps` says of the heads.
    pub wide_warps: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttentionPlan {
    /// What it was made for, and holds for alone.
    pub shape: PlanShape,
    /// The batch's rows in the plan's order; lanes are numbered by it.
    pub rows: Vec<i32>,
    /// Items of up to 16 lanes, for blocks of one warp.
    pub narrow: Vec<AttentionItem>,
    /// Items of more, for blocks of `wide_warps`.
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
        let plan = Self {
            shape,
            rows: Vec::with_capacity(batch.positions.len()),
            narrow: Vec::new(),
            wide: Vec::new(),
            merged_rows: Vec::new(),
            slots: vec![0; batch.positions.len()],
            slot_count: 0,
        };
        let mut planner = Planner { batch, plan };
        let (mut decoding, mut prompts) = (Vec::new(), Vec::new());
        for sequence in 0..batch.block_tables.len() {
            match planner.rows_of(sequence).len() * shape.group {
                0 => {}
                lanes if lanes <= SPLIT_LANES_MAX => decoding.push(sequence),
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

    /// Bytes of scratch for its partial results.
    pub fn scratch_bytes(&self, heads: usize, head_dim: usize) -> usize {
        self.slot_count * slot_bytes(heads, head_dim)
    }
}

/// The most scratch that the plan of any batch takes whose sequences with few lanes have so many rows together, none of them seeing more
/// than `positions`: its context, or the window if that is shorter.
pub fn scratch_bytes_max(rows: usize, positions: usize, heads: usize, head_dim: usize) -> usize {
    // Where a window begins in the middle of a split it reaches into one more.
    let splits = positions.div_ceil(SPLIT) + 1;
    rows * splits * slot_bytes(heads, head_dim)
}

/// A partial result: values, maximum and sum of every head.
fn slot_bytes(heads: usize, head_dim: usize) -> usize {
    heads * (head_dim + 2) * size_of::<f32>()
}

struct Planner<'a> {
    batch: PlannedBatch<'a>,
    plan: AttentionPlan,
}

impl<'a> Planner<'a> {
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
        self.plan.shape.sliding_window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// Whole blocks that the sequence's rows reach.
    fn blocks_of(&self, sequence: usize) -> &'a [u32] {
        let last = self.rows_of(sequence).map(|row| self.batch.positions[row] as usize).max().unwrap_or(0);
        &self.batch.block_tables[sequence][..=last / BLOCK]
    }

    /// Sequences with few lanes, split by split.
    fn deal_splits(&mut self, sequences: Vec<usize>) {
        let mut sequences: Vec<(&[u32], usize)> =
            sequences.into_iter().map(|sequence| (self.blocks_of(sequence), sequence)).collect();
        // Neighbours share the most.
        sequences.sort_unstable();
        let shared: Vec<usize> = sequences.windows(2).map(|pair| common(pair[0].0, pair[1].0)).collect();
        let mut starts = Vec::new();
        for &(_, sequence) in &sequences {
            starts.push(self.lay(sequence));
            for row in self.rows_of(sequence) {
                let position = self.batch.positions[row] as usize;
                self.plan.merged_rows.push(row as i32);
                self.plan.slots[row] = self.plan.slot_count as i32;
                self.plan.slot_count += position / SPLIT - self.first_seen(position) / SPLIT + 1;
            }
        }
        starts.push(self.plan.rows.len());
        let splits = sequences.iter().map(|(blocks, _)| blocks.len().div_ceil(SPLIT_BLOCKS)).max();
        for split in 0..splits.unwrap_or(0) {
            let needed = (split + 1) * SPLIT_BLOCKS;
            let mut at = 0;
            while at < sequences.len() {
                // As long as each has all blocks up to the split's end in common with the one before.
                let others = shared[at..].iter().take_while(|&&blocks| blocks >= needed).count();
                let end = at + 1 + others;
                self.add(starts[at]..starts[end], sequences[at].1, Some(split));
                at = end;
            }
        }
    }

    /// Items for rows of the plan, over one split or all of what they see.
    fn add(&mut self, rows: std::ops::Range<usize>, sequence: usize, split: Option<usize>) {
        let PlanShape { group, wide_warps, .. } = self.plan.shape;
        let lanes = rows.start * group..rows.end * group;
        let lanes_max = WARP_LANES * wide_warps;
        for first in lanes.clone().step_by(lanes_max) {
            let end = (first + lanes_max).min(lanes.end);
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

/// How many blocks both begin with.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequences as (blocks, positions of the rows); the items must give every lane what it sees, once, whatever a block has room for.
    fn check(
        sequences: &[(&[u32], std::ops::Range<u32>)],
        group: usize,
        sliding_window: Option<usize>,
    ) -> AttentionPlan {
        for wide_warps in [1, 2] {
            check_shape(sequences, PlanShape { group, sliding_window, wide_warps });
        }
        check_shape(sequences, PlanShape { group, sliding_window, wide_warps: 4 })
    }

    fn check_shape(sequences: &[(&[u32], std::ops::Range<u32>)], shape: PlanShape) -> AttentionPlan {
        let PlanShape { group, sliding_window, wide_warps } = shape;
        let (mut cu_seqlens, mut positions, mut tables) = (vec![0], Vec::new(), Vec::new());
        for (table, rows) in sequences {
            positions.extend(rows.clone());
            cu_seqlens.push(positions.len() as u32);
            tables.push(table.to_vec());
        }
        let batch = PlannedBatch { cu_seqlens: &cu_seqlens, positions: &positions, block_tables: &tables };
        let plan = AttentionPlan::new(batch, shape);
        let mut sorted = plan.rows.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..positions.len() as i32), "every row is planned once");
        // How often a lane is given a position of its own blocks.
        let mut seen: Vec<Vec<u32>> = vec![Vec::new(); positions.len() * group];
        let wide = plan.wide.iter().map(|item| (item, 16 * wide_warps as i32));
        for (item, lanes_max) in plan.narrow.iter().map(|item| (item, 16)).chain(wide) {
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
        let seen = positions.iter().max().map_or(0, |&last| last as usize + 1);
        let seen = sliding_window.map_or(seen, |window| window.min(seen));
        let most = scratch_bytes_max(plan.merged_rows.len(), seen, 8, 64);
        assert!(plan.scratch_bytes(8, 64) <= most, "{most}");
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
    fn prefixes_of_several_lengths_are_shared_as_far_as_they_go() {
        let prompt = blocks(0, 24);
        // Two sequences part behind each split.
        let tables: Vec<Vec<u32>> = (0..6_usize)
            .map(|i| [&prompt[..8 * (i / 2 + 1)], &blocks(100 * (i as u32 + 1), 24)].concat())
            .collect();
        let sequences: Vec<(&[u32], _)> = tables.iter().map(|table| (&table[..], 1_000..1_001)).collect();
        let plan = check(&sequences, 1, None);
        // Of four splits: one for all, then four together and two alone, then two together, then everybody alone.
        assert_eq!((plan.narrow.len(), plan.wide.len()), (1 + 3 + 5 + 6, 0));
    }

    #[test]
    fn a_block_has_as_many_warps_as_the_gpu_has_room_for() {
        let check = |head_dim: usize, shared_kb: usize, expected: Option<usize>| {
            assert_eq!(wide_warps(head_dim, shared_kb * 1024), expected, "{head_dim} in {shared_kb} KB");
        };
        for head_dim in [64, 96, 128] {
            check(head_dim, 99, Some(4));
        }
        check(256, 227, Some(4));
        check(256, 163, Some(4));
        check(256, 162, Some(2));
        check(256, 99, Some(1));
        check(256, 48, None);
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
