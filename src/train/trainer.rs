//! The loop: micro-batches to gradients, gradients to updates; evaluations, checkpoints, and the end.
//!
//! All that the loop's next step depends on is in a checkpoint, so that a training that was killed ends with the weights of one
//! that was not, bit by bit.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::checkpoint::{Best, Checkpoints, State};
use super::data::DataPosition;
use super::events::{Event, Observer, StepMetrics};
use super::{
    AdamWSettings, Decline, Evaluation, Examples, Masks, MicroBatch, Objective, Optimizer, Schedule,
    TrainError,
};
use crate::ops::Workers;

/// How long a training is.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// Passes over the data, the last of which may be a part of one.
    Epochs(f64),
    Steps(u64),
}

/// Updates until the learning rate's peak.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warmup {
    Steps(u64),
    /// Of all updates.
    Ratio(f64),
}

/// What decides what is learned. A checkpoint is of one of these.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TrainerSettings {
    pub length: Length,
    pub learning_rate: f64,
    pub warmup: Warmup,
    pub decline: Decline,
    pub optimizer: AdamWSettings,
    /// Micro-batches of an update. The last update of an epoch may have fewer.
    pub accumulation: usize,
    /// Of dropout; the data's plan has its own.
    pub seed: u64,
}

impl TrainerSettings {
    /// Over so many updates.
    pub(super) fn schedule(&self, steps: u64) -> Schedule {
        let warmup_steps = match self.warmup {
            Warmup::Steps(steps) => steps,
            Warmup::Ratio(ratio) => (ratio * steps as f64).ceil() as u64,
        };
        Schedule { peak: self.learning_rate, warmup_steps, steps, decline: self.decline }
    }
}

/// What decides how it goes, and nothing of what is learned.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// Updates between two evaluations; `None`: one at each epoch's end.
    pub eval_steps: Option<u64>,
    /// Updates between two checkpoints; `None`: one at each epoch's end.
    pub save_steps: Option<u64>,
    /// Checkpoints that are kept, the best one beside them.
    pub save_total: usize,
    pub folder: PathBuf,
    /// What of the training tells whether a checkpoint is of it: model, data, settings.
    pub identity: serde_json::Value,
    /// A loss so many times the mean of the steps before stops the training.
    pub loss_jump_max: f64,
}

/// A training with all it needs.
pub struct Trainer<'a> {
    pub objective: &'a mut dyn Objective,
    pub examples: &'a dyn Examples,
    pub dev: Option<&'a dyn Examples>,
    pub masks: Option<&'a Masks>,
    pub settings: TrainerSettings,
    pub run: RunSettings,
    pub workers: Arc<Workers>,
    /// Ends the training at the next micro-batch, with a checkpoint.
    pub stop: &'a AtomicBool,
}

/// How a training ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub steps: u64,
    /// All of `steps` were made; else it was stopped, and can go on.
    pub finished: bool,
    pub best: Option<Best>,
    /// Tokens that went through the model, those of earlier calls among them.
    pub tokens: u64,
}

/// Steps whose mean loss the next one's is compared with.
const MEAN_STEPS: f64 = 50.0;
/// Steps before that mean says something.
const MEAN_STEPS_MIN: u64 = 10;

