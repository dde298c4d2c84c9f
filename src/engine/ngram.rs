//! Guesses what comes next from what came before: the tokens after the latest earlier occurrence of the last few
//! (prompt lookup decoding, <https://github.com/apoorvumang/prompt-lookup-decoding>; vLLM's method `ngram`).
//!
//! Pure. Not here: how many tokens to guess and when (`drafter`), nor whether a guess was right (sampling). Where
//! those search the whole text for each guess, this keeps an index that grows with it: a guess costs the same in
//! a context of 128 thousand tokens as in one of a hundred.

use std::collections::HashMap;

const LONGEST: usize = 4;
/// One token says too little of the next: most guesses would be wrong.
const SHORTEST: usize = 2;

/// Tokens, the last one at the end; a shorter n-gram begins with what no token is.
type Ngram = [u32; LONGEST];

#[derive(Debug, Default)]
pub struct NgramIndex {
    /// Where the latest occurrence of an n-gram ends. Three entries a token, 85 bytes together: a small part of what
    /// the token's keys and values take.
    ends: HashMap<Ngram, u32>,
    /// The n-grams that end before this position are in `ends`.
    known: usize,
}

impl NgramIndex {
    /// `count` tokens as they followed the latest earlier occurrence of the last 4, else 3, else 2 tokens; none if
    /// there is no such occurrence. Where those run into the end of `tokens`, they start again: a loop goes on.
    /// From call to call, `tokens` may only grow at its end.
    pub fn propose(&mut self, tokens: &[u32], count: usize) -> Vec<u32> {
        self.extend(tokens);
        let lengths = (SHORTEST..=LONGEST.min(tokens.len())).rev();
        let latest = lengths.into_iter().find_map(|n| self.ends.get(&ngram(&tokens[tokens.len() - n..])));
        let Some(&end) = latest else { return Vec::new() };
        tokens[end as usize..].iter().copied().cycle().take(count).collect()
    }

    /// All but the n-grams at the very end, which would find themselves.
    fn extend(&mut self, tokens: &[u32]) {
        for end in self.known.max(SHORTEST)..tokens.len() {
            for n in SHORTEST..=LONGEST.min(end) {
                self.ends.insert(ngram(&tokens[end - n..end]), end as u32);
            }
        }
        self.known = tokens.len();
    }
}

fn ngram(tokens: &[u32]) -> Ngram {
    let mut ngram = [u32::MAX; LONGEST];
    ngram[LONGEST - tokens.len()..].copy_from_slice(tokens);
    ngram
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(tokens: &[u32], count: usize, expected: &[u32]) {
        assert_eq!(NgramIndex::default().propose(tokens, count), expected, "{tokens:?}");
    }

    #[test]
    fn proposals() {
        check(&[], 3, &[]);
        check(&[1], 3, &[]);
        check(&[1, 1], 3, &[]);
        check(&[1, 2, 3, 4, 5], 3, &[]);
        check(&[1, 2, 3, 4, 1, 2], 3, &[3, 4, 1]);
        check(&[1, 2, 3, 4, 1, 2], 0, &[]);
        // Two tokens occurred later, but four say more than two.
        check(&[1, 2, 3, 4, 5, 9, 3, 4, 6, 1, 2, 3, 4], 1, &[5]);
        // Of equal ones, the latest.
        check(&[1, 2, 5, 1, 2, 6, 1, 2], 1, &[6]);
        // A loop goes on.
        check(&[7, 7, 7], 4, &[7, 7, 7, 7]);
        check(&[1, 2, 1, 2], 5, &[1, 2, 1, 2, 1]);
    }

    fn naive(tokens: &[u32], count: usize) -> Vec<u32> {
        let earlier = |n: usize| {
            let last = &tokens[tokens.len() - n..];
            (n..tokens.len()).rev().find(|&end| &tokens[end - n..end] == last)
        };
        let Some(end) = (SHORTEST..=LONGEST.min(tokens.len())).rev().find_map(earlier) else {
            return Vec::new();
        };
        let period = tokens.len() - end;
        (0..count).map(|at| tokens[end + at % period]).collect()
    }

    proptest! {
        #[test]
        fn the_index_equals_a_scan_however_it_grew(
            tokens in prop::collection::vec(0_u32..4, 0..80),
            asked in prop::collection::vec(any::<bool>(), 80),
        ) {
            let mut index = NgramIndex::default();
            for length in (0..=tokens.len()).filter(|&length| asked.get(length).is_none_or(|&asked| asked)) {
                let tokens = &tokens[..length];
                prop_assert_eq!(index.propose(tokens, 6), naive(tokens, 6));
            }
        }
    }
}
