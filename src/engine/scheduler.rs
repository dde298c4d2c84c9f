//! Decides what the next step computes: continuous batching with a token budget, chunked prefill, and drafts
//! (`speculation`) where the machine would be idle.
//!
//! Pure: no tensor, no clock, no channel. `schedule` picks, the caller computes, `update` takes the sampled
//! tokens in. The order everywhere is priority, then arrival, then choice. In a step, sequences that decode come
//! first, so a prefill never starves them; then the running prefills go on; then waiting sequences are admitted.
//!
//! An admitted sequence gets the blocks of all its present tokens at once, so only decoding can run out of
//! blocks. Then the last in the order is preempted by recompute: its blocks are freed, its generated tokens are
//! kept, and it waits to be prefilled again. The first in the order can always take what it needs and the door
//! refused what cannot fit alone, so every step makes progress.

mod speculation;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::block_pool::BlockId;
use super::kv_blocks::{BlockCopy, KvBlocks};
use super::prefix_cache::{BlockKey, CacheCounters};
use super::request::FinishReason;
use super::row_cost::RowCost;
use super::sequence::{Sequence, SequenceGroup, SequenceKey, StopRules};
use super::soft_prefix::SoftRows;

#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    pub num_blocks: usize,
    pub max_num_seqs: usize,
    /// Tokens a step; at least `max_num_seqs`, so that every running sequence can decode in every step.
    pub max_batch_tokens: usize,
    /// Rows a step whose logits are kept for prompt logprobs: they cost a vocabulary of floats each.
    pub max_prompt_logit_rows: usize,
    pub enable_prefix_caching: bool,
    /// Guess tokens where a step has few rows.
    pub speculation: bool,
    pub draft_row_cost: Option<f32>,
}

/// What the scheduler needs to know of a request.
#[derive(Debug)]
pub struct NewGroup {
    pub ticket: u64,
    pub priority: i32,
    pub prompt: Vec<u32>,
    pub n: u32,
    pub rules: StopRules,
    pub prompt_logprobs: bool,
    /// Where the names of its blocks begin: weight version, cache salt and soft prefix.
    pub cache_root: BlockKey,
    /// Which positions of the prompt hold vectors.
    pub soft: Option<Arc<SoftRows>>,
}

/// One step's work, complete for whoever computes it.
#[derive(Debug, Default)]
pub struct Step {
    pub scheduled: Vec<Scheduled>,
    pub copies: Vec<BlockCopy>,
    pub preempted: usize,
    tokens_left: usize,
    prompt_logit_rows_left: usize,
}

#[derive(Debug)]
pub struct Scheduled {
    pub key: SequenceKey,
    /// The tokens to compute, and the position of the first.
    pub ids: Vec<u32>,
    pub start: usize,
    /// How many of the last `ids` are guesses at the next tokens of the one choice.
    pub drafts: usize,
    pub block_table: Vec<BlockId>,
    /// The choices whose next token is drawn from the last row before the drafts; empty while the prompt is incomplete.
    pub choices: Vec<u32>,
    pub prompt_logprobs: bool,
    /// Whose vectors some of the tokens to compute stand for.
    pub soft: Option<Arc<SoftRows>>,
}

impl Scheduled {
    /// How many of its last rows need logits.
    pub fn logit_rows(&self) -> usize {
        if self.prompt_logprobs {
            self.ids.len()
        } else {
            usize::from(!self.choices.is_empty()) + self.drafts
        }
    }
}

/// A token that a choice gained.
#[derive(Debug, PartialEq, Eq)]
pub struct Progress {
    pub ticket: u64,
    pub choice: u32,
    pub token: u32,
    pub finished: Option<FinishReason>,
}

#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    blocks: KvBlocks,
    groups: HashMap<u64, SequenceGroup>,
    running: BTreeMap<SequenceKey, Sequence>,
    waiting: BTreeMap<SequenceKey, Sequence>,
    row_cost: RowCost,
}

