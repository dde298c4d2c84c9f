//! The rows of x as the processor's products of neighbours read them: in blocks of sixteen rows by 64 bytes, 1 KiB
//! each, `[rows / 16][bytes / 64][16][64]`, whatever the bytes are: bf16 (`bf16_rows.rs`), or bytes with a scale
//! (`byte_rows.rs`, `group_rows.rs`). Rows and elements that do not exist are 0.

use std::ops::Range;

use crate::ops::Workers;
use crate::ops::parallel::{SharedMut, share};

/// Rows of a block.
pub const BLOCK_ROWS: usize = 16;
/// Bytes of a block's row.
pub const LINE_BYTES: usize = 64;
/// Elements that are worth handing to a thread.
const PART_ELEMENTS: usize = 1 << 15;

/// A row of a block: a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Line([u8; LINE_BYTES]);

pub struct TileRows {
    lines: Vec<Line>,
    blocks_per_row: usize,
}

impl TileRows {
    /// `rows` of `blocks_per_row` blocks, of which `fill` writes all those of a range of row blocks from a pointer to
    /// its first line on.
    ///
    /// # Safety
    /// `fill` writes every line of its row blocks, sixteen rows each.
    pub unsafe fn new(
        rows: usize,
        blocks_per_row: usize,
        workers: &Workers,
        fill: &(dyn Fn(Range<usize>, *mut Line) + Sync),
    ) -> Self {
        let row_blocks = rows.div_ceil(BLOCK_ROWS);
        let len = row_blocks * blocks_per_row * BLOCK_ROWS;
        let mut lines: Vec<Line> = Vec::with_capacity(len);
        let elements = rows * blocks_per_row * LINE_BYTES;
        let parts = (elements / PART_ELEMENTS).clamp(1, row_blocks.min(workers.threads()).max(1));
        let shared = SharedMut::new(&mut lines.spare_capacity_mut()[..len]);
        workers.run(parts, &|part| {
            let blocks = share(row_blocks, parts, part);
            // SAFETY: inside the buffer, and the parts' row blocks do not overlap.
            let out = unsafe { shared.start().add(blocks.start * blocks_per_row * BLOCK_ROWS) };
            fill(blocks, out.cast());
        });
        // SAFETY: the parts cover every row block, and each wrote its lines whole.
        unsafe { lines.set_len(len) };
        Self { lines, blocks_per_row }
    }

    /// The blocks of rows `16 * index..`, one after the other along the row.
    pub fn row_block(&self, index: usize) -> *const u8 {
        self.lines[index * self.blocks_per_row * BLOCK_ROWS..].as_ptr().cast()
    }

    /// Blocks of a row.
    pub fn blocks_per_row(&self) -> usize {
        self.blocks_per_row
    }
}
