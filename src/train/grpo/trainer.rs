//! The loop: sample, reward, compare, update; checkpoints between generations, so that a training that was killed ends with the
//! weights of one that was not.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::super::checkpoint::{Checkpoints, State};
use super::super::data::DataPosition;
use super::super::events::{Event, LoggedCompletion, Observer, StepMetrics};
use super::super::trainer::{check_options, key};
use super::super::{
    Length, Optimizer, Outcome, Passes, Policy, RunSettings, Schedule, TrainError, TrainerSettings,
};
use super::evaluation::HeldOut;
use super::generation::{Draw, Generation};
use super::loss::LossType;
use super::metrics::Metric;
use super::reward::{Prompts, Reward};
use super::rollout::Sampler;
use super::settings::{GapBound, GrpoSettings};
use super::update::{Before, Found};
use crate::model::Decoder;
use crate::ops::Workers;

/// A training with all it needs.
pub struct GrpoTrainer<'a> {
    pub policy: &'a mut dyn Policy,
    pub prompts: &'a dyn Prompts,
    pub reward: &'a dyn Reward,
    /// Prompts that are answered now and then, and not learned from.
    pub held_out: Option<HeldOut<'a>>,
    /// What `beta` keeps the policy near.
    pub reference: Option<Arc<Decoder>>,
    pub passes: Passes,
    pub grpo: Arc<GrpoSettings>,
    /// Its micro-batches of an update are the prompts' groups.
    pub settings: TrainerSettings,
    pub run: RunSettings,
    pub workers: Arc<Workers>,
    /// Ends the training before the next generation, with a checkpoint.
    pub stop: &'a AtomicBool,
}

/// Updates between two checkpoints where nothing is said: an update takes minutes.
const SAVE_STEPS: u64 = 10;
/// What is not compared while both work at once.
const ASYNCHRONOUS: &str = "completions are sampled by the weights of one generation before, and corrected for it: the difference between \
                            the sampler and training is no error then, and is not bounded";
/// Why the loss's value says little.
const ONE_UPDATE: &str = "each batch is learned from once, so every ratio is about 1 and the loss's value says little; look at `reward`";
/// Why it says nothing.
const ZERO_LOSS: &str = "each batch is learned from once, so every ratio is 1 and the advantages of a group add up to 0: the loss \
                         is near 0 by construction, and its gradient is not; look at `reward`";