impl Scheduler {
    pub fn new(config: SchedulerConfig) -> Self {
        let blocks = KvBlocks::new(config.num_blocks, config.enable_prefix_caching);
        let row_cost = RowCost::new(speculation::SEQUENCES_MAX, config.draft_row_cost);
        Self {
            config,
            blocks,
            groups: HashMap::new(),
            running: BTreeMap::new(),
            waiting: BTreeMap::new(),
            row_cost,
        }
    }

    pub fn add(&mut self, new: NewGroup) {
        let key = SequenceKey { priority: new.priority, ticket: new.ticket, choice: 0 };
        let unfinished: BTreeSet<u32> = (0..new.n).collect();
        let group = SequenceGroup {
            rules: new.rules,
            unfinished,
            forked: false,
            prompt_logprobs: new.prompt_logprobs,
            cache_root: new.cache_root,
        };
        self.groups.insert(new.ticket, group);
        let mut sequence = Sequence::new(new.prompt, new.cache_root);
        sequence.soft = new.soft;
        self.waiting.insert(key, sequence);
    }

    /// The next step's work; empty only if nothing is left to do.
    pub fn schedule(&mut self) -> Step {
        let mut step = Step {
            tokens_left: self.config.max_batch_tokens.max(self.config.max_num_seqs),
            prompt_logit_rows_left: self.config.max_prompt_logit_rows.max(1),
            ..Step::default()
        };
        self.decode(&mut step);
        self.continue_prefills(&mut step);
        self.admit(&mut step);
        self.speculate(&mut step);
        step
    }

    /// Takes in what was computed: `sampled[i][j]` is the token of choice `step.scheduled[i].choices[j]`, followed by
    /// those of the rows whose drafts were right. Sequences that were removed since `schedule` are passed over.
    pub fn update(&mut self, step: &Step, sampled: &[Vec<u32>]) -> Vec<Progress> {
        let mut progress = Vec::new();
        for (scheduled, tokens) in step.scheduled.iter().zip(sampled) {
            let Some(sequence) = self.running.get_mut(&scheduled.key) else { continue };
            sequence.num_computed += scheduled.ids.len() - scheduled.drafts;
            let cache_root = self.groups.get(&scheduled.key.ticket).map(|group| group.cache_root);
            // What was begun with other weights is named by those.
            if cache_root == Some(sequence.root()) {
                self.blocks.publish(sequence, scheduled.start);
            }
            if !scheduled.choices.is_empty() {
                self.fork(scheduled);
            }
            for (&choice, &token) in scheduled.choices.iter().zip(tokens) {
                progress.extend(self.append(SequenceKey { choice, ..scheduled.key }, token));
            }
            if scheduled.drafts > 0 {
                let confirmed = tokens.get(scheduled.choices.len()..).unwrap_or_default();
                self.confirm(scheduled.key, scheduled.drafts, confirmed, &mut progress);
            }
        }
        progress
    }

    /// Ends one choice early; `false` if it was done already.
    pub fn finish_choice(&mut self, key: SequenceKey) -> bool {
        let Some(group) = self.groups.get_mut(&key.ticket) else { return false };
        let was_unfinished = group.unfinished.remove(&key.choice);
        // Before the fork, choice 0's sequence works for the choices that are left.
        let leader = SequenceKey { choice: 0, ..key };
        let last = group.unfinished.is_empty();
        if group.forked {
            self.drop_sequence(key);
        } else if last {
            self.drop_sequence(leader);
        }
        if last {
            self.groups.remove(&key.ticket);
        }
        was_unfinished
    }

    /// Ends all choices of a request and frees their blocks.
    pub fn remove(&mut self, ticket: u64) {
        self.groups.remove(&ticket);
        let of_group = |key: &&SequenceKey| key.ticket == ticket;
        let keys: Vec<_> = self
            .running
            .keys()
            .filter(of_group)
            .chain(self.waiting.keys().filter(of_group))
            .copied()
            .collect();
        for key in keys {
            self.drop_sequence(key);
        }
    }

    pub fn sequence(&self, key: SequenceKey) -> Option<&Sequence> {
        self.running.get(&key).or_else(|| self.waiting.get(&key))
    }

