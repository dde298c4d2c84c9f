//! A sequence is one choice of a request: its tokens, how many of them are in the KV cache, and where. A group
//! is what the choices of one request share. No tensor, no channel, no sampling parameter.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::block_pool::{BLOCK_SIZE, BlockId};
use super::drafter::Drafter;
use super::prefix_cache::BlockKey;
use super::request::FinishReason;
use super::soft_prefix::SoftRows;

/// Names a sequence, and orders them: lower runs earlier and is preempted later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceKey {
    pub priority: i32,
    /// The request's arrival number.
    pub ticket: u64,
    pub choice: u32,
}

#[derive(Debug)]
pub struct Sequence {
    /// Prompt and output.
    pub tokens: Vec<u32>,
    pub prompt_len: usize,
    /// Tokens whose KV is in the blocks of `block_table`. Falls back to 0 when the sequence is preempted.
    pub num_computed: usize,
    /// Of those, how many were found in the prefix cache when the sequence was last admitted.
    pub num_cached: usize,
    /// Empty while the sequence waits, except for forks: they hold their prompt's blocks while they wait.
    pub block_table: Vec<BlockId>,
    /// Guesses its next tokens. A fork's begins anew.
    pub drafter: Drafter,
    /// Positions of the prompt that hold vectors; there `tokens` has placeholders.
    pub soft: Option<Arc<SoftRows>>,
    /// Names of the full blocks of `tokens`, extended when asked for.
    keys: Vec<BlockKey>,
    root: BlockKey,
}

impl Sequence {
    pub fn new(prompt: Vec<u32>, root: BlockKey) -> Self {
        let prompt_len = prompt.len();
        let (keys, block_table, drafter) = (Vec::new(), Vec::new(), Drafter::default());
        Self {
            tokens: prompt,
            prompt_len,
            num_computed: 0,
            num_cached: 0,
            block_table,
            drafter,
            soft: None,
            keys,
            root,
        }
    }

    /// A choice that continues from what this sequence has computed. The caller counts the shared blocks.
    pub fn fork(&self) -> Self {
        Self {
            tokens: self.tokens.clone(),
            block_table: self.block_table.clone(),
            drafter: Drafter::default(),
            soft: self.soft.clone(),
            keys: self.keys.clone(),
            ..*self
        }
    }

    pub fn output(&self) -> &[u32] {
        &self.tokens[self.prompt_len..]
    }

    pub fn prompt(&self) -> &[u32] {
        &self.tokens[..self.prompt_len]
    }

    /// Tokens still to be computed before the next one can be sampled: 1 when decoding.
    pub fn remaining(&self) -> usize {
        self.tokens.len() - self.num_computed
    }

    /// Where the names of its blocks begin.
    pub fn root(&self) -> BlockKey {
        self.root
    }

    /// Begins the names of its blocks anew, none of which it may hold.
    pub fn rename(&mut self, root: BlockKey) {
        self.root = root;
        self.keys.clear();
    }

    /// Names of the first `blocks` blocks, all of which must be full.
    pub fn block_keys(&mut self, blocks: usize) -> &[BlockKey] {
        while self.keys.len() < blocks {
            let start = self.keys.len() * BLOCK_SIZE;
            let parent = self.keys.last().copied().unwrap_or(self.root);
            self.keys.push(parent.child(&self.tokens[start..start + BLOCK_SIZE]));
        }
        &self.keys[..blocks]
    }
}

/// What the choices of one request have in common.
#[derive(Debug)]
pub struct SequenceGroup {
    pub rules: StopRules,
    /// Choices that have neither finished nor been cancelled.
    pub unfinished: BTreeSet<u32>,
    /// Until the prompt is computed, choice 0's sequence computes it for all.
    pub forked: bool,
    /// Logits of every prompt row are wanted, so the prompt is computed even where it is cached.
    pub prompt_logprobs: bool,
    /// Where the names of its blocks begin under the present weights; sequences that hold blocks of others have another.
    pub cache_root: BlockKey,
}

/// When a choice ends by itself.
#[derive(Debug, Clone, Default)]
pub struct StopRules {
    /// Empty when they are ignored.
    pub eos_token_ids: Vec<u32>,
    pub stop_token_ids: Vec<u32>,
    pub max_tokens: usize,
    pub max_model_len: usize,
}

impl StopRules {
    /// Whether the sequence ends with the token it ends with now.
    pub fn finished(&self, sequence: &Sequence) -> Option<FinishReason> {
        let token = *sequence.output().last()?;
        self.ends(token).or_else(|| (self.room(sequence) == 0).then_some(FinishReason::Length))
    }

    /// How a choice ends that gains this token, if it does.
    pub fn ends(&self, token: u32) -> Option<FinishReason> {
        if self.eos_token_ids.contains(&token) {
            Some(FinishReason::EndOfSequence(token))
        } else {
            self.stop_token_ids.contains(&token).then_some(FinishReason::StopToken(token))
        }
    }

    /// Tokens the sequence may still gain.
    pub fn room(&self, sequence: &Sequence) -> usize {
        let of_context = self.max_model_len.saturating_sub(sequence.tokens.len());
        self.max_tokens.saturating_sub(sequence.output().len()).min(of_context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &[u32], expected: Option<FinishReason>) {
        let rules = StopRules {
            eos_token_ids: vec![2],
            stop_token_ids: vec![5, 2],
            max_tokens: 3,
            max_model_len: 100,
        };
        let mut sequence = Sequence::new(vec![2, 5], BlockKey::root(0, None));
        sequence.tokens.extend(output);
        assert_eq!(rules.finished(&sequence), expected, "{output:?}");
    }

    #[test]
    fn stop_rules() {
        check(&[], None);
        check(&[1], None);
        check(&[1, 2], Some(FinishReason::EndOfSequence(2)));
        check(&[5], Some(FinishReason::StopToken(5)));
        check(&[1, 1, 1], Some(FinishReason::Length));
        check(&[1, 1, 2], Some(FinishReason::EndOfSequence(2)));
    }
}