impl<'a> GrpoTrainer<'a> {
    /// Trains to the end, from the last checkpoint of the same training on if there is one.
    ///
    /// # Errors
    /// What is wrong with an option, a checkpoint of another training, `Sampling`, `Gap`, `Diverged`, a full disk.
    pub fn train(
        &mut self,
        sampler: &mut dyn Sampler,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, TrainError> {
        self.grpo.check()?;
        check_options(&self.settings, &self.run)?;
        let mut course = self.begin(observer)?;
        let steps = course.schedule.steps;
        while self.evaluate(sampler, &mut course)?
            && course.state.step < steps
            && !self.stop.load(Ordering::Relaxed)
        {
            let before = course.state.clone();
            match self.learn(sampler, &mut course) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error @ TrainError::Gap { .. }) => {
                    // With another bound it can go on.
                    if course.state.step == before.step && before.step > course.saved {
                        course.state = before;
                        self.save(&mut course)?;
                    }
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
            course.state.evaluation_due = self.is_evaluation_due(before.step, &course);
            let every = self.save_steps();
            if course.state.step / every > course.saved / every {
                self.save(&mut course)?;
            }
        }
        if course.state.step > course.saved {
            self.save(&mut course)?;
        }
        let State { step, tokens, evaluation_due, .. } = course.state;
        Ok(Outcome { steps: step, finished: step >= steps && !evaluation_due, best: None, tokens })
    }

    /// Where it begins, or goes on.
    fn begin<'o>(&mut self, observer: &'o mut (dyn Observer + 'o)) -> Result<Course<'o>, TrainError> {
        let schedule = self.settings.schedule(self.steps());
        let checkpoints = Checkpoints::new(self.run.folder.clone(), self.run.identity.clone());
        let resumed = checkpoints.resume(&mut *self.policy, self.settings.optimizer)?;
        let (state, optimizer) = if let Some((state, optimizer)) = resumed {
            observer.event(Event::Resumed { step: state.step })?;
            (state, optimizer)
        } else {
            let saves = schedule.steps.div_ceil(self.save_steps());
            let kept = self.run.save_total.min(usize::try_from(saves).unwrap_or(usize::MAX));
            checkpoints.check_room(&mut *self.policy, kept)?;
            self.dry_run(observer)?;
            (State::default(), Optimizer::new(self.settings.optimizer))
        };
        observer.event(Event::Started { step: state.step, steps: schedule.steps })?;
        if self.grpo.updates() == 1 && self.grpo.policy.beta == 0.0 {
            let note = if self.loss_is_zero() { ZERO_LOSS } else { ONE_UPDATE };
            observer.event(Event::Note(note.to_owned()))?;
        }
        if self.grpo.asynchronous {
            observer.event(Event::Note(ASYNCHRONOUS.to_owned()))?;
        }
        let optimizer = optimizer.seeded(self.settings.seed);
        Ok(Course { saved: state.step, state, optimizer, schedule, checkpoints, observer })
    }

    /// Samples a generation, if none was drawn before, and learns from it, while the next one is sampled if that is asked for;
    /// `false` if it was stopped before its first update, and nothing has changed. Behind that it is not stopped: a checkpoint is of
    /// a whole generation.
    fn learn(&mut self, sampler: &mut dyn Sampler, course: &mut Course<'_>) -> Result<bool, TrainError> {
        let (draw, state) = (self.draw(), &course.state);
        let generation = if let Some(drawn) = state.drawn.clone() {
            Some(draw.rebuilt(*drawn)?)
        } else {
            let from = (state.position, state.step);
            draw.generation(sampler, &self.policy.sampler(), from, self.stop)?
        };
        let Some(generation) = generation else { return Ok(false) };
        let next = state.step + self.parts_of(&generation).len() as u64;
        if !self.grpo.asynchronous || next >= course.schedule.steps {
            let learned = self.update(&generation, course)?;
            course.state.drawn.take_if(|_| learned);
            return Ok(learned);
        }
        let weights = self.policy.snapshot()?;
        let (from, is_abandoned) = ((generation.position, next), AtomicBool::new(false));
        let (learned, waiting, drawn) = thread::scope(|scope| {
            let sampling = scope.spawn(|| draw.generation(sampler, &weights, from, &is_abandoned));
            let learned = self.update(&generation, course);
            is_abandoned.store(!matches!(learned, Ok(true)), Ordering::Relaxed);
            let waiting = Instant::now();
            (learned, waiting, sampling.join())
        });
        if !learned? {
            return Ok(false);
        }
        let failed = |_| TrainError::Sampling { message: "the thread that samples has ended".to_owned() };
        let drawn = drawn.map_err(failed)??.map(Generation::into_drawn);
        let waited = waiting.elapsed().as_secs_f64();
        course.state.drawn = drawn.map(|drawn| Box::new(drawn.waited_for(waited)));
        Ok(true)
    }

    /// Learns from a generation; `false` if it was stopped before its first update, and nothing has changed.
    fn update(&mut self, generation: &Generation, course: &mut Course<'_>) -> Result<bool, TrainError> {
        let mut clock = Clock::new(generation);
        let of_generation = self.generation_metrics(generation);
        let completions = self.logged(generation, course.state.step + 1);
        course.observer.event(Event::Completions(completions))?;
        let Some(before) = self.before(generation)? else { return Ok(false) };
        let mut is_first = true;
        for groups in self.parts_of(generation) {
            if course.state.step >= course.schedule.steps {
                break;
            }
            let Some(found) = self.found(generation, &before, groups, &course.state, is_first)? else {
                return Ok(false);
            };
            is_first = false;
            self.check(&found, generation.is_behind, course)?;
            let learning_rate = course.schedule.rate(course.state.step);
            let mut trained = self.policy.parameters()?;
            let update = course.optimizer.step(&mut trained, learning_rate, None, &self.workers)?;
            drop(trained);
            self.policy.refresh()?;
            course.state.step += 1;
            course.state.tokens += found.rows;
            let mut more = of_generation.clone();
            more.extend(found.metrics(&self.grpo.policy));
            let (seconds, times) = clock.lap();
            more.extend(times);
            course.observer.event(Event::Step(StepMetrics {
                step: course.state.step,
                epoch: self.epochs(generation.position),
                loss: found.loss,
                grad_norm: update.grad_norm,
                learning_rate,
                num_tokens: course.state.tokens,
                step_tokens: found.rows,
                seconds,
                more,
            }))?;
        }
        course.state.position = generation.position;
        Ok(true)
    }

    /// Gradients of some groups; `None`, and none, if it was stopped.
    fn found(
        &mut self,
        generation: &Generation,
        before: &Before,
        groups: Range<usize>,
        state: &State,
        may_stop: bool,
    ) -> Result<Option<Found>, TrainError> {
        let dropout = key(self.settings.seed ^ state.step.rotate_left(32), state.position);
        let found = self.gradients(generation, before, groups, (dropout, may_stop))?;
        if found.is_none() {
            self.policy.parameters()?.clear(&self.workers);
        }
        Ok(found)
    }

    pub(super) fn draw(&self) -> Draw<'a> {
        Draw {
            prompts: self.prompts,
            reward: self.reward,
            grpo: Arc::clone(&self.grpo),
            workers: Arc::clone(&self.workers),
            seed: self.settings.seed,
        }
    }

    /// The groups of each update, pass after pass.
    fn parts_of(&self, generation: &Generation) -> Vec<Range<usize>> {
        let groups = generation.examples.len();
        let size = self.part(groups);
        let pass = || (0..groups).step_by(size).map(|from| from..groups.min(from + size));
        (0..self.grpo.iterations).flat_map(|_| pass()).collect()
    }

    /// Groups of an update of so many.
    pub(super) fn part(&self, groups: usize) -> usize {
        groups.div_ceil(self.grpo.steps_per_generation).max(1)
    }

    /// Updates of one pass over a generation.
    pub(super) fn updates_of(&self, generation: &Generation) -> usize {
        (self.parts_of(generation).len() / self.grpo.iterations).max(1)
    }

    /// Stops where the loss is no number, and where the sampler is another policy than the one that learns.
    fn check(&self, found: &Found, is_behind: bool, course: &mut Course<'_>) -> Result<(), TrainError> {
        let step = course.state.step + 1;
        if !found.loss.is_finite() {
            let batch = "the policy's loss over this step's completions".to_owned();
            return Err(TrainError::Diverged { step, what: "the loss", value: found.loss, batch });
        }
        // Differences of logits are divided by the temperature with them.
        let scale = self.grpo.temperature.min(1.0);
        let GapBound { max, mean, warnings } = self.grpo.gap;
        let bound = GapBound { max: max / scale, mean: mean / scale, warnings };
        let (mean, max) = (found.gap.mean(), found.gap.max);
        // Other weights are no error.
        if is_behind || max <= bound.max && mean <= bound.mean {
            course.state.gap_warnings = 0;
            return Ok(());
        }
        course.state.gap_warnings += 1;
        if course.state.gap_warnings > bound.warnings {
            return Err(TrainError::Gap { step, max, mean, bound_max: bound.max, bound_mean: bound.mean });
        }
        course.observer.event(Event::Note(format!(
            "step {step}: the sampler's log-probabilities differ from training's by {max:.1e} at most and {mean:.1e} in the mean, \
             above {:.1e} and {:.1e}: the training stops after {} such steps in a row",
            bound.max, bound.mean, bound.warnings
        )))
    }

    fn logged(&self, generation: &Generation, step: u64) -> Vec<LoggedCompletion> {
        let names = self.reward.names();
        let ids = generation.rollouts.iter().enumerate();
        ids.map(|(at, rollout)| {
            let (example, rewarded) = (generation.examples[at / self.grpo.group], &generation.rewarded[at]);
            LoggedCompletion {
                step,
                example: self.prompts.line(example),
                prompt: self.prompts.shown(example),
                completion: self.prompts.text(&rollout.tokens),
                tokens: rollout.tokens.len(),
                truncated: rollout.is_truncated,
                reward: rewarded.total,
                rewards: names.iter().cloned().zip(rewarded.parts.iter().copied()).collect(),
                advantage: generation.advantages[at],
            }
        })
        .collect()
    }

    /// Whether advantages that add up to 0 make a loss of 0.
    fn loss_is_zero(&self) -> bool {
        let GrpoSettings { policy, correction, mask_truncated, .. } = &*self.grpo;
        let all_count = correction.is_none() && !mask_truncated && policy.top_entropy == 1.0;
        policy.loss == LossType::Grpo && all_count && !self.policy.has_dropout()
    }

    /// Updates between two checkpoints.
    fn save_steps(&self) -> u64 {
        self.run.save_steps.unwrap_or(SAVE_STEPS).max(1)
    }

    /// Updates of the whole training.
    fn steps(&self) -> u64 {
        match self.settings.length {
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) => {
                let (examples, together) = (self.prompts.plan().examples(), self.draw().together());
                let parts = |groups: usize| groups.div_ceil(self.part(groups));
                let of_epoch = examples / together * parts(together) + parts(examples % together);
                ((epochs * of_epoch as f64).round() as u64).max(1) * self.grpo.iterations as u64
            }
        }
    }

