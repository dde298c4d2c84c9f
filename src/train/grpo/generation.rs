//! What is sampled together: prompts, completions, rewards, advantages.

use std::sync::OnceLock;

use super::super::TrainError;
use super::super::data::DataPosition;
use super::advantages::{Advantages, advantages, deviation};
use super::batch::Group;
use super::reward::{Rewarded, Sample};
use super::rollout::{Rollout, SampledPrompt};
use super::trainer::GrpoTrainer;
use crate::ops::philox4x32_10;

/// Completions of prompts, group after group.
#[derive(Debug, Clone, Default)]
pub struct Generation {
    pub examples: Vec<usize>,
    pub prompts: Vec<Vec<u32>>,
    /// A list a prompt.
    pub completions: Vec<Vec<Vec<u32>>>,
    /// One of each a completion, over all groups.
    pub rollouts: Vec<Rollout>,
    pub rewarded: Vec<Rewarded>,
    pub advantages: Vec<f64>,
    pub groups_without_spread: f64,
    /// Groups that were sampled and left out, for their rewards were all equal.
    pub dropped: usize,
}

impl Generation {
    pub fn groups(&self) -> Vec<Group<'_>> {
        let groups = self.prompts.iter().zip(&self.completions);
        groups.map(|(prompt, completions)| Group { prompt, completions }).collect()
    }

    /// Tokens of a completion that count.
    pub fn counted(&self, completion: usize, mask_truncated: bool) -> usize {
        let Rollout { tokens, is_truncated, .. } = &self.rollouts[completion];
        if *is_truncated && mask_truncated { 0 } else { tokens.len() }
    }

    fn add(&mut self, example: usize, prompt: Vec<u32>, rollouts: Vec<Rollout>, rewarded: Vec<Rewarded>) {
        self.examples.push(example);
        self.prompts.push(prompt);
        self.completions.push(rollouts.iter().map(|rollout| rollout.tokens.clone()).collect());
        self.rollouts.extend(rollouts);
        self.rewarded.extend(rewarded);
    }
}

impl GrpoTrainer<'_> {
    /// Samples until there are as many groups as asked for, from a place in the data on; `None` if it was stopped. `position` is
    /// then behind what was sampled.
    pub(super) fn generate(
        &mut self,
        position: &mut DataPosition,
        step: u64,
    ) -> Result<Option<Generation>, TrainError> {
        let wanted = self.together();
        let mut generation = Generation::default();
        for round in 0..=self.grpo.resample_max {
            let Some((at, mut examples)) = self.prompts.plan().from(*position).next() else { break };
            *position = DataPosition { epoch: at.epoch, micro_step: at.micro_step + 1 };
            let is_last = round == self.grpo.resample_max;
            examples.truncate(wanted);
            let prompts: Vec<Vec<u32>> = examples.iter().map(|&example| self.prompts.ids(example)).collect();
            let sampled: Vec<SampledPrompt<'_>> = prompts
                .iter()
                .enumerate()
                .map(|(index, ids)| SampledPrompt { ids, seed: self.seed(step, round, index) })
                .collect();
            let groups = self.sampler.sample(&*self.policy, &sampled, self.grpo.group, self.stop)?;
            let Some(groups) = groups else { return Ok(None) };
            for ((example, prompt), rollouts) in examples.into_iter().zip(prompts).zip(groups) {
                let rewarded = self.reward(example, &rollouts);
                let totals: Vec<f64> = rewarded.iter().map(|rewarded| rewarded.total).collect();
                let teaches = self.grpo.resample_max == 0 || deviation(&totals) > 1e-8;
                let is_missing = generation.examples.len() < wanted;
                // The last round takes what there is, so that an update has something to be made of.
                if is_missing && (teaches || is_last && generation.examples.is_empty()) {
                    generation.add(example, prompt, rollouts, rewarded);
                } else {
                    generation.dropped += usize::from(!teaches);
                }
            }
            if generation.examples.len() >= wanted || self.grpo.resample_max == 0 {
                break;
            }
        }
        let totals: Vec<f64> = generation.rewarded.iter().map(|rewarded| rewarded.total).collect();
        let Advantages { values, groups_without_spread } =
            advantages(&totals, self.grpo.group, self.grpo.scale_rewards);
        (generation.advantages, generation.groups_without_spread) = (values, groups_without_spread);
        Ok(Some(generation))
    }

    /// What a group's completions are worth, on all threads.
    fn reward(&self, example: usize, rollouts: &[Rollout]) -> Vec<Rewarded> {
        let slots: Vec<OnceLock<Rewarded>> = rollouts.iter().map(|_| OnceLock::new()).collect();
        self.workers.run(rollouts.len(), &|at| {
            let Rollout { tokens, is_truncated, .. } = &rollouts[at];
            let text = self.prompts.text(tokens);
            let sample = Sample { example, text: &text, tokens: tokens.len(), is_truncated: *is_truncated };
            slots[at].get_or_init(|| self.reward.reward(&sample));
        });
        slots.into_iter().filter_map(OnceLock::into_inner).collect()
    }

    /// Another one for each prompt that is sampled.
    fn seed(&self, step: u64, round: usize, index: usize) -> u64 {
        let counter = [step as u32, (step >> 32) as u32, round as u32, index as u32];
        let key = [self.settings.seed as u32, (self.settings.seed >> 32) as u32];
        let [low, high, ..] = philox4x32_10(counter, key);
        u64::from(low) | u64::from(high) << 32
    }
}
