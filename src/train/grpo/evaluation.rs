//! What the policy's answers to held-out prompts are worth. They are sampled as those that it learns from, each time with the same
//! seeds, so that two evaluations differ by the policy alone.

use std::sync::Arc;

use super::super::TrainError;
use super::super::data::DataPosition;
use super::super::events::Event;
use super::generation::{Draw, Generation};
use super::metrics::generation_metrics;
use super::reward::{Prompts, Reward};
use super::rollout::Sampler;
use super::settings::GrpoSettings;
use super::trainer::{Course, GrpoTrainer};

/// Prompts of a validation file.
#[derive(Clone, Copy)]
pub struct HeldOut<'a> {
    pub prompts: &'a dyn Prompts,
    pub reward: &'a dyn Reward,
    /// Completions a prompt.
    pub group: usize,
}

/// Keeps the draws of evaluations from being those of the training.
const SEED: u64 = 0x6576_616c_7561_7465;

impl GrpoTrainer<'_> {
    /// Behind updates that began after `before`: every so many steps, if that is said, and at the end.
    pub(super) fn is_evaluation_due(&self, before: u64, course: &Course<'_>) -> bool {
        let step = course.state.step;
        let is_passed = |every: u64| step / every.max(1) > before / every.max(1);
        self.held_out.is_some()
            && (step >= course.schedule.steps || self.run.eval_steps.is_some_and(is_passed))
    }

    /// Answers the held-out prompts, if that is due; `false` if it was stopped meanwhile.
    pub(super) fn evaluate(
        &mut self,
        sampler: &mut dyn Sampler,
        course: &mut Course<'_>,
    ) -> Result<bool, TrainError> {
        let Some(HeldOut { prompts, reward, group }) = self.held_out.filter(|_| course.state.evaluation_due)
        else {
            return Ok(true);
        };
        let grpo = GrpoSettings { group, resample_max: 0, ..(*self.grpo).clone() };
        let seed = self.settings.seed ^ SEED;
        let draw = Draw { prompts, reward, grpo: Arc::new(grpo), seed, ..self.draw() };
        let weights = self.policy.sampler();
        let mut all = Generation::default();
        for micro_step in 0..prompts.plan().micro_steps(0) {
            let from = (DataPosition { epoch: 0, micro_step }, micro_step);
            let Some(part) = draw.generation(sampler, &weights, from, self.stop)? else { return Ok(false) };
            all.append(part);
        }
        drop(weights);
        let mut metrics = generation_metrics(&all, reward);
        // One answer has nothing to differ from.
        metrics.retain(|(name, _)| group > 1 || name != "frac_reward_zero_std");
        course.state.evaluation_due = false;
        let epoch = self.epochs(course.state.position);
        course.observer.event(Event::Answered { step: course.state.step, epoch, metrics })?;
        if course.saved == course.state.step && course.saved > 0 {
            // The checkpoint says that it was still to be done.
            course.checkpoints.save(&mut *self.policy, &course.state, &course.optimizer)?;
        }
        Ok(true)
    }
}
