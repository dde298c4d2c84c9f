//! A soft prefix: positions of a prompt that hold vectors in place of tokens. They are what an encoder's states of a text
//! become in the decoder's space, and the end boundary behind them (MindMerger, `model::augmented`), or a client's own.
//!
//! Scheduler, blocks and prefix cache see positions as any others: in a sequence's tokens each is a [`PLACEHOLDER`], which no
//! vocabulary has, and the names of the sequence's blocks begin with the prefix's own name. No tensor: the vectors,
//! which `soft_encoder` computes of a text when a step first reads them, are plain numbers that live as long as a sequence that needs
//! them.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};

/// Stands in a sequence's tokens where there is no token. No vocabulary has it: penalties pass it over, drafts end
/// before it.
pub const PLACEHOLDER: u32 = u32::MAX - 1;

/// Where the vectors come from.
#[derive(Debug, Clone, PartialEq)]
pub enum SoftPrefix {
    /// A text that the engine's encoder reads. Its mapped states and the end boundary stand behind the prompt's first token,
    /// which is the beginning of the sequence.
    Text {
        /// Ids of the encoder's vocabulary, special tokens and language tag included. Must not be empty.
        encoder_ids: Vec<u32>,
    },
    /// The client's own, before the prompt's tokens, of which there may be none. What the first layer reads: where a family
    /// scales its embeddings, they are scaled.
    Given(GivenVectors),
}

/// Vectors that were checked and named before the engine sees them: neither is work for its thread.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenVectors {
    values: Vectors,
    positions: usize,
    digest: [u8; 32],
}

impl GivenVectors {
    /// `values` are `[positions][hidden]`, flat.
    ///
    /// # Errors
    /// What is wrong with them, in words for the client: none, another width, a number that is not finite.
    pub fn new(values: Vec<f32>, positions: usize, hidden: usize) -> Result<Self, String> {
        if positions == 0 || hidden == 0 || Some(values.len()) != positions.checked_mul(hidden) {
            let width = values.len() / positions.max(1);
            return Err(format!("its vectors have {width} numbers, and the model's have {hidden}"));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let (row, column, value) = (at / hidden, at % hidden, values[at]);
            return Err(format!("the number at [{row}, {column}] is {value}: every one must be finite"));
        }
        let mut hash = Sha256::new();
        let mut bytes = Vec::new();
        for vector in values.chunks_exact(hidden) {
            bytes.clear();
            bytes.extend(vector.iter().flat_map(|value| value.to_le_bytes()));
            hash.update(&bytes);
        }
        Ok(Self { values: values.into(), positions, digest: hash.finalize().into() })
    }

    /// Numbers of a vector.
    pub fn width(&self) -> usize {
        self.values.len() / self.positions
    }
}

impl SoftPrefix {
    /// Positions it takes of the context: of a text one a token of the encoder's, and one for the end boundary.
    pub fn positions(&self) -> usize {
        match self {
            Self::Text { encoder_ids } => encoder_ids.len() + 1,
            Self::Given(given) => given.positions,
        }
    }
}

/// What a prefix's vectors depend on: the weights and the ids, or themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SoftKey(pub [u8; 32]);

/// `[positions][hidden]`, flat.
pub type Vectors = Arc<[f32]>;

/// A soft prefix in its sequences.
#[derive(Debug)]
pub struct SoftRows {
    /// None where the vectors were given.
    pub encoder_ids: Vec<u32>,
    pub key: SoftKey,
    /// Of the sequence.
    pub positions: Range<usize>,
    vectors: OnceLock<Vectors>,
}

impl SoftRows {
    pub fn new(prefix: SoftPrefix, weight_version: u64) -> Self {
        let count = prefix.positions();
        let mut hash = Sha256::new();
        hash.update(weight_version.to_le_bytes());
        let (start, encoder_ids, vectors) = match prefix {
            SoftPrefix::Text { encoder_ids } => {
                hash.update(b"text");
                for id in &encoder_ids {
                    hash.update(id.to_le_bytes());
                }
                (1, encoder_ids, OnceLock::new())
            }
            SoftPrefix::Given(given) => {
                hash.update(b"given");
                hash.update(given.digest);
                (0, Vec::new(), OnceLock::from(given.values))
            }
        };
        let key = SoftKey(hash.finalize().into());
        Self { encoder_ids, key, positions: start..start + count, vectors }
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
        SoftRows::new(SoftPrefix::Text { encoder_ids: ids.to_vec() }, version)
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

    #[test]
    fn given_vectors_stand_before_all_tokens() {
        let given = |values: [f32; 4]| {
            SoftRows::new(SoftPrefix::Given(GivenVectors::new(values.to_vec(), 2, 2).unwrap()), 0)
        };
        let soft = given([0.0, 0.5, 1.0, 1.5]);
        assert_eq!(soft.laid_into(Vec::new()), [PLACEHOLDER; 2]);
        assert_eq!(soft.laid_into(vec![5]), [PLACEHOLDER, PLACEHOLDER, 5]);
        assert_eq!(soft.vectors_at(&(1..2)), Some(&[1.0, 1.5][..]));
        assert_eq!(soft.key, given([0.0, 0.5, 1.0, 1.5]).key);
        assert_ne!(soft.key, given([0.0, 0.5, 1.0, 1.25]).key);
        let refused = |values: &[f32], positions, hidden| {
            GivenVectors::new(values.to_vec(), positions, hidden).unwrap_err()
        };
        assert!(refused(&[0.0, 1.0, f32::NAN, 2.0], 2, 2).contains("[1, 0] is NaN"));
        assert!(refused(&[0.0, f32::INFINITY], 1, 2).contains("[0, 1] is inf"));
        assert!(refused(&[0.0; 6], 2, 2).contains("3 numbers, and the model's have 2"));
        assert!(refused(&[], 0, 2).contains("have 2"));
        assert!(refused(&[], usize::MAX, 2).contains("have 2"));
    }
}