impl Trainer<'_> {
    /// Trains to the end, from the last checkpoint of the same training on if there is one. The model then has the last weights.
    ///
    /// # Errors
    /// What is wrong with an option, a checkpoint of another training, `Diverged`, a full disk.
    pub fn train(&mut self, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        self.check()?;
        let schedule = self.settings.schedule(self.steps());
        let checkpoints = Checkpoints::new(self.run.folder.clone(), self.run.identity.clone());
        let resumed = checkpoints.resume(self.objective, self.settings.optimizer)?;
        let (mut state, mut optimizer) = if let Some((state, optimizer)) = resumed {
            observer.event(Event::Resumed { step: state.step })?;
            (state, optimizer)
        } else {
            let saves = self
                .run
                .save_steps
                .map_or_else(|| self.epochs(), |every| schedule.steps.div_ceil(every.max(1)));
            let kept = self.run.save_total.min(usize::try_from(saves).unwrap_or(usize::MAX));
            checkpoints.check_room(self.objective, kept)?;
            self.dry_run(observer)?;
            (State { evaluation_due: true, ..State::default() }, Optimizer::new(self.settings.optimizer))
        };
        observer.event(Event::Started { step: state.step, steps: schedule.steps })?;
        optimizer = optimizer.seeded(self.settings.seed);
        let mut course = Course::new(self.examples, state.position);
        let (mut save, mut finished) = (false, false);
        loop {
            if state.evaluation_due {
                if !self.evaluate(&mut state, &course, observer)? {
                    break;
                }
                save |= state.step > 0 && state.best.is_some_and(|best| best.step == state.step);
            }
            if save {
                self.save(&checkpoints, &state, &optimizer, observer)?;
            }
            finished = state.step >= schedule.steps;
            let epoch = state.position.epoch;
            if finished || !self.step(&mut state, &mut course, &mut optimizer, &schedule, observer)? {
                break;
            }
            let is_last = state.step >= schedule.steps;
            let due = |every: Option<u64>| {
                let by_steps = |every: u64| state.step.is_multiple_of(every.max(1));
                is_last || every.map_or(state.position.epoch != epoch, by_steps)
            };
            (state.evaluation_due, save) =
                (self.dev.is_some() && due(self.run.eval_steps), due(self.run.save_steps));
        }
        if !finished && state.step > 0 {
            self.save(&checkpoints, &state, &optimizer, observer)?;
        }
        Ok(Outcome { steps: state.step, finished, best: state.best, tokens: state.tokens })
    }

    /// Gives the model the weights of the step with the lowest loss on the dev set, if it has been saved: the weights that
    /// training began with have no checkpoint.
    ///
    /// # Errors
    /// As [`Self::train`].
    pub fn load_best(&mut self, outcome: &Outcome) -> Result<Option<Best>, TrainError> {
        let Some(best) = outcome.best.filter(|best| best.step > 0) else { return Ok(None) };
        let checkpoints = Checkpoints::new(self.run.folder.clone(), self.run.identity.clone());
        checkpoints.load(best.step, self.objective)?;
        Ok(Some(best))
    }

    /// One update; `false` if it was stopped before.
    fn step(
        &mut self,
        state: &mut State,
        course: &mut Course<'_>,
        optimizer: &mut Optimizer,
        schedule: &Schedule,
        observer: &mut dyn Observer,
    ) -> Result<bool, TrainError> {
        let started = Instant::now();
        let micros = self.group(course)?;
        let Some(loss) = self.gradients(&micros, state)? else { return Ok(false) };
        let learning_rate = schedule.rate(state.step);
        let mut trained = self.objective.parameters()?;
        let update = optimizer.step(&mut trained, learning_rate, self.masks, &self.workers);
        drop(trained);
        let update = update.map_err(|error| error.in_batch(&micros))?;
        self.objective.refresh()?;
        let tokens = micros.iter().map(|micro| micro.micro.batch.ids.len() as u64).sum::<u64>();
        state.step += 1;
        state.position = course.position();
        state.tokens += tokens;
        state.mean_loss += (loss - state.mean_loss) / MEAN_STEPS.min(state.step as f64);
        observer.event(Event::Step(StepMetrics {
            step: state.step,
            epoch: course.epochs(),
            loss,
            grad_norm: update.grad_norm,
            learning_rate,
            num_tokens: state.tokens,
            step_tokens: tokens,
            seconds: started.elapsed().as_secs_f64(),
            more: Vec::new(),
        }))?;
        Ok(true)
    }

    /// Updates of the whole training.
    pub fn steps(&self) -> u64 {
        let per_epoch = |epoch| {
            self.examples.plan().micro_steps(epoch).div_ceil(self.settings.accumulation.max(1) as u64)
        };
        match self.settings.length {
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) => {
                let whole = epochs.floor() as u64;
                let part = epochs - epochs.floor();
                let of_part = (part * per_epoch(whole) as f64).round() as u64;
                let goes_on = |_: &u64| !self.stop.load(Ordering::Relaxed);
                ((0..whole).take_while(goes_on).map(per_epoch).sum::<u64>() + of_part).max(1)
            }
        }
    }

    /// Passes over the data, the last of which may be a part of one.
    fn epochs(&self) -> u64 {
        match self.settings.length {
            Length::Epochs(epochs) => epochs.ceil() as u64,
            Length::Steps(steps) => {
                let per_epoch =
                    self.examples.plan().micro_steps(0).div_ceil(self.settings.accumulation as u64);
                steps.div_ceil(per_epoch.max(1))
            }
        }
    }

    fn check(&self) -> Result<(), TrainError> {
        check_options(&self.settings, &self.run)
    }

    /// The longest micro-batch forward and backward, so that what does not fit into memory is known at once.
    fn dry_run(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let longest = self.examples.plan().longest_first();
        let micro = self.examples.micro_batch(&longest)?;
        let started = Instant::now();
        let (targets, tokens) = (micro.targets(), micro.batch.ids.len());
        self.objective.accumulate(&micro.weighted(1.0 / targets.max(1) as f32))?;
        self.objective.parameters()?.clear(&self.workers);
        observer.event(Event::DryRun { tokens, seconds: started.elapsed().as_secs_f64() })
    }

    /// The micro-batches of the next update, all of one epoch.
    fn group(&self, course: &mut Course<'_>) -> Result<Vec<Numbered>, TrainError> {
        let epoch = course.position().epoch;
        let mut micros = Vec::new();
        while micros.len() < self.settings.accumulation && course.position().epoch == epoch {
            let Some((position, examples)) = course.upcoming.next() else { break };
            let micro = self.examples.micro_batch(&examples)?.keyed(key(self.settings.seed, position));
            micros.push(Numbered { position, examples, micro });
        }
        course.count();
        Ok(micros)
    }

    /// The mean loss over all targets of the micro-batches, whose gradients are added. `None` if it was stopped between them;
    /// what was added then is cleared.
    fn gradients(&mut self, micros: &[Numbered], state: &State) -> Result<Option<f64>, TrainError> {
        let targets: usize = micros.iter().map(|micro| micro.micro.targets()).sum();
        let mut loss = 0.0;
        for numbered in micros {
            if self.stop.load(Ordering::Relaxed) {
                self.objective.parameters()?.clear(&self.workers);
                return Ok(None);
            }
            let micro = numbered.micro.clone().weighted(1.0 / targets.max(1) as f32);
            loss += self.objective.accumulate(&micro)?;
        }
        let is_jump = state.step >= MEAN_STEPS_MIN
            && loss > self.run.loss_jump_max * state.mean_loss.max(f64::MIN_POSITIVE);
        if !loss.is_finite() || is_jump {
            let error = TrainError::Diverged {
                step: state.step + 1,
                what: "the loss",
                value: loss,
                batch: String::new(),
            };
            return Err(error.in_batch(micros));
        }
        Ok(Some(loss))
    }

    /// The dev set's loss, the best step's kept in the state; `false` if it was stopped, and nothing is known.
    fn evaluate(
        &self,
        state: &mut State,
        course: &Course<'_>,
        observer: &mut dyn Observer,
    ) -> Result<bool, TrainError> {
        state.evaluation_due = false;
        let Some(dev) = self.dev else { return Ok(true) };
        let mut sums: BTreeMap<String, (f64, u64)> = BTreeMap::new();
        for examples in dev.plan().epoch(0) {
            if self.stop.load(Ordering::Relaxed) {
                state.evaluation_due = true;
                return Ok(false);
            }
            let micro = dev.micro_batch(&examples)?;
            let losses = self.objective.losses(&micro)?;
            let targets = &micro.targets.weights;
            for (&example, rows) in examples.iter().zip(micro.batch.cu_seqlens.windows(2)) {
                let rows = rows[0] as usize..rows[1] as usize;
                let entry = sums.entry(dev.tag(example).to_owned()).or_default();
                entry.0 += losses[rows.clone()].iter().map(|&loss| f64::from(loss)).sum::<f64>();
                entry.1 += targets[rows].iter().filter(|&&weight| weight != 0.0).count() as u64;
            }
        }
        let evaluation = Evaluation::of(&sums);
        if state.best.is_none_or(|best| evaluation.loss < best.loss) {
            state.best = Some(Best { step: state.step, loss: evaluation.loss });
        }
        observer.event(Event::Evaluated { step: state.step, epoch: course.epochs(), evaluation })?;
        Ok(true)
    }

    fn save(
        &mut self,
        checkpoints: &Checkpoints,
        state: &State,
        optimizer: &Optimizer,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let path = checkpoints.save(self.objective, state, optimizer)?;
        checkpoints.forget(self.run.save_total, state.best)?;
        observer.event(Event::Saved { step: state.step, path })
    }
}

