//! Everything that must hold before the kernels touch memory.

use candle_core::Result;

use super::{OP, PagedAttention};
use crate::ops::kv_pool::BLOCK_SIZE;
use crate::ops::shape_error;

impl PagedAttention {
    /// The number of query heads, once q, k, v, the batch, the pool and the settings fit each other.
    pub(super) fn check(&self, q: &[usize], k: &[usize], v: &[usize]) -> Result<usize> {
        let layout = self.pool.layout();
        let rows = self.batch.positions.len();
        let heads = match *q {
            [tokens, heads, head_dim] if tokens == rows && head_dim == layout.head_dim => heads,
            _ => return wrong(format!("q of shape {q:?} does not fit {rows} positions and {layout:?}")),
        };
        if k != [rows, layout.kv_heads, layout.head_dim] || v != k {
            return wrong(format!(
                "k of shape {k:?} and v of shape {v:?} do not fit {rows} positions, {layout:?}"
            ));
        }
        if heads == 0 || !heads.is_multiple_of(layout.kv_heads) {
            return wrong(format!("{heads} query heads are not a multiple of {} KV heads", layout.kv_heads));
        }
        if self.layer >= layout.layers {
            return wrong(format!("layer {} of a pool of {} layers", self.layer, layout.layers));
        }
        if self.settings.sliding_window == Some(0) {
            return wrong("a sliding window of 0 sees nothing; it must be at least 1".to_owned());
        }
        self.check_sequences(rows)?;
        self.check_slots(rows)?;
        Ok(heads)
    }

    /// The sequences cover the rows, and every row's blocks exist.
    fn check_sequences(&self, rows: usize) -> Result<()> {
        let batch = &*self.batch;
        let bounds = &batch.cu_seqlens;
        let covered = bounds.first() == Some(&0) && bounds.last().is_some_and(|&last| last as usize == rows);
        if !covered || !bounds.is_sorted() || bounds.len() != batch.block_tables.len() + 1 {
            let sequences = batch.block_tables.len();
            return wrong(format!("cu_seqlens {bounds:?} do not cut {rows} rows into {sequences} sequences"));
        }
        let blocks = self.pool.layout().blocks;
        for (sequence, table) in batch.block_tables.iter().enumerate() {
            if let Some(block) = table.iter().find(|&&block| block as usize >= blocks) {
                return wrong(format!("sequence {sequence} names block {block} of {blocks}"));
            }
            let positions = &batch.positions[bounds[sequence] as usize..bounds[sequence + 1] as usize];
            let needed = positions.iter().max().map_or(0, |&last| last as usize / BLOCK_SIZE + 1);
            if needed > table.len() {
                let found = table.len();
                return wrong(format!("sequence {sequence} needs {needed} blocks, its table has {found}"));
            }
        }
        Ok(())
    }

    /// No two rows write the same slot: the threads that write them would race.
    fn check_slots(&self, rows: usize) -> Result<()> {
        let mut slots = Vec::with_capacity(rows);
        self.each_row(|_, block, slot| slots.push(block * BLOCK_SIZE + slot));
        slots.sort_unstable();
        match slots.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => wrong(format!(
                "two rows write position {} of block {}",
                pair[0] % BLOCK_SIZE,
                pair[0] / BLOCK_SIZE
            )),
            None => Ok(()),
        }
    }

    /// Calls `visit(row, block, slot)` for every row of the batch.
    pub(super) fn each_row(&self, mut visit: impl FnMut(usize, usize, usize)) {
        for (table, bounds) in self.batch.block_tables.iter().zip(self.batch.cu_seqlens.windows(2)) {
            for row in bounds[0] as usize..bounds[1] as usize {
                let position = self.batch.positions[row] as usize;
                visit(row, table[position / BLOCK_SIZE] as usize, position % BLOCK_SIZE);
            }
        }
    }
}

fn wrong<T>(detail: String) -> Result<T> {
    Err(shape_error(OP, detail))
}
