//! Who holds which KV block: reference counts and the order in which unused blocks are given away.
//!
//! Not here: what a block contains (the prefix cache knows), nor its storage (`ops::KvPool`). A block is in one
//! of three states: held (references > 0), evictable (unused, but its contents are cached and may be wanted
//! again), or empty. Allocation takes empty blocks first, then the least recently used evictable one.

use std::collections::BTreeMap;

/// Tokens a block.
pub const BLOCK_SIZE: usize = 32;

/// Index of a block in the KV pool.
pub type BlockId = u32;

#[derive(Debug)]
pub struct BlockPool {
    blocks: Vec<Block>,
    empty: Vec<BlockId>,
    /// Unused cached blocks by the time they were released: the first is the least recently used.
    evictable: BTreeMap<u64, BlockId>,
    clock: u64,
}

#[derive(Debug, Clone, Default)]
struct Block {
    references: u32,
    cached: bool,
    /// The key in `evictable` while the block is there.
    released_at: u64,
}

impl BlockPool {
    pub fn new(num_blocks: usize) -> Self {
        let ids = 0..u32::try_from(num_blocks).unwrap_or(u32::MAX);
        Self {
            blocks: vec![Block::default(); ids.len()],
            // Popped from the back, so low ids go first.
            empty: ids.rev().collect(),
            evictable: BTreeMap::new(),
            clock: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Blocks that `allocate` can hand out now.
    pub fn free(&self) -> usize {
        self.empty.len() + self.evictable.len()
    }

    /// Of these, those that hold nothing anybody could reuse.
    pub fn empty(&self) -> usize {
        self.empty.len()
    }

    pub fn in_use(&self) -> usize {
        self.len() - self.free()
    }

    pub fn references(&self, block: BlockId) -> u32 {
        self.blocks[block as usize].references
    }

    /// A block with one reference; `evict` is told when its cached contents are lost by that.
    pub fn allocate(&mut self, evict: impl FnOnce(BlockId)) -> Option<BlockId> {
        let block = if let Some(block) = self.empty.pop() {
            block
        } else {
            let (_, block) = self.evictable.pop_first()?;
            evict(block);
            block
        };
        self.blocks[block as usize] = Block { references: 1, ..Block::default() };
        Some(block)
    }

    /// One more holder, of a held or an evictable block.
    pub fn share(&mut self, block: BlockId) {
        let entry = &mut self.blocks[block as usize];
        if entry.references == 0 {
            self.evictable.remove(&entry.released_at);
        }
        entry.references += 1;
    }

    /// One holder less; the last one makes the block evictable if it is cached, else empty.
    pub fn release(&mut self, block: BlockId) {
        let entry = &mut self.blocks[block as usize];
        debug_assert!(entry.references > 0, "block {block} released twice");
        entry.references = entry.references.saturating_sub(1);
        if entry.references > 0 {
            return;
        }
        if entry.cached {
            self.clock += 1;
            entry.released_at = self.clock;
            self.evictable.insert(self.clock, block);
        } else {
            self.empty.push(block);
        }
    }

    /// The prefix cache now points at this held block.
    pub fn mark_cached(&mut self, block: BlockId) {
        self.blocks[block as usize].cached = true;
    }

    /// Turns every evictable block into an empty one, telling `evict` of each.
    pub fn evict_unused(&mut self, mut evict: impl FnMut(BlockId)) {
        for (_, block) in std::mem::take(&mut self.evictable) {
            evict(block);
            self.blocks[block as usize] = Block::default();
            self.empty.push(block);
        }
    }

    /// Compares the counts with the tables that live sequences hold.
    ///
    /// # Errors
    /// The first block found wrong, in words.
    pub fn check_integrity<'a>(&self, tables: impl Iterator<Item = &'a [BlockId]>) -> Result<(), String> {
        let mut expected = vec![0_u32; self.len()];
        for &block in tables.flatten() {
            expected[block as usize] += 1;
        }
        let mut listed = vec![0_u32; self.len()];
        for &block in self.empty.iter().chain(self.evictable.values()) {
            listed[block as usize] += 1;
        }
        for (id, block) in self.blocks.iter().enumerate() {
            if block.references != expected[id] {
                return Err(format!("block {id}: {} references, {} holders", block.references, expected[id]));
            }
            if listed[id] != u32::from(block.references == 0) {
                return Err(format!(
                    "block {id}: {} references, listed free {}x",
                    block.references, listed[id]
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocate(pool: &mut BlockPool) -> (Option<BlockId>, Option<BlockId>) {
        let mut evicted = None;
        let block = pool.allocate(|block| evicted = Some(block));
        (block, evicted)
    }

    #[test]
    fn empty_blocks_go_first_then_the_least_recently_used() {
        let mut pool = BlockPool::new(3);
        for expected in 0..3 {
            assert_eq!(allocate(&mut pool), (Some(expected), None));
            pool.mark_cached(expected);
        }
        assert_eq!(allocate(&mut pool), (None, None));
        pool.release(1);
        pool.release(0);
        pool.share(1); // used again: now 0 is the older
        pool.release(1);
        assert_eq!(allocate(&mut pool), (Some(0), Some(0)));
        assert_eq!(allocate(&mut pool), (Some(1), Some(1)));
        pool.release(0); // evicted, so no longer cached
        assert_eq!((pool.empty.len(), pool.evictable.len()), (1, 0));
    }

    #[test]
    fn integrity_compares_counts_with_holders() {
        let mut pool = BlockPool::new(2);
        let block = allocate(&mut pool).0.unwrap();
        pool.share(block);
        let table = [block];
        assert!(pool.check_integrity([&table[..], &table[..]].into_iter()).is_ok());
        assert!(pool.check_integrity([&table[..]].into_iter()).is_err());
        pool.release(block);
        pool.release(block);
        assert!(pool.check_integrity(std::iter::empty()).is_ok());
        assert_eq!(pool.in_use(), 0);
    }
}