/// What can be told of the options before there are data.
///
/// # Errors
/// `Option`, with its name.
pub(super) fn check_options(settings: &TrainerSettings, run: &RunSettings) -> Result<(), TrainError> {
    let TrainerSettings { length, learning_rate, warmup, accumulation, optimizer, .. } = settings;
    let fail = |key, problem: &str| Err(TrainError::option(key, problem));
    if !(learning_rate.is_finite() && *learning_rate > 0.0) {
        return fail("learning_rate", &format!("is {learning_rate}, it must be a number above 0"));
    }
    if *accumulation == 0 {
        return fail("gradient_accumulation_steps", "is 0, at least 1 is needed");
    }
    if *length == Length::Steps(0) {
        return fail("max_steps", "is 0, at least 1 is needed");
    }
    if matches!(length, Length::Epochs(epochs) if !(epochs.is_finite() && *epochs > 0.0)) {
        return fail("n_epochs", "must be a number above 0");
    }
    if matches!(warmup, Warmup::Ratio(ratio) if !(0.0..=1.0).contains(ratio)) {
        return fail("warmup_ratio", "must lie between 0 and 1");
    }
    let is_beta = |beta: f64| (0.0..1.0).contains(&beta);
    if !is_beta(optimizer.beta1) || !is_beta(optimizer.beta2) {
        return fail("adam_beta1", "and `adam_beta2` must lie between 0 and 1, 1 not among them");
    }
    let is_amount = |amount: f64| amount.is_finite() && amount >= 0.0;
    if !is_amount(optimizer.eps) || !is_amount(optimizer.weight_decay) {
        return fail("weight_decay", "and `adam_epsilon` must be numbers from 0 on");
    }
    if run.loss_jump_max.is_nan() || run.loss_jump_max <= 0.0 {
        return fail("max_loss_jump", "must be above 0");
    }
    if optimizer.max_grad_norm.is_some_and(|max| max <= 0.0 || max.is_nan()) {
        return fail("max_grad_norm", "must be above 0; leave it out not to clip");
    }
    Ok(())
}

