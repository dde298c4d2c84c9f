//! The block pool and the prefix cache as one: what a sequence does with its blocks over its life.
//!
//! admit (reuse cached blocks, allocate the rest) -> append (a block more, or a private copy of a shared one)
//! -> publish (name the full blocks) -> release; extend and trim around a step with drafts. Only full blocks are ever named, and a sequence writes only
//! behind what it has computed, so a named block is never written again.

use super::block_pool::{BLOCK_SIZE, BlockId, BlockPool};
use super::prefix_cache::{CacheCounters, PrefixCache};
use super::sequence::Sequence;

/// Contents to be copied, on all layers, before the step's forward pass and in the order listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockCopy {
    pub from: BlockId,
    pub to: BlockId,
}

#[derive(Debug)]
pub struct KvBlocks {
    pool: BlockPool,
    cache: PrefixCache,
    caching: bool,
}

impl KvBlocks {
    pub fn new(num_blocks: usize, caching: bool) -> Self {
        Self { pool: BlockPool::new(num_blocks), cache: PrefixCache::default(), caching }
    }

    /// Gives a sequence without blocks room for all its tokens, reusing cached blocks if `read_cache`, and
    /// leaves `keep_free` blocks. At least the last token is left to compute, since its logits are wanted.
    /// `false`, and nothing changed, if there is no room.
    pub fn admit(&mut self, sequence: &mut Sequence, read_cache: bool, keep_free: usize) -> bool {
        let reusable = if read_cache && self.caching { (sequence.tokens.len() - 1) / BLOCK_SIZE } else { 0 };
        let mut table = self.cache.lookup(sequence.block_keys(reusable));
        let cached = table.len() * BLOCK_SIZE;
        for &block in &table {
            self.pool.share(block);
        }
        let missing = sequence.tokens.len().div_ceil(BLOCK_SIZE) - table.len();
        if self.pool.free() < missing + keep_free {
            self.release_table(&table);
            return false;
        }
        table.extend((0..missing).filter_map(|_| self.allocate()));
        if reusable > 0 && sequence.output().is_empty() {
            self.cache.record(sequence.tokens.len(), cached);
        }
        (sequence.num_computed, sequence.num_cached) = (cached, cached);
        sequence.block_table = table;
        true
    }

    /// Makes the place of the next token writable: a new block at a block's boundary, a private copy of a
    /// block that others hold too. `false`, and nothing changed, if that would leave less than `keep_free`.
    pub fn append(&mut self, sequence: &mut Sequence, keep_free: usize, copies: &mut Vec<BlockCopy>) -> bool {
        let at = sequence.num_computed / BLOCK_SIZE;
        let shared = sequence.block_table.get(at).copied();
        if shared.is_some_and(|block| self.pool.references(block) == 1) {
            return true;
        }
        if self.pool.free() <= keep_free {
            return false;
        }
        let Some(fresh) = self.allocate() else { return false };
        match shared {
            None => sequence.block_table.push(fresh),
            Some(block) => {
                copies.push(BlockCopy { from: block, to: fresh });
                self.pool.release(block);
                sequence.block_table[at] = fresh;
            }
        }
        true
    }

    /// Makes the places after the next token writable too, which `append` has prepared, as far as that leaves
    /// `keep_free` blocks and costs no cached one. How many of the `count` asked for are.
    pub fn extend(&mut self, sequence: &mut Sequence, count: usize, keep_free: usize) -> usize {
        let next = sequence.num_computed + 1;
        while sequence.block_table.len() * BLOCK_SIZE < next + count
            && self.pool.free() > keep_free
            && self.pool.empty() > 0
        {
            let Some(fresh) = self.allocate() else { break };
            sequence.block_table.push(fresh);
        }
        count.min(sequence.block_table.len() * BLOCK_SIZE - next)
    }

    /// Takes back the blocks that lie behind all tokens.
    pub fn trim(&mut self, sequence: &mut Sequence) {
        let keep = sequence.tokens.len().div_ceil(BLOCK_SIZE).min(sequence.block_table.len());
        let behind = sequence.block_table.split_off(keep);
        self.release_table(&behind);
    }

    /// Names the blocks that became full since `computed_before`, so that others can reuse them.
    pub fn publish(&mut self, sequence: &mut Sequence, computed_before: usize) {
        if !self.caching {
            return;
        }
        let full = sequence.num_computed / BLOCK_SIZE;
        for at in computed_before / BLOCK_SIZE..full {
            let block = sequence.block_table[at];
            if self.cache.insert(sequence.block_keys(full)[at], block) {
                self.pool.mark_cached(block);
            }
        }
    }

    /// Counts the blocks of a fork.
    pub fn share(&mut self, table: &[BlockId]) {
        for &block in table {
            self.pool.share(block);
        }
    }

