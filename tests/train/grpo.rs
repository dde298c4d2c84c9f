//! GRPO on a tiny decoder: it learns what is rewarded, goes on where it was killed, and its sampler is its trainer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use xenoglot::engine::{EngineConfig, SamplingParams, start};
use xenoglot::model::{Adapter, ComputeDtype, LoraSettings, Target};
use xenoglot::ops::Workers;
use xenoglot::train::data::{BatchOptions, BatchPlan, Packing};
use xenoglot::train::grpo::{
    Correction, CorrectionMode, EngineSampler, GapBound, GrpoSettings, GrpoTrainer, HeldOut, LossType,
    PolicySettings, Prompts, Reward, Rewarded, Sample, ScaleRewards,
};
use xenoglot::train::{
    AdamWSettings, Decline, Event, FullDecoder, Length, LoraDecoder, Outcome, Passes, Policy, Recompute,
    RunSettings, StepMetrics, TrainError, TrainerSettings, Warmup,
};

use super::recorded::decoder;

const VOCABULARY: u32 = 97;
/// Ids below it are rewarded.
const REWARDED: u32 = 30;

struct Questions {
    plan: BatchPlan,
}

impl Questions {
    fn new(together: usize) -> Self {
        let options = BatchOptions { packing: Packing::Off, micro_batch: together, seed: 7 };
        Self { plan: BatchPlan::new(vec![5; 12], options).unwrap() }
    }
}

impl Prompts for Questions {
    fn plan(&self) -> &BatchPlan {
        &self.plan
    }

    fn ids(&self, example: usize) -> Vec<u32> {
        (0..3 + example as u32 % 4).map(|at| (example as u32 * 13 + at * 7) % VOCABULARY).collect()
    }

    fn line(&self, example: usize) -> usize {
        example + 1
    }

    fn text(&self, tokens: &[u32]) -> String {
        tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
    }

    fn shown(&self, example: usize) -> String {
        self.text(&self.ids(example))
    }
}

/// The share of a completion's ids that are rewarded.
struct LowIds(Vec<String>);

impl Reward for LowIds {
    fn names(&self) -> &[String] {
        &self.0
    }

    fn reward(&self, sample: &Sample<'_>) -> Rewarded {
        let ids: Vec<u32> = sample.text.split(' ').map(|id| id.parse().unwrap()).collect();
        let share = ids.iter().filter(|&&id| id < REWARDED).count() as f64 / ids.len() as f64;
        Rewarded { total: share, parts: vec![share] }
    }
}

fn grpo() -> GrpoSettings {
    GrpoSettings {
        policy: PolicySettings { loss: LossType::DrGrpo, epsilon_high: 0.28, ..PolicySettings::default() },
        group: 8,
        prompts: 4,
        steps_per_generation: 1,
        iterations: 1,
        scale_rewards: ScaleRewards::Group,
        correction: None,
        mask_truncated: false,
        resample_max: 0,
        temperature: 1.0,
        completion_max: 8,
        rows_max: 100,
        gap: GapBound::F32,
        asynchronous: false,
    }
}

fn settings(steps: u64, seed: u64) -> TrainerSettings {
    TrainerSettings {
        length: Length::Steps(steps),
        learning_rate: 2e-2,
        warmup: Warmup::Steps(0),
        decline: Decline::Constant,
        optimizer: AdamWSettings { weight_decay: 0.0, ..AdamWSettings::default() },
        accumulation: 1,
        seed,
    }
}

struct Training {
    /// The bits of what was trained.
    values: Vec<u32>,
    steps: Vec<StepMetrics>,
    notes: Vec<String>,
    /// A list a generation.
    completions: Vec<Vec<String>>,
    /// Of what is held out, after every third update and at the end: the bits of each metric.
    evaluations: Vec<(u64, Vec<(String, u64)>)>,
    outcome: Result<Outcome, TrainError>,
}

/// A model's own weights.
fn full(workers: &Arc<Workers>) -> FullDecoder {
    let passes = Passes::new(Recompute::Segments { layers: 1 }, workers);
    FullDecoder::new(decoder("models/llama", ComputeDtype::F32, workers), None, passes).unwrap()
}

fn lora(workers: &Arc<Workers>, dropout: f64) -> LoraDecoder {
    let base = decoder("models/llama", ComputeDtype::F32, workers);
    let targets = vec![Target::Query, Target::Value, Target::Up, Target::Down];
    let lora = LoraSettings { rank: 4, alpha: 16.0, dropout, targets, rslora: false };
    let adapter = Adapter::new(base.config(), &lora, 3, workers).unwrap();
    let passes = Passes::new(Recompute::Segments { layers: 1 }, workers);
    LoraDecoder::new(Arc::new(base), adapter, passes).unwrap()
}