    pub fn is_idle(&self) -> bool {
        self.groups.is_empty()
    }

    pub fn blocks_in_use(&self) -> usize {
        self.blocks.in_use()
    }

    pub fn cache_counters(&self) -> CacheCounters {
        self.blocks.cache_counters()
    }

    pub fn reset_prefix_cache(&mut self) {
        self.blocks.reset_cache();
    }

    /// After a change of weights: what has nothing computed is computed with the new ones, and its blocks are named so. The
    /// others keep what they have, name no further blocks, and begin anew where they are preempted.
    pub fn rename(&mut self, root_of: impl Fn(u64) -> Option<BlockKey>) {
        for (ticket, group) in &mut self.groups {
            group.cache_root = root_of(*ticket).unwrap_or(group.cache_root);
        }
        for (key, sequence) in &mut self.waiting {
            if sequence.block_table.is_empty()
                && let Some(group) = self.groups.get(&key.ticket)
            {
                sequence.rename(group.cache_root);
            }
        }
    }

    /// # Errors
    /// The first broken invariant, in words.
    pub fn check_integrity(&self) -> Result<(), String> {
        let sequences = || self.running.iter().chain(&self.waiting);
        if let Some((key, _)) = sequences().find(|(key, _)| !self.groups.contains_key(&key.ticket)) {
            return Err(format!("{key:?} belongs to no group"));
        }
        self.blocks.check_integrity(sequences().map(|(_, sequence)| &sequence.block_table[..]))
    }

    /// Running sequences that need one token computed, preempting from the end of the order if blocks run out.
    fn decode(&mut self, step: &mut Step) {
        for key in self.running_keys(|sequence| sequence.remaining() == 1) {
            while let Some(sequence) = self.running.get_mut(&key) {
                if self.blocks.append(sequence, 0, &mut step.copies) {
                    self.place(key, step);
                    break;
                }
                // The last in the order stands behind `key` or is `key`: never one placed already.
                self.preempt_last();
                step.preempted += 1;
            }
        }
    }

    fn continue_prefills(&mut self, step: &mut Step) {
        for key in self.running_keys(|sequence| sequence.remaining() > 1) {
            self.place(key, step);
        }
    }

    /// In order, without overtaking, while there is budget, a seat and room in the cache.
    fn admit(&mut self, step: &mut Step) {
        while step.tokens_left > 0 && self.running.len() < self.config.max_num_seqs {
            let Some((key, mut sequence)) = self.waiting.pop_first() else { return };
            let admitted = loop {
                if self.reserve(key, &mut sequence, step) {
                    break true;
                }
                // With nothing running, whoever waits behind must not hold what the first one needs.
                if !self.running.is_empty() || !self.strip_last_waiting() {
                    break false;
                }
            };
            if !admitted {
                self.waiting.insert(key, sequence);
                return;
            }
            self.running.insert(key, sequence);
            self.place(key, step);
        }
    }

    /// Blocks for a waiting sequence. While others run, a reserve stays free for their decoding.
    fn reserve(&mut self, key: SequenceKey, sequence: &mut Sequence, step: &mut Step) -> bool {
        let watermark = if self.running.is_empty() { 0 } else { self.watermark() };
        if !sequence.block_table.is_empty() {
            return self.blocks.append(sequence, watermark, &mut step.copies);
        }
        let read_cache =
            self.groups.get(&key.ticket).is_some_and(|group| group.forked || !group.prompt_logprobs);
        self.blocks.admit(sequence, read_cache, watermark)
    }

    /// Blocks that stay free for running sequences.
    fn watermark(&self) -> usize {
        self.config.num_blocks.div_ceil(100)
    }

