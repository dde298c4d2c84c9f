//! How many tokens of a sequence to guess: as many as were right of late, and none where guessing fails.
//!
//! A wrong guess costs a row of a step, which is nearly nothing where a step waits for the memory, and up to a
//! fifth of a step with weights that cost arithmetic (blocks of GGUF). Twice the average keeps even those ahead
//! (1 + a tokens for 1 + 2a fifths of a step) and lets the count grow as long as everything is right.

use super::ngram::NgramIndex;

/// What the average starts from.
const HOPE: f32 = 2.0;
/// How much the latest draft counts in the average.
const WEIGHT: f32 = 0.25;
/// Below this many right guesses a draft, a row of a fifth of a step is not earned.
const HOPELESS: f32 = 0.2;
/// Tokens until a sequence without hope tries one guess again: text may begin to repeat itself.
const RETRY_TOKENS: usize = 24;

#[derive(Debug)]
pub struct Drafter {
    index: NgramIndex,
    /// Of right guesses a draft.
    average: f32,
    /// The length from which on to guess again.
    resume_at: usize,
}

impl Default for Drafter {
    fn default() -> Self {
        Self { index: NgramIndex::default(), average: HOPE, resume_at: 0 }
    }
}

impl Drafter {
    /// What may follow `tokens`, at most `most` of it.
    pub fn draft(&mut self, tokens: &[u32], most: usize) -> Vec<u32> {
        if most == 0 || tokens.len() < self.resume_at {
            return Vec::new();
        }
        let count = (2.0 * self.average).ceil().max(1.0) as usize;
        self.index.propose(tokens, count.min(most))
    }

    /// How many guesses of the latest draft were right; the sequence has `length` tokens now.
    pub fn learn(&mut self, accepted: usize, length: usize) {
        self.average += WEIGHT * (accepted as f32 - self.average);
        if self.average < HOPELESS {
            self.resume_at = length + RETRY_TOKENS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long the drafts are when `accepted` of each are right; 0 where there is none.
    fn lengths(steps: usize, accepted: impl Fn(usize) -> usize) -> Vec<usize> {
        let (mut drafter, mut tokens) = (Drafter::default(), vec![1; 10]);
        let step = |_| {
            let drafts = drafter.draft(&tokens, 7).len();
            let right = accepted(drafts);
            tokens.extend(vec![1; 1 + right]);
            if drafts > 0 {
                drafter.learn(right, tokens.len());
            }
            drafts
        };
        (0..steps).map(step).collect()
    }

    #[test]
    fn drafts_grow_while_they_are_right() {
        assert_eq!(lengths(6, |drafts| drafts), [4, 5, 7, 7, 7, 7]);
    }

    #[test]
    fn drafts_that_fail_become_short_and_rare() {
        let lengths = lengths(1000, |_| 0);
        assert_eq!(lengths[..9], [4, 3, 3, 2, 2, 1, 1, 1, 1]);
        let rows: usize = lengths[9..].iter().sum();
        assert!(rows < 1000 / RETRY_TOKENS + 1, "{rows}");
    }

    #[test]
    fn hope_comes_back() {
        let mut drafter = Drafter::default();
        (0..20).for_each(|_| drafter.learn(0, 10));
        assert!(drafter.draft(&[1; 10], 7).is_empty());
        let tokens = [1; 200];
        for _ in 0..8 {
            let right = drafter.draft(&tokens, 7).len();
            drafter.learn(right, 10);
        }
        assert!(drafter.draft(&tokens, 7).len() > 2);
    }
}