/// Trains an adapter in a folder until the stop after so many steps, if any.
fn train(
    folder: &Path,
    grpo: GrpoSettings,
    settings: TrainerSettings,
    dropout: f64,
    stop_after: Option<u64>,
) -> Training {
    train_policy(&mut lora(&Workers::new(2), dropout), folder, grpo, settings, stop_after)
}

fn train_policy(
    policy: &mut dyn Policy,
    folder: &Path,
    grpo: GrpoSettings,
    settings: TrainerSettings,
    stop_after: Option<u64>,
) -> Training {
    train_until(policy, folder, grpo, settings, &|step, stop| {
        stop.fetch_or(Some(step) == stop_after, Ordering::Relaxed);
        Ok(())
    })
}

/// Trains until what is asked after each step stops it or fails.
fn train_until(
    policy: &mut dyn Policy,
    folder: &Path,
    grpo: GrpoSettings,
    settings: TrainerSettings,
    after: &dyn Fn(u64, &AtomicBool) -> Result<(), TrainError>,
) -> Training {
    let workers = Workers::new(2);
    let base = policy.sampler().decoder;
    let reference =
        (grpo.policy.beta != 0.0).then(|| Arc::new(decoder("models/llama", ComputeDtype::F32, &workers)));
    let config = EngineConfig { max_model_len: 32, num_blocks: 200, ..EngineConfig::default() };
    let handle = start(base, config, Arc::clone(&workers)).unwrap();
    let sampling = SamplingParams {
        max_tokens: grpo.completion_max,
        temperature: grpo.temperature as f32,
        ..SamplingParams::default()
    };
    let mut sampler = EngineSampler::new(handle, sampling, policy).unwrap();
    let prompts = Questions::new(grpo.prompts * grpo.steps_per_generation);
    let reward = LowIds(vec!["low".to_owned()]);
    let stop = AtomicBool::new(false);
    let run = RunSettings {
        eval_steps: Some(3),
        save_steps: Some(2),
        save_total: 2,
        folder: folder.to_owned(),
        identity: json!({"grpo": GrpoSettings { gap: GapBound::F32, ..grpo.clone() }, "settings": settings}),
        loss_jump_max: 10.0,
    };
    let mut trainer = GrpoTrainer {
        policy: &mut *policy,
        prompts: &prompts,
        reward: &reward,
        held_out: Some(HeldOut { prompts: &prompts, reward: &reward, group: 2 }),
        reference,
        passes: Passes::new(Recompute::Off, &workers),
        grpo: Arc::new(grpo),
        settings,
        run,
        workers: Arc::clone(&workers),
        stop: &stop,
    };
    let (mut steps, mut notes, mut completions) = (Vec::new(), Vec::new(), Vec::new());
    let mut evaluations = Vec::new();
    let outcome = trainer.train(&mut sampler, &mut |event: Event| {
        match event {
            Event::Step(metrics) => {
                let step = metrics.step;
                steps.push(metrics);
                return after(step, &stop);
            }
            Event::Note(note) => notes.push(note),
            Event::Answered { step, metrics, .. } => {
                let bits = metrics.into_iter().map(|(name, value)| (name, value.to_bits()));
                evaluations.push((step, bits.collect()));
            }
            Event::Completions(logged) => {
                completions.push(logged.into_iter().map(|logged| logged.completion).collect());
            }
            _ => {}
        }
        Ok(())
    });
    Training { values: values(policy), steps, notes, completions, evaluations, outcome }
}

fn values(policy: &mut dyn Policy) -> Vec<u32> {
    let trained = policy.trained().unwrap();
    trained.iter().flat_map(|tensor| tensor.values.iter().map(|x| x.to_bits())).collect()
}

fn metric(metrics: &StepMetrics, name: &str) -> f64 {
    metrics.more.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name}")).1
}

#[test]
fn what_is_rewarded_becomes_more_likely() {
    for seed in [1, 2, 3] {
        let folder = tempfile::tempdir().unwrap();
        let training = train(folder.path(), grpo(), settings(30, seed), 0.0, None);
        assert!(training.outcome.unwrap().finished);
        let reward = |steps: &[StepMetrics]| {
            steps.iter().map(|step| metric(step, "reward")).sum::<f64>() / steps.len() as f64
        };
        let (first, last) = (reward(&training.steps[..3]), reward(&training.steps[27..]));
        assert!(first < 0.45 && last > 0.8, "seed {seed}: {first} {last}");
        // One update a batch: said once, and true.
        assert!(training.notes.len() == 1 && training.notes[0].contains("`reward`"), "{:?}", training.notes);
        assert!(training.steps.iter().all(|step| step.loss.abs() < 1e-5));
        // The sampler and the trainer are one model.
        let gap = training.steps.iter().map(|step| metric(step, "sampling/sampling_logp_difference/max"));
        let gap = gap.fold(0.0, f64::max);
        assert!(gap < 1e-5, "{gap}");
    }
}

