//! The most rows that can go through the model together, forward and backward, before anything is sampled: what does not fit into
//! memory is known at once.

use std::time::Instant;

use super::super::TrainError;
use super::super::events::{Event, Observer};
use super::batch::group_batches;
use super::generation::Generation;
use super::rollout::Rollout;
use super::trainer::GrpoTrainer;
use super::update::{Before, Found};

impl GrpoTrainer<'_> {
    /// Completions of the greatest length allowed, of the longest prompt. No weight changes.
    pub(super) fn dry_run(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let started = Instant::now();
        let longest = self.longest();
        let batches = group_batches(&longest.groups(), self.grpo.rows_max);
        let Some(batch) = batches.into_iter().max_by_key(|batch| batch.micro.batch.ids.len()) else {
            return Ok(());
        };
        let (tokens, all) = (batch.micro.batch.ids.len(), 0..longest.rollouts.len());
        let scope = self.scope(&longest, &all);
        let mut found = Found::default();
        self.accumulate(&longest, &Before::default(), &scope, batch, (0, 0), &mut found)?;
        self.policy.parameters()?.clear(&self.workers);
        observer.event(Event::DryRun { tokens, seconds: started.elapsed().as_secs_f64() })
    }

    /// An update's groups at their longest.
    fn longest(&self) -> Generation {
        let ids = (0..self.prompts.plan().examples()).map(|example| self.prompts.ids(example));
        let prompt = ids.max_by_key(Vec::len).unwrap_or_default();
        // Any token that the model knows.
        let token = prompt.last().copied().unwrap_or_default();
        let groups = self.part(self.draw().together());
        let completion = vec![token; self.grpo.completion_max];
        let rollout = Rollout {
            logprobs: vec![f32::NAN; completion.len()],
            kept: vec![1.0; completion.len()],
            tokens: completion.clone(),
            is_truncated: false,
        };
        let completions = groups * self.grpo.group;
        Generation {
            prompts: vec![prompt; groups],
            completions: vec![vec![completion; self.grpo.group]; groups],
            rollouts: vec![rollout; completions],
            // One that teaches nothing would go forward alone.
            advantages: vec![1.0; completions],
            ..Generation::default()
        }
    }
}