    pub(super) fn epochs(&self, position: DataPosition) -> f64 {
        let of_epoch = self.prompts.plan().micro_steps(position.epoch).max(1);
        position.epoch as f64 + position.micro_step as f64 / of_epoch as f64
    }

    fn save(&mut self, course: &mut Course<'_>) -> Result<(), TrainError> {
        let path = course.checkpoints.save(&mut *self.policy, &course.state, &course.optimizer)?;
        course.checkpoints.forget(self.run.save_total, None)?;
        course.saved = course.state.step;
        course.observer.event(Event::Saved { step: course.state.step, path })
    }
}

/// A training on its way: what changes from update to update, and whom it is told.
pub(super) struct Course<'o> {
    pub state: State,
    pub optimizer: Optimizer,
    pub schedule: Schedule,
    pub checkpoints: Checkpoints,
    /// The step of the last checkpoint.
    pub saved: u64,
    pub observer: &'o mut (dyn Observer + 'o),
}

/// Seconds of sampling and of training.
struct Clock {
    began: Instant,
    sampling: f64,
    /// Of sampling, those in which nothing else was done.
    waited: f64,
}

impl Clock {
    fn new(generation: &Generation) -> Self {
        let &Generation { seconds, waited, .. } = generation;
        Self { began: Instant::now(), sampling: seconds, waited }
    }

    /// Since the last time, with its parts; what follows has no sampling.
    fn lap(&mut self) -> (f64, [Metric; 2]) {
        let training = self.began.elapsed().as_secs_f64();
        let (sampling, waited) = (std::mem::take(&mut self.sampling), std::mem::take(&mut self.waited));
        self.began = Instant::now();
        let times = [("time/sampling", sampling), ("time/training", training)];
        (waited + training, times.map(|(name, seconds)| (name.to_owned(), seconds)))
    }
}