#[test]
fn a_stopped_training_ends_as_an_uninterrupted_one() {
    let several = GrpoSettings { steps_per_generation: 2, iterations: 2, ..grpo() };
    let with_reference =
        GrpoSettings { policy: PolicySettings { beta: 0.1, ..several.policy }, ..several.clone() };
    for (grpo, stop_after) in [(grpo(), 3), (several, 3), (with_reference, 4)] {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let whole = train(folders[0].path(), grpo.clone(), settings(8, 1), 0.1, None);
        let stopped = train(folders[1].path(), grpo.clone(), settings(8, 1), 0.1, Some(stop_after));
        assert!(!stopped.outcome.unwrap().finished);
        let resumed = train(folders[1].path(), grpo, settings(8, 1), 0.1, None);
        assert_eq!([stopped.evaluations, resumed.evaluations.clone()].concat(), whole.evaluations);
        assert!(resumed.outcome.unwrap().finished && whole.outcome.as_ref().unwrap().finished);
        assert!(resumed.steps.len() < 8);
        assert_eq!(resumed.values, whole.values);
        let behind = &whole.steps[8 - resumed.steps.len()..];
        for (one, other) in resumed.steps.iter().zip(behind) {
            assert_eq!(one.loss.to_bits(), other.loss.to_bits());
            assert_eq!(metric(one, "reward").to_bits(), metric(other, "reward").to_bits());
        }
    }
}

/// The engine samples with the very weights that are trained: what it says of a token is what the next update finds.
#[test]
fn a_models_own_weights_learn_and_sample() {
    let workers = Workers::new(2);
    let run = |folder: &Path, stop_after| {
        let settings = TrainerSettings { learning_rate: 5e-3, ..settings(30, 1) };
        train_policy(&mut full(&workers), folder, grpo(), settings, stop_after)
    };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let whole = run(folders[0].path(), None);
    assert!(whole.outcome.unwrap().finished);
    let rewards: Vec<f64> = whole.steps.iter().map(|step| metric(step, "reward")).collect();
    assert!(rewards[29] > rewards[0] + 0.15, "{rewards:?}");
    let gap = whole.steps.iter().map(|step| metric(step, "sampling/sampling_logp_difference/max"));
    assert!(gap.fold(0.0, f64::max) < 1e-5);
    assert!(!run(folders[1].path(), Some(25)).outcome.unwrap().finished);
    let resumed = run(folders[1].path(), None);
    assert!(resumed.outcome.unwrap().finished && resumed.values == whole.values);
}

/// They say how far the policy is, and are answered with the same draws each time.
#[test]
fn held_out_prompts_are_answered_as_the_policy_learns() {
    let folder = tempfile::tempdir().unwrap();
    let training = train(folder.path(), grpo(), settings(10, 1), 0.0, None);
    let steps: Vec<u64> = training.evaluations.iter().map(|(step, _)| *step).collect();
    assert!(training.outcome.unwrap().finished && steps == [3, 6, 9, 10], "{steps:?}");
    let of = |at: usize, name: &str| {
        let found = training.evaluations[at].1.iter().find(|(found, _)| found == name);
        f64::from_bits(found.unwrap_or_else(|| panic!("no {name}")).1)
    };
    assert!(of(3, "reward") > of(0, "reward"), "{} {}", of(0, "reward"), of(3, "reward"));
    assert_eq!(of(3, "reward").to_bits(), of(3, "rewards/low/mean").to_bits());
    assert_eq!((of(0, "completions/mean_length"), of(0, "completions/clipped_ratio")), (8.0, 1.0));
    assert!(of(0, "frac_reward_zero_std") < 1.0);
    // A policy that stays the same is worth the same.
    let folder = tempfile::tempdir().unwrap();
    let settings = TrainerSettings { learning_rate: 1e-12, ..settings(6, 1) };
    let still = train(folder.path(), grpo(), settings, 0.0, None);
    assert_eq!(still.evaluations[0].1, still.evaluations[1].1);
}

