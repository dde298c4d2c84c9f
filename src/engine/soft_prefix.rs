//! A soft prefix: positions of a prompt that hold vectors in place of tokens. They are what an encoder's states of a text
//! become in the decoder's space, and the end boundary behind them (MindMerger, `model::augmented`).
//!
//! Scheduler, blocks and prefix cache see positions as any others: in a sequence's tokens each is a [`PLACEHOLDER`], which no
//! vocabulary has, and the names of the sequence's blocks begin with the text's own name. No tensor: the vectors,
//! which `soft_encoder` computes when a step first reads them, are plain numbers that live as long as a sequence that needs
//! them.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

/// Stands in a sequence's tokens where there is no token. No vocabulary has it: penalties pass it over, drafts end
/// before it.
pub const PLACEHOLDER: u32 = u32::MAX - 1;

/// A text that the engine's encoder reads. Its mapped states and the end boundary stand behind the prompt's first token,
/// which is the beginning of the sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoftPrefix {
    /// Ids of the encoder's vocabulary, special tokens and language tag included. Must not be empty.
    pub encoder_ids: Vec<u32>,
}

impl SoftPrefix {
    /// Positions it takes of the context: one a token of the encoder's, one for the end boundary.
    pub fn positions(&self) -> usize {
        self.encoder_ids.len() + 1
    }
}

/// What a text's vectors depend on: the weights and the ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SoftKey(pub [u8; 32]);

/// `[positions][hidden]`, flat.
pub type Vectors = Arc<[f32]>;

/// A soft prefix in its sequences.
#[derive(Debug)]
pub struct SoftRows {
    pub encoder_ids: Vec<u32>,
    pub key: SoftKey,
    /// Of the sequence.
    pub positions: Range<usize>,
    vectors: OnceLock<Vectors>,
}

impl SoftRows {
    pub fn new(prefix: SoftPrefix, weight_version: u64) -> Self {
        let positions = 1..1 + prefix.positions();
        let SoftPrefix { encoder_ids } = prefix;
        let mut hash = Sha256::new();
        hash.update(weight_version.to_le_bytes());
        for id in &encoder_ids {
            hash.update(id.to_le_bytes());
        }
        let key = SoftKey(hash.finalize().into());
        Self { encoder_ids, key, positions, vectors: OnceLock::new() }
    }

    /// The prompt with placeholders where the vectors stand.
    pub fn laid_into(&self, mut prompt: Vec<u32>) -> Vec<u32> {
        let at = self.positions.start.min(prompt.len());
        prompt.splice(at..at, std::iter::repeat_n(PLACEHOLDER, self.positions.len()));
        prompt
    }

    /// The positions among these that hold vectors; empty where there are none.
    pub fn among(&self, positions: &Range<usize>) -> Range<usize> {
        let start = self.positions.start.max(positions.start);
        start..self.positions.end.min(positions.end).max(start)
    }

    /// The vectors of some of its positions, one after the other; `None` until they are computed.
    pub fn vectors_at(&self, positions: &Range<usize>) -> Option<&[f32]> {
        let vectors = self.vectors.get()?;
        let hidden = vectors.len() / self.positions.len();
        let first = self.positions.start;
        vectors.get((positions.start - first) * hidden..(positions.end - first) * hidden)
    }

    pub fn is_computed(&self) -> bool {
        self.vectors.get().is_some()
    }

    /// Takes over the vectors of another of the same key.
    pub fn set_from(&self, other: &Self) {
        if let Some(vectors) = other.vectors.get() {
            self.set(Arc::clone(vectors));
        }
    }

    pub fn set(&self, vectors: Vectors) {
        // Whoever was first set the same.
        let _ = self.vectors.set(vectors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(ids: &[u32], version: u64) -> SoftRows {
        SoftRows::new(SoftPrefix { encoder_ids: ids.to_vec() }, version)
    }

    #[test]
    fn vectors_stand_behind_the_first_token() {
        let soft = rows(&[7, 8], 0);
        assert_eq!(soft.laid_into(vec![1, 5, 6]), [1, PLACEHOLDER, PLACEHOLDER, PLACEHOLDER, 5, 6]);
        assert_eq!(soft.laid_into(vec![1]).len(), 4);
        let check = |positions, expected| assert_eq!(soft.among(&positions), expected);
        check(0..6, 1..4);
        check(2..3, 2..3);
        check(3..9, 3..4);
        assert!(soft.among(&(4..9)).is_empty() && soft.among(&(0..1)).is_empty());
    }

    #[test]
    fn vectors_are_read_by_position() {
        let soft = rows(&[7, 8], 0);
        assert!(!soft.is_computed() && soft.vectors_at(&(1..4)).is_none());
        soft.set(Arc::from([0.0, 0.5, 1.0, 1.5, 2.0, 2.5]));
        assert_eq!(soft.vectors_at(&(1..4)).unwrap().len(), 6);
        assert_eq!(soft.vectors_at(&(2..3)), Some(&[1.0, 1.5][..]));
    }

    #[test]
    fn a_key_depends_on_weights_and_ids() {
        let keys = [rows(&[7, 8], 0), rows(&[8, 7], 0), rows(&[7], 0), rows(&[7, 8], 1)].map(|rows| rows.key);
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_eq!(rows(&[7, 8], 0).key, keys[0]);
    }
}
