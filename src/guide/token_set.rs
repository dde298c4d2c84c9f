//! A set of token ids, one bit each.

use llguidance::toktrie::SimpleVob;

/// Ids of a vocabulary. Those beyond it, which padded embeddings have, are in no set.
#[derive(Clone)]
pub struct TokenSet(SimpleVob);

impl TokenSet {
    pub(super) fn new(bits: SimpleVob) -> Self {
        Self(bits)
    }

    /// Of a vocabulary of so many tokens, those for which `holds`.
    pub fn where_(vocabulary: usize, mut holds: impl FnMut(u32) -> bool) -> Self {
        let mut bits = SimpleVob::alloc(vocabulary);
        for id in (0..vocabulary as u32).filter(|id| holds(*id)) {
            bits.allow_token(id);
        }
        Self(bits)
    }

    pub fn contains(&self, id: u32) -> bool {
        (id as usize) < self.0.len() && self.0.is_allowed(id)
    }

    /// Calls `change` for each logit whose token is in the set.
    pub fn each(&self, logits: &mut [f32], mut change: impl FnMut(&mut f32)) {
        for (word, logits) in self.0.as_slice().iter().zip(logits.chunks_mut(WORD)) {
            let mut left = *word;
            while left != 0 {
                let at = left.trailing_zeros() as usize;
                left &= left - 1;
                if let Some(logit) = logits.get_mut(at) {
                    change(logit);
                }
            }
        }
    }

    /// Takes every other token out of a row of logits.
    pub fn keep_only(&self, logits: &mut [f32]) {
        let mut words = self.0.as_slice().iter().copied();
        for logits in logits.chunks_mut(WORD) {
            match words.next().unwrap_or(0) {
                u32::MAX => {}
                0 => logits.fill(f32::NEG_INFINITY),
                word => {
                    for (at, logit) in logits.iter_mut().enumerate() {
                        if word >> at & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
    }
}

/// Bits a word.
const WORD: usize = u32::BITS as usize;

impl std::fmt::Debug for TokenSet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "TokenSet({} of {})", self.0.num_set(), self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_changed_where_the_set_says() {
        let set = TokenSet::where_(70, |id| id % 3 == 0 && id < 66);
        for length in [10, 64, 70, 100] {
            let mut kept = vec![1.0; length];
            set.keep_only(&mut kept);
            let mut lowered = vec![1.0; length];
            set.each(&mut lowered, |logit| *logit -= 2.0);
            for (id, (kept, lowered)) in kept.iter().zip(&lowered).enumerate() {
                let inside = id < 66 && id % 3 == 0;
                assert_eq!(set.contains(id as u32), inside);
                assert_eq!(*kept, if inside { 1.0 } else { f32::NEG_INFINITY }, "{id} of {length}");
                assert_eq!(*lowered, if inside { -1.0 } else { 1.0 }, "{id} of {length}");
            }
        }
        assert!(!set.contains(1_000_000));
    }
}