/// The way through the data, an update at a time.
struct Course<'a> {
    examples: &'a dyn Examples,
    upcoming: Peekable<Box<dyn Iterator<Item = (DataPosition, Vec<usize>)> + 'a>>,
    /// Of the next micro-batch.
    position: DataPosition,
    /// Micro-batches of that epoch.
    micro_steps: u64,
}

impl<'a> Course<'a> {
    fn new(examples: &'a dyn Examples, position: DataPosition) -> Self {
        let upcoming: Box<dyn Iterator<Item = _> + 'a> = Box::new(examples.plan().from(position));
        let micro_steps = examples.plan().micro_steps(position.epoch);
        Self { examples, upcoming: upcoming.peekable(), position, micro_steps }
    }

    fn position(&mut self) -> DataPosition {
        self.upcoming.peek().map_or(self.position, |(position, _)| *position)
    }

    /// Keeps the numbers of where it is.
    fn count(&mut self) {
        let position = self.position();
        if position.epoch != self.position.epoch {
            self.micro_steps = self.examples.plan().micro_steps(position.epoch);
        }
        self.position = position;
    }

    /// Passes over the data so far, with a fraction.
    fn epochs(&self) -> f64 {
        self.position.epoch as f64 + self.position.micro_step as f64 / self.micro_steps.max(1) as f64
    }
}

/// A micro-batch and where it is from.
pub(super) struct Numbered {
    position: DataPosition,
    examples: Vec<usize>,
    micro: MicroBatch,
}

impl TrainError {
    /// Names the examples of a step that went wrong.
    fn in_batch(self, micros: &[Numbered]) -> Self {
        let Self::Diverged { step, what, value, batch } = self else { return self };
        let examples: Vec<String> = micros
            .iter()
            .flat_map(|micro| &micro.examples)
            .take(16)
            .map(|example| (example + 1).to_string())
            .collect();
        let (epoch, examples) = (micros.first().map_or(0, |micro| micro.position.epoch), examples.join(", "));
        let named = format!("epoch {epoch}, examples {examples}");
        let batch = if batch.is_empty() { named } else { format!("{batch}; {named}") };
        Self::Diverged { step, what, value, batch }
    }
}

/// Of a micro-batch's dropout: another one for every micro-batch of the training.
pub(super) fn key(seed: u64, position: DataPosition) -> u64 {
    let mut key = seed;
    for part in [position.epoch, position.micro_step] {
        // splitmix64's finaliser.
        key = (key ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        key ^= key >> 31;
    }
    key
}
