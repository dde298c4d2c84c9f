//! Speculative decoding (Leviathan et al. 2023, <https://arxiv.org/abs/2211.17192>) with drafts from the text itself:
//! rows of a step that would be idle compute tokens guessed to come next, and those that sampling confirms are
//! gained without a step of their own.
//!
//! Departs from the paper in what a confirmation is: a guess counts only if it is the very token that is drawn
//! for its position, so the output is plain decoding's bit by bit, seeded or greedy. A step with drafts ends as so
//! many plain steps would: same tokens, same blocks, same names in the prefix cache. Keys and values of wrong
//! guesses lie behind what is computed, where nothing reads them before they are written again.

use super::super::soft_prefix::PLACEHOLDER;
use super::{Progress, Scheduled, Scheduler, SequenceKey, Step};

/// Rows up to which a step may take about as long as with one, because it waits for the weights to come from memory
/// (docs/benchmarks.md, "Kernels alone": bf16 on AMX 11.7 ms with 1 row, 12.0 with 8, 16.0 with 32). How long it does
/// take is measured (`row_cost`).
const ROWS_MAX: usize = 8;
/// More sequences have no idle rows worth sharing.
pub(super) const SEQUENCES_MAX: usize = ROWS_MAX / 2;

impl Scheduler {
    /// Adds drafts to a step of few sequences that all decode. The rows left are shared evenly; what one sequence
    /// cannot use goes to the next.
    pub(super) fn speculate(&mut self, step: &mut Step) {
        let sequences = step.scheduled.len();
        if !self.config.speculation
            || sequences > SEQUENCES_MAX
            || !step.scheduled.iter().all(|s| self.decodes(s))
        {
            return;
        }
        let mut rows = step.tokens_left.min(ROWS_MAX - sequences);
        for (at, scheduled) in step.scheduled.iter_mut().enumerate() {
            self.draft(scheduled, rows / (sequences - at), sequences);
            rows -= scheduled.drafts;
        }
    }

    /// How long a step took to compute, from which the price of drafts is learned.
    pub fn learn_seconds(&mut self, step: &Step, seconds: f32) {
        let decodes = |scheduled: &Scheduled| {
            scheduled.ids.len() == 1 + scheduled.drafts && scheduled.choices.len() == 1
        };
        if step.scheduled.iter().all(decodes) {
            let drafts = step.scheduled.iter().map(|scheduled| scheduled.drafts).sum();
            self.row_cost.learn(step.scheduled.len(), drafts, seconds);
        }
    }

    /// One token is taken in, one comes out, and there are no other choices.
    fn decodes(&self, scheduled: &Scheduled) -> bool {
        let has_output = |key| self.sequence(key).is_some_and(|sequence| !sequence.output().is_empty());
        scheduled.ids.len() == 1 && scheduled.choices.len() == 1 && has_output(scheduled.key)
    }

    /// Appends at most `most` guesses to what is scheduled of a sequence. The last of them is no later than the
    /// last token but one that the rules allow, and none is a token that ends the choice: the row before it finds
    /// the end as well.
    fn draft(&mut self, scheduled: &mut Scheduled, most: usize, sequences: usize) {
        let keep_free = self.watermark();
        let Some(sequence) = self.running.get_mut(&scheduled.key) else { return };
        let Some(group) = self.groups.get(&scheduled.key.ticket) else { return };
        let most = most.min(group.rules.room(sequence).saturating_sub(1));
        let mut drafts = sequence.drafter.draft(&sequence.tokens, most, sequences, self.row_cost.share());
        let cuts = |token: &u32| *token == PLACEHOLDER || group.rules.ends(*token).is_some();
        if let Some(end) = drafts.iter().position(cuts) {
            drafts.truncate(end);
        }
        drafts.truncate(self.blocks.extend(sequence, drafts.len(), keep_free));
        scheduled.drafts = drafts.len();
        scheduled.ids.extend(drafts);
        if sequence.block_table.len() > scheduled.block_table.len() {
            scheduled.block_table.clone_from(&sequence.block_table);
        }
    }

    /// Takes in what the rows of right guesses gave, each as a plain step would, and gives the blocks of the wrong
    /// ones back.
    pub(super) fn confirm(
        &mut self,
        key: SequenceKey,
        drafted: usize,
        tokens: &[u32],
        progress: &mut Vec<Progress>,
    ) {
        for &token in tokens {
            let Some(sequence) = self.running.get_mut(&key) else { return };
            sequence.num_computed += 1;
            self.blocks.publish(sequence, sequence.num_computed - 1);
            progress.extend(self.append(key, token));
        }
        if let Some(sequence) = self.running.get_mut(&key) {
            sequence.drafter.learn(tokens.len(), drafted, sequence.tokens.len());
            self.blocks.trim(sequence);
        }
    }
}