fn asynchronous() -> GrpoSettings {
    let correction = Correction { mode: CorrectionMode::TokenTruncate, min: None, max: Some(3.0) };
    GrpoSettings { asynchronous: true, correction: Some(correction), ..grpo() }
}

/// What the second update learns from was sampled by the weights that the first one began with, what the third by those behind the
/// first.
#[test]
fn an_asynchronous_training_samples_one_step_ahead_and_learns() {
    let run = |grpo, learning_rate| {
        let folder = tempfile::tempdir().unwrap();
        let settings = TrainerSettings { learning_rate, ..settings(30, 1) };
        let training = train(folder.path(), grpo, settings, 0.0, None);
        assert!(training.outcome.as_ref().unwrap().finished && training.completions.len() == 30);
        training
    };
    let (ahead, still) = (run(asynchronous(), 2e-2), run(grpo(), 1e-12));
    assert_eq!(ahead.completions[..2], still.completions[..2]);
    assert_ne!(ahead.completions[2], still.completions[2]);
    let reward = |steps: &[StepMetrics]| steps.iter().map(|step| metric(step, "reward")).sum::<f64>() / 3.0;
    let (first, last) = (reward(&ahead.steps[..3]), reward(&ahead.steps[27..]));
    assert!(first < 0.45 && last > 0.8, "{first} {last}");
    let ratio = |step: &StepMetrics| metric(step, "sampling/importance_sampling_ratio/max");
    assert!((ratio(&ahead.steps[0]) - 1.0).abs() < 1e-4 && ratio(&ahead.steps[1]) > 1.01);
    assert!(ahead.notes.iter().any(|note| note.contains("one generation before")), "{:?}", ahead.notes);
}

/// Stopped or killed, it goes on with the completions that it had ahead, and ends with the same bits.
#[test]
fn an_asynchronous_training_loses_no_completion() {
    type Make<'a> = &'a dyn Fn() -> Box<dyn Policy>;
    let workers = Workers::new(2);
    let adapter: Make<'_> = &|| Box::new(lora(&Workers::new(2), 0.1));
    let own: Make<'_> = &|| Box::new(full(&workers));
    let several = GrpoSettings { steps_per_generation: 2, iterations: 2, ..asynchronous() };
    for (make, grpo, steps) in [(adapter, several, 12), (own, asynchronous(), 7)] {
        let run = |folder: &Path, after: &dyn Fn(u64, &AtomicBool) -> Result<(), TrainError>| {
            let settings = TrainerSettings { learning_rate: 5e-3, ..settings(steps, 1) };
            train_until(&mut *make(), folder, grpo.clone(), settings, after)
        };
        let whole = run(tempfile::tempdir().unwrap().path(), &|_, _| Ok(()));
        assert!(whole.outcome.unwrap().finished);
        let stopped: &dyn Fn(u64, &AtomicBool) -> Result<(), TrainError> = &|step, stop| {
            stop.fetch_or(step == 3, Ordering::Relaxed);
            Ok(())
        };
        let killed: &dyn Fn(u64, &AtomicBool) -> Result<(), TrainError> = &|step, _| match step {
            6 => Err(TrainError::Sampling { message: "killed".to_owned() }),
            _ => Ok(()),
        };
        for end in [stopped, killed] {
            let folder = tempfile::tempdir().unwrap();
            assert!(!run(folder.path(), end).outcome.is_ok_and(|outcome| outcome.finished));
            let resumed = run(folder.path(), &|_, _| Ok(()));
            assert!(resumed.outcome.unwrap().finished && resumed.steps[0].step > 1);
            assert_eq!(resumed.values, whole.values);
            let behind = &whole.completions[whole.completions.len() - resumed.completions.len()..];
            assert_eq!(resumed.completions, behind);
        }
    }
}

#[test]
fn several_updates_of_a_batch_have_ratios() {
    let folder = tempfile::tempdir().unwrap();
    let several = GrpoSettings { iterations: 4, ..grpo() };
    let training = train(folder.path(), several, settings(8, 1), 0.0, None);
    assert!(training.outcome.unwrap().finished && training.notes.is_empty());
    let clipped = |step: &StepMetrics| metric(step, "clip_ratio/region_mean");
    assert!(clipped(&training.steps[0]) == 0.0 && clipped(&training.steps[3]) > 0.0);
    assert!(training.steps[1].loss.abs() > 1e-4);
}