    /// Takes a sequence's blocks back; it has nothing computed afterwards.
    pub fn release(&mut self, sequence: &mut Sequence) {
        self.release_table(&std::mem::take(&mut sequence.block_table));
        sequence.num_computed = 0;
    }

    /// Forgets the contents of all blocks that no sequence holds.
    pub fn reset_cache(&mut self) {
        let cache = &mut self.cache;
        self.pool.evict_unused(|block| cache.forget(block));
    }

    pub fn in_use(&self) -> usize {
        self.pool.in_use()
    }

    pub fn cache_counters(&self) -> CacheCounters {
        self.cache.counters()
    }

    /// # Errors
    /// The first block whose count differs from its holders, in words.
    pub fn check_integrity<'a>(&self, tables: impl Iterator<Item = &'a [BlockId]>) -> Result<(), String> {
        self.pool.check_integrity(tables)
    }

    /// Last block first: a prefix outlives its continuations in the least-recently-used order.
    fn release_table(&mut self, table: &[BlockId]) {
        for &block in table.iter().rev() {
            self.pool.release(block);
        }
    }

    fn allocate(&mut self) -> Option<BlockId> {
        let cache = &mut self.cache;
        self.pool.allocate(|block| cache.forget(block))
    }
}

#[cfg(test)]
mod tests {
    use super::super::prefix_cache::BlockKey;
    use super::*;

    fn sequence(tokens: u32) -> Sequence {
        Sequence::new((0..tokens).collect(), BlockKey::root(0, None))
    }

    fn computed(blocks: &mut KvBlocks, tokens: u32) -> Sequence {
        let mut sequence = sequence(tokens);
        assert!(blocks.admit(&mut sequence, true, 0));
        let before = sequence.num_computed;
        sequence.num_computed = sequence.tokens.len();
        blocks.publish(&mut sequence, before);
        sequence
    }

    fn check_reuse(computed_tokens: u32, asked_tokens: u32, expected: usize) {
        let mut blocks = KvBlocks::new(16, true);
        let mut first = computed(&mut blocks, computed_tokens);
        blocks.release(&mut first);
        let mut second = sequence(asked_tokens);
        assert!(blocks.admit(&mut second, true, 0));
        assert_eq!(second.num_cached, expected, "{computed_tokens} then {asked_tokens}");
        assert_eq!(blocks.cache_counters().hits, expected as u64);
    }

    #[test]
    fn full_blocks_are_reused_and_the_last_token_is_always_computed() {
        check_reuse(100, 100, 96);
        check_reuse(96, 96, 64);
        check_reuse(96, 97, 96);
        check_reuse(31, 31, 0);
        check_reuse(40, 300, 32);
    }

    #[test]
    fn a_shared_partial_block_is_copied_by_all_but_its_last_holder() {
        let mut blocks = KvBlocks::new(8, true);
        let mut first = computed(&mut blocks, 40);
        let mut second = first.fork();
        blocks.share(&second.block_table);
        let mut copies = Vec::new();
        assert!(blocks.append(&mut first, 0, &mut copies));
        assert!(blocks.append(&mut second, 0, &mut copies));
        assert_eq!(copies, [BlockCopy { from: 1, to: 2 }]);
        assert_eq!((&first.block_table[..], &second.block_table[..]), (&[0, 2][..], &[0, 1][..]));
        assert_eq!(blocks.in_use(), 3);
    }

    #[test]
    fn drafts_get_blocks_of_their_own_and_give_them_back() {
        let check = |num_blocks, keep_free, count, expected| {
            let mut blocks = KvBlocks::new(num_blocks, true);
            let mut sequence = computed(&mut blocks, 60);
            sequence.tokens.push(7);
            assert!(blocks.append(&mut sequence, 0, &mut Vec::new()));
            assert_eq!(blocks.extend(&mut sequence, count, keep_free), expected, "{count} of {num_blocks}");
            assert!(sequence.block_table.len() <= num_blocks - keep_free);
            blocks.trim(&mut sequence);
            assert_eq!((blocks.in_use(), sequence.block_table.len()), (2, 2));
        };
        // Positions 61, 62 and 63 are in the second block.
        check(2, 0, 7, 3);
        check(8, 0, 2, 2);
        check(8, 0, 7, 7);
        check(8, 0, 40, 40);
        check(3, 1, 7, 3);
        check(4, 1, 100, 35);
    }

    #[test]
    fn a_refused_admission_changes_nothing() {
        let mut blocks = KvBlocks::new(4, true);
        let mut first = computed(&mut blocks, 64);
        blocks.release(&mut first);
        let mut second = sequence(200);
        assert!(!blocks.admit(&mut second, true, 0));
        assert!(second.block_table.is_empty());
        assert!(blocks.check_integrity(std::iter::empty()).is_ok());
        blocks.reset_cache();
        let mut third = sequence(64);
        assert!(blocks.admit(&mut third, true, 0));
        assert_eq!(third.num_cached, 0);
    }
}
