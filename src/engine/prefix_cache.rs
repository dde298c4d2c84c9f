//! Which block holds the KV of which token prefix.
//!
//! A full block is named by a chained hash: SHA-256 over the parent's name and the block's ids, rooted in the
//! weight version and the request's `cache_salt`. 256 bits are the collision safety: tokens are not compared
//! again, and a user cannot construct a prompt that reads another's KV. Not here: reference counts and eviction
//! (`block_pool`); this map only forgets what it is told to.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::block_pool::BlockId;

/// The name of a block's contents and of everything before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockKey([u8; 32]);

impl BlockKey {
    /// The parent of first blocks. The salt is hashed with its length first, so that no salt imitates another.
    pub fn root(weight_version: u64, cache_salt: Option<&str>) -> Self {
        let mut hash = Sha256::new();
        hash.update(weight_version.to_le_bytes());
        hash.update(cache_salt.map_or(u64::MAX, |salt| salt.len() as u64).to_le_bytes());
        hash.update(cache_salt.unwrap_or_default());
        Self(hash.finalize().into())
    }

    /// The parent of first blocks of sequences that go through an adapter.
    pub fn adapted(self, version: u64) -> Self {
        let mut hash = Sha256::new_with_prefix(b"adapter");
        hash.update(self.0);
        hash.update(version.to_le_bytes());
        Self(hash.finalize().into())
    }

    /// The parent of first blocks of sequences that hold a text's vectors, by the text's name.
    pub fn beside(self, text: &[u8; 32]) -> Self {
        let mut hash = Sha256::new_with_prefix(b"soft");
        hash.update(self.0);
        hash.update(text);
        Self(hash.finalize().into())
    }

    pub fn child(self, ids: &[u32]) -> Self {
        let mut hash = Sha256::new_with_prefix(self.0);
        for id in ids {
            hash.update(id.to_le_bytes());
        }
        Self(hash.finalize().into())
    }
}

#[derive(Debug, Default)]
pub struct PrefixCache {
    blocks: HashMap<BlockKey, BlockId>,
    keys: HashMap<BlockId, BlockKey>,
    counters: CacheCounters,
}

/// In tokens, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheCounters {
    /// Tokens looked for.
    pub queries: u64,
    /// Tokens found.
    pub hits: u64,
}

impl PrefixCache {
    /// The blocks of the longest cached prefix of this chain.
    pub fn lookup(&self, chain: &[BlockKey]) -> Vec<BlockId> {
        chain.iter().map_while(|key| self.blocks.get(key).copied()).collect()
    }

    /// Count one lookup that was acted upon (a sequence that waits looks many times).
    pub fn record(&mut self, queried_tokens: usize, hit_tokens: usize) {
        self.counters.queries += queried_tokens as u64;
        self.counters.hits += hit_tokens as u64;
    }

    /// `false` if another block has these contents already: it keeps the name.
    pub fn insert(&mut self, key: BlockKey, block: BlockId) -> bool {
        if self.blocks.contains_key(&key) {
            return false;
        }
        self.blocks.insert(key, block);
        self.keys.insert(block, key);
        true
    }

    pub fn forget(&mut self, block: BlockId) {
        if let Some(key) = self.keys.remove(&block) {
            self.blocks.remove(&key);
        }
    }

    pub fn counters(&self) -> CacheCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_depends_on_version_salt_parent_and_ids() {
        let root = BlockKey::root(1, None);
        let names = [
            root,
            BlockKey::root(2, None),
            BlockKey::root(1, Some("")),
            BlockKey::root(1, Some("a")),
            root.child(&[1, 2]),
            root.child(&[2, 1]),
            root.child(&[1]).child(&[2]),
            root.adapted(0),
            root.adapted(1),
            root.adapted(0).child(&[1, 2]),
            BlockKey::root(2, None).adapted(0),
            root.beside(&[0; 32]),
            root.beside(&[1; 32]),
            BlockKey::root(2, None).beside(&[0; 32]),
        ];
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert_eq!(root.child(&[1, 2]), BlockKey::root(1, None).child(&[1, 2]));
    }

    #[test]
    fn lookup_ends_at_the_first_gap() {
        let mut cache = PrefixCache::default();
        let first = BlockKey::root(0, None).child(&[1]);
        let second = first.child(&[2]);
        let third = second.child(&[3]);
        assert!(cache.insert(first, 7) && cache.insert(second, 8) && cache.insert(third, 9));
        assert!(!cache.insert(first, 10));
        assert_eq!(cache.lookup(&[first, second, third]), [7, 8, 9]);
        cache.forget(8);
        cache.forget(10); // never named
        assert_eq!(cache.lookup(&[first, second, third]), [7]);
    }
}
