//! How many tokens of a sequence to guess: as many as gain the most tokens for the time, by how often guesses were
//! right of late and by what a row costs.
//!
//! With a guess right with probability p, a draft of n is expected to gain p + p^2 + .. + p^n tokens (Leviathan et al.
//! 2023, equation 1) on top of the one that a step gives each of its sequences, in 1 + c n steps' time.

use super::ngram::NgramIndex;

/// Right guesses and guesses that were looked at, to start from.
const HOPE: (f32, f32) = (2.0, 3.0);
/// How much of the counts is left after another draft.
const KEEP: f32 = 0.75;
/// Tokens until a sequence without hope tries one guess again: text may begin to repeat itself.
const RETRY_TOKENS: usize = 24;

#[derive(Debug)]
pub struct Drafter {
    index: NgramIndex,
    /// Guesses that were right, and those that were looked at: all up to the first that was wrong.
    right: f32,
    tried: f32,
    /// The length from which on to guess again.
    resume_at: usize,
}

impl Default for Drafter {
    fn default() -> Self {
        Self { index: NgramIndex::default(), right: HOPE.0, tried: HOPE.1, resume_at: 0 }
    }
}

impl Drafter {
    /// What may follow `tokens`, at most `most` of it, in a step of so many sequences where a row more costs `row_cost` of
    /// the step.
    pub fn draft(&mut self, tokens: &[u32], most: usize, sequences: usize, row_cost: f32) -> Vec<u32> {
        if most == 0 || tokens.len() < self.resume_at {
            return Vec::new();
        }
        // After a pause one guess is tried in any case: without it nothing would be learned.
        let least = usize::from(self.resume_at > 0);
        let count = best_count(self.right / self.tried, sequences, row_cost, most).max(least);
        if count == 0 {
            self.resume_at = tokens.len() + RETRY_TOKENS;
        }
        self.index.propose(tokens, count)
    }

    /// How many guesses of the latest draft were right; the sequence has `length` tokens now.
    pub fn learn(&mut self, accepted: usize, drafted: usize, length: usize) {
        let paused = self.resume_at > 0;
        self.resume_at = if paused && accepted == 0 { length + RETRY_TOKENS } else { 0 };
        self.right = KEEP * self.right + accepted as f32;
        self.tried = KEEP * self.tried + drafted.min(accepted + 1) as f32;
        if paused && accepted > 0 && self.right * HOPE.1 < self.tried * HOPE.0 {
            // What failed before the pause was another text.
            (self.right, self.tried) = HOPE;
        }
    }
}

/// The number of guesses, 0 to `most`, that gains the most tokens for the time.
fn best_count(right: f32, sequences: usize, row_cost: f32, most: usize) -> usize {
    let plain = sequences as f32;
    let (mut best, mut best_rate) = (0, plain);
    let (mut gained, mut chance) = (plain, 1.0);
    for count in 1..=most {
        chance *= right;
        gained += chance;
        let rate = gained / (1.0 + row_cost * count as f32);
        if rate > best_rate {
            (best, best_rate) = (count, rate);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long the drafts are when `accepted` of each are right; 0 where there is none.
    fn lengths(steps: usize, row_cost: f32, accepted: impl Fn(usize) -> usize) -> Vec<usize> {
        let (mut drafter, mut tokens) = (Drafter::default(), vec![1; 10]);
        let step = |_| {
            let drafts = drafter.draft(&tokens, 7, 1, row_cost).len();
            let right = accepted(drafts);
            tokens.extend(vec![1; 1 + right]);
            if drafts > 0 {
                drafter.learn(right, drafts, tokens.len());
            }
            drafts
        };
        (0..steps).map(step).collect()
    }

    /// By hand: with p = 2/3 and c = 0.1 the rates are 1, 1.52, 1.76, 1.85, 1.86, 1.82, ..
    #[test]
    fn the_count_that_gains_most_is_chosen() {
        for (right, row_cost, expected) in [
            (2.0 / 3.0, 0.1, 4),
            (2.0 / 3.0, 0.3, 2),
            (0.25, 0.3, 0),
            (0.31, 0.3, 1),
            (1.0, 0.3, 7),
            (0.0, 0.0, 0),
        ] {
            assert_eq!(best_count(right, 1, row_cost, 7), expected, "{right}, {row_cost}");
        }
        assert_eq!(best_count(1.0, 1, 0.01, 3), 3);
        // Of two sequences' step: 2, 2.67 / 1.3, 3.11 / 1.6.
        assert_eq!(best_count(2.0 / 3.0, 2, 0.3, 7), 1);
        assert_eq!(best_count(2.0 / 3.0, 3, 0.3, 7), 0);
    }

    #[test]
    fn drafts_grow_while_they_are_right() {
        let lengths = lengths(6, 0.1, |drafts| drafts);
        assert_eq!(lengths[0], 4);
        assert!(lengths.is_sorted() && lengths[5] == 7, "{lengths:?}");
    }

    #[test]
    fn drafts_that_fail_become_short_and_rare() {
        for row_cost in [0.01, 0.3] {
            let lengths = lengths(1000, row_cost, |_| 0);
            let hopeful = lengths.iter().position(|&count| count == 0).unwrap();
            assert!(hopeful < 16 && lengths[..hopeful].is_sorted_by(|a, b| a >= b), "{lengths:?}");
            let rows: usize = lengths[hopeful..].iter().sum();
            assert!((1..=1000 / RETRY_TOKENS).contains(&rows), "{rows}");
        }
    }

    #[test]
    fn hope_comes_back() {
        let mut drafter = Drafter::default();
        (0..20).for_each(|_| drafter.learn(0, 1, 10));
        assert!(drafter.draft(&[1; 10], 7, 1, 0.3).is_empty());
        let tokens = [1; 200];
        for _ in 0..8 {
            let right = drafter.draft(&tokens, 7, 1, 0.3).len();
            assert!(right > 0);
            drafter.learn(right, right, 10);
        }
        assert!(drafter.draft(&tokens, 7, 1, 0.3).len() > 2);
    }

    /// Rows that cost so much that hope alone does not pay them, but being right every time does.
    #[test]
    fn being_right_pays_even_dear_rows() {
        let lengths = lengths(200, 0.7, |drafts| drafts);
        assert_eq!(lengths[0], 0);
        assert!(lengths[100..].iter().all(|&count| count > 0), "{lengths:?}");
    }
}