    /// Puts as much of a running sequence into the step as the budget allows.
    fn place(&mut self, key: SequenceKey, step: &mut Step) {
        let (Some(sequence), Some(group)) = (self.running.get(&key), self.groups.get(&key.ticket)) else {
            return;
        };
        let prompt_logprobs = group.prompt_logprobs && !group.forked;
        let mut count = sequence.remaining().min(step.tokens_left);
        if prompt_logprobs {
            count = count.min(step.prompt_logit_rows_left);
            step.prompt_logit_rows_left -= count;
        }
        if count == 0 {
            return;
        }
        step.tokens_left -= count;
        let start = sequence.num_computed;
        let soft = sequence.soft.as_ref().filter(|soft| !soft.among(&(start..start + count)).is_empty());
        let choices = match (count == sequence.remaining(), group.forked) {
            (false, _) => Vec::new(),
            (true, true) => vec![key.choice],
            (true, false) => group.unfinished.iter().copied().collect(),
        };
        step.scheduled.push(Scheduled {
            key,
            ids: sequence.tokens[start..start + count].to_vec(),
            start,
            drafts: 0,
            block_table: sequence.block_table.clone(),
            choices,
            prompt_logprobs,
            soft: soft.cloned(),
        });
    }

    /// Once the prompt is computed: a waiting sequence for every other choice, sharing the prompt's blocks.
    fn fork(&mut self, scheduled: &Scheduled) {
        let Some(group) = self.groups.get_mut(&scheduled.key.ticket) else { return };
        if std::mem::replace(&mut group.forked, true) {
            return;
        }
        for &choice in scheduled.choices.iter().filter(|&&choice| choice != scheduled.key.choice) {
            let fork = self.running[&scheduled.key].fork();
            self.blocks.share(&fork.block_table);
            self.waiting.insert(SequenceKey { choice, ..scheduled.key }, fork);
        }
        if !scheduled.choices.contains(&scheduled.key.choice) {
            self.drop_sequence(scheduled.key);
        }
    }

    fn append(&mut self, key: SequenceKey, token: u32) -> Option<Progress> {
        let sequence = match self.running.get_mut(&key) {
            Some(running) => running,
            None => self.waiting.get_mut(&key)?,
        };
        sequence.tokens.push(token);
        let finished = self.groups.get(&key.ticket)?.rules.finished(sequence);
        if finished.is_some() {
            self.finish_choice(key);
        }
        Some(Progress { ticket: key.ticket, choice: key.choice, token, finished })
    }

    fn preempt_last(&mut self) {
        let last_running = self.running.keys().next_back().copied();
        let last_waiting =
            self.waiting.iter().rev().find(|(_, s)| !s.block_table.is_empty()).map(|(key, _)| *key);
        if last_waiting > last_running {
            self.strip_last_waiting();
        } else if let Some((key, mut sequence)) = self.running.pop_last() {
            self.strip(key, &mut sequence);
            self.waiting.insert(key, sequence);
        }
    }

    /// Takes the blocks of the last waiting fork that holds any.
    fn strip_last_waiting(&mut self) -> bool {
        let holds_any = |(_, sequence): &(&SequenceKey, &Sequence)| !sequence.block_table.is_empty();
        let Some(key) = self.waiting.iter().rev().find(holds_any).map(|(key, _)| *key) else { return false };
        if let Some(mut sequence) = self.waiting.remove(&key) {
            self.strip(key, &mut sequence);
            self.waiting.insert(key, sequence);
        }
        true
    }

    /// All of it is computed again, with the weights that there are then.
    fn strip(&mut self, key: SequenceKey, sequence: &mut Sequence) {
        self.blocks.release(sequence);
        if let Some(group) = self.groups.get(&key.ticket).filter(|group| group.cache_root != sequence.root())
        {
            sequence.rename(group.cache_root);
        }
    }

    fn drop_sequence(&mut self, key: SequenceKey) {
        if let Some(mut sequence) = self.running.remove(&key).or_else(|| self.waiting.remove(&key)) {
            self.blocks.release(&mut sequence);
        }
    }

    fn running_keys(&self, wanted: impl Fn(&Sequence) -> bool) -> Vec<SequenceKey> {
        self.running.iter().filter(|(_, sequence)| wanted(sequence)).map(|(key, _)| *key).collect()
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