/// What is masked, or corrected away, changes no weight.
#[test]
fn what_does_not_count_teaches_nothing() {
    let start = values(&mut lora(&Workers::new(2), 0.0));
    let run = |grpo: GrpoSettings| {
        let folder = tempfile::tempdir().unwrap();
        let training = train(folder.path(), grpo, settings(2, 1), 0.0, None);
        assert!(training.outcome.unwrap().finished);
        (training.values, training.steps)
    };
    // Nothing ends a completion here but its length.
    let (values, steps) = run(GrpoSettings { mask_truncated: true, ..grpo() });
    assert!(values == start && steps[1].grad_norm == 0.0);
    let far = Correction { mode: CorrectionMode::SequenceMask, min: None, max: Some(0.5) };
    let (values, steps) = run(GrpoSettings { correction: Some(far), ..grpo() });
    assert!(values == start && metric(&steps[1], "sampling/importance_sampling_ratio/max") == 0.0);
    let near = Correction { max: Some(3.0), ..far };
    let (values, steps) = run(GrpoSettings { correction: Some(near), ..grpo() });
    let ratio = metric(&steps[0], "sampling/importance_sampling_ratio/mean");
    assert!(values != start && (ratio - 1.0).abs() < 1e-4, "{ratio}");
}

/// Raising the bound goes on where it stopped.
#[test]
fn a_training_that_the_bound_stopped_can_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let tight = GapBound { max: 1e-12, mean: 1e-12, warnings: 3 };
    let stopped = train(folder.path(), GrpoSettings { gap: tight, ..grpo() }, settings(6, 1), 0.0, None);
    assert!(matches!(stopped.outcome, Err(TrainError::Gap { step: 4, .. })));
    let resumed = train(folder.path(), grpo(), settings(6, 1), 0.0, None);
    assert!(resumed.outcome.unwrap().finished && resumed.steps[0].step == 4);
    let whole = train(tempfile::tempdir().unwrap().path(), grpo(), settings(6, 1), 0.0, None);
    assert_eq!(resumed.values, whole.values);
}

/// Warnings in a row are counted on behind a checkpoint.
#[test]
fn a_stop_does_not_begin_the_warnings_anew() {
    let folder = tempfile::tempdir().unwrap();
    let tight = GrpoSettings { gap: GapBound { max: 1e-12, mean: 1e-12, warnings: 3 }, ..grpo() };
    let stopped = train(folder.path(), tight.clone(), settings(8, 1), 0.0, Some(2));
    assert!(!stopped.outcome.unwrap().finished);
    let resumed = train(folder.path(), tight, settings(8, 1), 0.0, None);
    assert!(matches!(resumed.outcome, Err(TrainError::Gap { step: 4, .. })));
}

/// Groups whose completions are all worth the same are sampled again.
#[test]
fn groups_that_teach_nothing_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let short = GrpoSettings { group: 2, completion_max: 2, prompts: 6, resample_max: 5, ..grpo() };
    let training = train(folder.path(), short, settings(3, 1), 0.0, None);
    assert!(training.outcome.unwrap().finished);
    for step in &training.steps {
        assert_eq!(metric(step, "frac_reward_zero_std"), 0.0);
    }
    assert!(training.steps.iter().any(|step| metric(step, "groups_resampled") > 0.0));
}

#[test]
fn a_sampler_that_is_another_policy_stops_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let gap = GapBound { max: 1e-12, mean: 1e-12, warnings: 1 };
    let training = train(folder.path(), GrpoSettings { gap, ..grpo() }, settings(3, 1), 0.0, None);
    assert!(training.notes.iter().any(|note| note.contains("step 1: the sampler's log-probabilities")));
    let error = training.outcome.unwrap_err().to_string();
    assert!(error.contains("step 2") && error.contains("logp_difference_max"), "{error}");
}

#[test]
fn options_out_of_range_are_named() {
    let check = |change: &dyn Fn(&mut GrpoSettings), part: &str| {
        let mut grpo = grpo();
        change(&mut grpo);
        let error = grpo.check().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    check(&|grpo| grpo.group = 1, "`num_generations` is 1");
    check(&|grpo| grpo.policy.epsilon_low = 1.5, "`epsilon` is 1.5");
    check(&|grpo| grpo.policy.delta = Some(1.1), "`delta` must be above");
    check(&|grpo| grpo.policy.beta = -1.0, "`beta` is -1");
    check(&|grpo| grpo.policy.top_entropy = 0.0, "`top_entropy_quantile`");
    check(&|grpo| grpo.policy.off_policy_max = Some(-1.0), "`off_policy_mask_threshold` must");
    check(&|grpo| grpo.temperature = 0.0, "`temperature` is 0");
    check(&|grpo| grpo.iterations = 0, "`num_iterations` is 0");
}
