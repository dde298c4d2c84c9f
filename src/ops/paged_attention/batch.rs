//! A ragged batch, and what is worked out once for it: that it fits the pool, where its rows are written, and the
//! plan of the work. The layers of a step all attend over one batch, so the first pays and the rest read.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use candle_core::Result;

use super::OP;
use super::plan::{Plan, Shape};
use crate::ops::kv_pool::BLOCK_SIZE;
use crate::ops::shape_error;

/// Where the rows of a ragged batch stand in their sequences and in the pool.
#[derive(Debug, Clone)]
pub struct PagedBatch {
    /// `[sequences + 1]`
    cu_seqlens: Arc<Vec<u32>>,
    /// `[rows]`
    pub(super) positions: Arc<Vec<u32>>,
    /// `[sequences]`
    pub(super) block_tables: Vec<Vec<u32>>,
    group_prefixes: bool,
    prepared: OnceLock<Prepared>,
}

/// What is known of a batch that has been checked.
#[derive(Debug, Clone)]
pub struct Prepared {
    shape: Shape,
    /// Of the pool that the block tables were checked for.
    blocks: usize,
    pub plan: Plan,
    /// Where each row is written.
    pub slots: Vec<Slot>,
}

/// A position in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    pub block: usize,
    pub slot: usize,
}

impl PagedBatch {
    /// `cu_seqlens` `[sequences + 1]` are the row offsets of the sequences, first 0, last the number of rows;
    /// `positions` `[rows]` the absolute position of a row in its sequence, which sees the positions 0 to its own;
    /// `block_tables` `[sequences]` the pool's blocks of a sequence, in order, as far as its largest position at
    /// least. They are checked when the batch is first attended over.
    pub fn new(cu_seqlens: Arc<Vec<u32>>, positions: Arc<Vec<u32>>, block_tables: Vec<Vec<u32>>) -> Self {
        Self { cu_seqlens, positions, block_tables, group_prefixes: true, prepared: OnceLock::new() }
    }

    /// The same batch, its sequences each for themselves although they share blocks. No bit of the result differs;
    /// for tests and measurements.
    #[must_use]
    pub fn without_grouping(self) -> Self {
        Self { group_prefixes: false, prepared: OnceLock::new(), ..self }
    }

    /// Checks the batch and plans the work; remembers both for the shape that asks first.
    pub(super) fn prepare(
        &self,
        blocks: usize,
        kv_heads: usize,
        group: usize,
        threads: usize,
    ) -> Result<Cow<'_, Prepared>> {
        let shape = Shape { kv_heads, group, threads, group_prefixes: self.group_prefixes };
        if let Some(known) =
            self.prepared.get().filter(|known| known.shape == shape && known.blocks == blocks)
        {
            return Ok(Cow::Borrowed(known));
        }
        self.check_sequences(blocks)?;
        let slots = self.slots()?;
        let plan = Plan::new(&self.cu_seqlens, &self.positions, &self.block_tables, shape);
        let prepared = Prepared { shape, blocks, plan, slots };
        match self.prepared.set(prepared) {
            Ok(()) => self.prepare(blocks, kv_heads, group, threads),
            Err(prepared) => Ok(Cow::Owned(prepared)),
        }
    }

    /// The sequences cover the rows, and every row's blocks exist.
    fn check_sequences(&self, blocks: usize) -> Result<()> {
        let (bounds, rows) = (&self.cu_seqlens, self.positions.len());
        let covered = bounds.first() == Some(&0) && bounds.last().is_some_and(|&last| last as usize == rows);
        if !covered || !bounds.is_sorted() || bounds.len() != self.block_tables.len() + 1 {
            let sequences = self.block_tables.len();
            return wrong(format!("cu_seqlens {bounds:?} do not cut {rows} rows into {sequences} sequences"));
        }
        for (sequence, table) in self.block_tables.iter().enumerate() {
            if let Some(block) = table.iter().find(|&&block| block as usize >= blocks) {
                return wrong(format!("sequence {sequence} names block {block} of {blocks}"));
            }
            let positions = &self.positions[bounds[sequence] as usize..bounds[sequence + 1] as usize];
            let needed = positions.iter().max().map_or(0, |&last| last as usize / BLOCK_SIZE + 1);
            if needed > table.len() {
                let found = table.len();
                return wrong(format!("sequence {sequence} needs {needed} blocks, its table has {found}"));
            }
        }
        Ok(())
    }

    /// Where the rows are written. No two rows write the same slot: the threads that write them would race.
    fn slots(&self) -> Result<Vec<Slot>> {
        let mut slots = Vec::with_capacity(self.positions.len());
        for (table, bounds) in self.block_tables.iter().zip(self.cu_seqlens.windows(2)) {
            for &position in &self.positions[bounds[0] as usize..bounds[1] as usize] {
                let position = position as usize;
                slots
                    .push(Slot { block: table[position / BLOCK_SIZE] as usize, slot: position % BLOCK_SIZE });
            }
        }
        let mut sorted = slots.clone();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                wrong(format!("two rows write position {} of block {}", pair[0].slot, pair[0].block))
            }
            None => Ok(slots),
        }
    }
}

pub fn wrong<T>(detail: String) -> Result<T> {
    Err(shape_error(OP, detail))
}
