//! What is sampled together: prompts, completions, rewards, advantages.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::super::data::DataPosition;
use super::super::{SamplerWeights, TrainError};
use super::advantages::{Advantages, advantages, deviation};
use super::batch::Group;
use super::reward::{Prompts, Reward, Rewarded, Sample};
use super::rollout::{Rollout, SampledPrompt, Sampler};
use super::settings::GrpoSettings;
use crate::ops::{Workers, philox4x32_10};

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
    /// Behind what was sampled.
    pub position: DataPosition,
    /// It was sampled with weights that have changed since.
    pub is_behind: bool,
    /// Of sampling.
    pub seconds: f64,
    /// Of them, those in which nothing else was done.
    pub waited: f64,
}

/// What a checkpoint keeps of a generation from which nothing was learned yet; the rest follows from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drawn {
    examples: Vec<usize>,
    rollouts: Vec<Rollout>,
    dropped: usize,
    position: DataPosition,
    seconds: f64,
    /// Of training, for them.
    #[serde(skip)]
    waited: f64,
}

impl Drawn {
    #[must_use]
    pub fn waited_for(self, seconds: f64) -> Self {
        Self { waited: seconds, ..self }
    }
}

impl Generation {
    pub fn groups(&self) -> Vec<Group<'_>> {
        let groups = self.prompts.iter().zip(&self.completions);
        groups.map(|(prompt, completions)| Group { prompt, completions }).collect()
    }

    pub fn into_drawn(self) -> Drawn {
        let Self { examples, rollouts, dropped, position, seconds, waited, .. } = self;
        Drawn { examples, rollouts, dropped, position, seconds, waited }
    }

    /// Tokens of a completion that count.
    pub fn counted(&self, completion: usize, mask_truncated: bool) -> usize {
        let Rollout { tokens, is_truncated, .. } = &self.rollouts[completion];
        if *is_truncated && mask_truncated { 0 } else { tokens.len() }
    }

    /// What was sampled after it.
    pub fn append(&mut self, later: Self) {
        let (before, after) = (self.examples.len() as f64, later.examples.len() as f64);
        let equal = self.groups_without_spread * before + later.groups_without_spread * after;
        self.groups_without_spread = equal / (before + after).max(1.0);
        self.examples.extend(later.examples);
        self.prompts.extend(later.prompts);
        self.completions.extend(later.completions);
        self.rollouts.extend(later.rollouts);
        self.rewarded.extend(later.rewarded);
        self.advantages.extend(later.advantages);
        self.seconds += later.seconds;
    }

    fn add(&mut self, example: usize, prompt: Vec<u32>, rollouts: Vec<Rollout>, rewarded: Vec<Rewarded>) {
        self.examples.push(example);
        self.prompts.push(prompt);
        self.completions.push(rollouts.iter().map(|rollout| rollout.tokens.clone()).collect());
        self.rollouts.extend(rollouts);
        self.rewarded.extend(rewarded);
    }
}

/// All of a step that asks for no gradient, so that it can go on beside an update.
pub(super) struct Draw<'a> {
    pub prompts: &'a dyn Prompts,
    pub reward: &'a dyn Reward,
    pub grpo: Arc<GrpoSettings>,
    pub workers: Arc<Workers>,
    pub seed: u64,
}

impl Draw<'_> {
    /// Groups of a generation: what was asked for, or all prompts if they are fewer.
    pub fn together(&self) -> usize {
        self.grpo.together().min(self.prompts.plan().examples()).max(1)
    }

    /// Samples until there are as many groups as asked for, from a place in the data on; `None` if it was stopped. `step` tells one
    /// generation's seeds from another's.
    pub fn generation(
        &self,
        sampler: &mut dyn Sampler,
        weights: &SamplerWeights,
        (mut position, step): (DataPosition, u64),
        stop: &AtomicBool,
    ) -> Result<Option<Generation>, TrainError> {
        let began = Instant::now();
        let wanted = self.together();
        let mut generation = Generation::default();
        for round in 0..=self.grpo.resample_max {
            let Some((at, mut examples)) = self.prompts.plan().from(position).next() else { break };
            position = DataPosition { epoch: at.epoch, micro_step: at.micro_step + 1 };
            let is_last = round == self.grpo.resample_max;
            examples.truncate(wanted);
            let prompts: Vec<Vec<u32>> = examples.iter().map(|&example| self.prompts.ids(example)).collect();
            let sampled: Vec<SampledPrompt<'_>> = prompts
                .iter()
                .enumerate()
                .map(|(index, ids)| SampledPrompt { ids, seed: self.seed(step, round, index) })
                .collect();
            let groups = sampler.sample(weights.clone(), &sampled, self.grpo.group, stop)?;
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
        generation.position = position;
        generation.seconds = began.elapsed().as_secs_f64();
        generation.waited = generation.seconds;
        Ok(Some(self.compared(generation)))
    }

    /// What a checkpoint kept, as it was.
    ///
    /// # Errors
    /// Completions of other prompts than there are.
    pub fn rebuilt(&self, drawn: Drawn) -> Result<Generation, TrainError> {
        let Drawn { examples, rollouts, dropped, position, seconds, waited } = drawn;
        let known = examples.iter().all(|&example| example < self.prompts.plan().examples());
        if !known || rollouts.len() != examples.len() * self.grpo.group {
            let message = "the checkpoint's completions are of other prompts: remove its folder".to_owned();
            return Err(TrainError::Sampling { message });
        }
        let mut generation =
            Generation { dropped, position, seconds, waited, is_behind: true, ..Generation::default() };
        for (&example, rollouts) in examples.iter().zip(rollouts.chunks(self.grpo.group)) {
            let rewarded = self.reward(example, rollouts);
            generation.add(example, self.prompts.ids(example), rollouts.to_vec(), rewarded);
        }
        Ok(self.compared(generation))
    }

    /// With advantages.
    fn compared(&self, mut generation: Generation) -> Generation {
        let totals: Vec<f64> = generation.rewarded.iter().map(|rewarded| rewarded.total).collect();
        let Advantages { values, groups_without_spread } =
            advantages(&totals, self.grpo.group, self.grpo.scale_rewards);
        (generation.advantages, generation.groups_without_spread) = (values, groups_without_spread);
        generation
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
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let [low, high, ..] = philox4x32_10(counter, key);
        u64::from(low) | u64::from(high) << 32
    }
}
