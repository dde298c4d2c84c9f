//! The trainer's loop: a training that was stopped or killed ends with the weights of one that was not; what goes wrong is told.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use xenoglot::model::ComputeDtype;
use xenoglot::ops::Workers;
use xenoglot::train::data::{BatchOptions, BatchPlan, Packing, Ragged};
use xenoglot::train::{
    AdamWSettings, Decline, Event, Examples, FullDecoder, Length, MicroBatch, Objective, Outcome, Passes,
    Recompute, RunSettings, StepMetrics, TrainError, Trainer, TrainerSettings, Warmup,
};

use super::recorded::decoder;

/// Sequences of a repeated pattern, so that there is something to learn.
struct Patterns {
    plan: BatchPlan,
    sequences: Vec<Vec<u32>>,
}

impl Patterns {
    fn new(count: usize) -> Self {
        let sequence =
            |index: usize| (0..6 + index % 5).map(|at| ((index % 3) * 7 + at * 5) as u32 % 97).collect();
        let sequences: Vec<Vec<u32>> = (0..count).map(sequence).collect();
        let options = BatchOptions { packing: Packing::Off, micro_batch: 2, seed: 3 };
        let plan = BatchPlan::new(sequences.iter().map(|ids| ids.len() as u32).collect(), options).unwrap();
        Self { plan, sequences }
    }
}

impl Examples for Patterns {
    fn plan(&self) -> &BatchPlan {
        &self.plan
    }

    fn micro_batch(&self, examples: &[usize]) -> Result<MicroBatch, TrainError> {
        let mut ragged = Ragged { cu_seqlens: vec![0], ..Ragged::default() };
        for &example in examples {
            let (ids, start) = (&self.sequences[example], ragged.ids.len() as u32);
            ragged.rows.extend((0..ids.len() as u32 - 1).map(|at| start + at));
            ragged.targets.extend(&ids[1..]);
            ragged.positions.extend(0..ids.len() as u32);
            ragged.ids.extend(ids);
            ragged.cu_seqlens.push(ragged.ids.len() as u32);
        }
        Ok(MicroBatch::of(ragged))
    }

    fn tag(&self, example: usize) -> &str {
        ["en", "sw"][example % 2]
    }
}

fn settings() -> TrainerSettings {
    TrainerSettings {
        length: Length::Epochs(2.0),
        learning_rate: 5e-3,
        warmup: Warmup::Steps(2),
        decline: Decline::Cosine,
        optimizer: AdamWSettings { weight_decay: 0.01, ..AdamWSettings::default() },
        accumulation: 2,
        seed: 1,
    }
}

struct Training {
    model: FullDecoder,
    events: Vec<Event>,
    outcome: Result<Outcome, TrainError>,
}

/// Trains in a folder until the stop after so many steps, if any.
fn train(
    folder: &Path,
    settings: TrainerSettings,
    stop_after: Option<u64>,
    change: impl Fn(&mut RunSettings),
) -> Training {
    let workers = Workers::new(2);
    let passes = Passes::new(Recompute::Segments { layers: 1 }, &workers);
    let model = FullDecoder::new(decoder("models/llama", ComputeDtype::F32, &workers), None, passes).unwrap();
    train_model(model, folder, settings, stop_after, change)
}

fn train_model(
    mut model: FullDecoder,
    folder: &Path,
    settings: TrainerSettings,
    stop_after: Option<u64>,
    change: impl Fn(&mut RunSettings),
) -> Training {
    let workers = Workers::new(2);
    let (examples, dev) = (Patterns::new(13), Patterns::new(4));
    let stop = AtomicBool::new(false);
    let mut run = RunSettings {
        eval_steps: Some(3),
        save_steps: Some(2),
        save_total: 2,
        folder: folder.to_owned(),
        identity: json!({"model": "llama", "settings": settings}),
        loss_jump_max: 20.0,
    };
    change(&mut run);
    let mut trainer = Trainer {
        objective: &mut model,
        examples: &examples,
        dev: Some(&dev),
        masks: None,
        settings,
        run,
        workers,
        stop: &stop,
    };
    let mut events = Vec::new();
    let outcome = trainer.train(&mut |event: Event| {
        if matches!(&event, Event::Step(StepMetrics { step, .. }) if Some(*step) == stop_after) {
            stop.store(true, Ordering::Relaxed);
        }
        events.push(event);
        Ok(())
    });
    Training { model, events, outcome }
}

fn weights(model: &mut FullDecoder) -> Vec<(String, Vec<u32>)> {
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect();
    model.trained().unwrap().into_iter().map(|tensor| (tensor.name.clone(), bits(tensor.values))).collect()
}

fn steps(events: &[Event]) -> Vec<(u64, u64)> {
    let step = |event: &Event| match event {
        Event::Step(step) => Some((step.step, step.loss.to_bits())),
        _ => None,
    };
    events.iter().filter_map(step).collect()
}

/// 13 examples in pairs, two pairs a step: 4 steps an epoch, the last of them of one pair.
#[test]
fn a_stopped_training_ends_as_an_uninterrupted_one() {
    let whole = tempfile::tempdir().unwrap();
    let mut uninterrupted = train(whole.path(), settings(), None, |_| {});
    let outcome = uninterrupted.outcome.unwrap();
    assert!(outcome.finished && outcome.steps == 8, "{outcome:?}");
    for stop_after in 1..8 {
        let folder = tempfile::tempdir().unwrap();
        let stopped = train(folder.path(), settings(), Some(stop_after), |_| {});
        assert!(!stopped.outcome.unwrap().finished);
        let mut resumed = train(folder.path(), settings(), None, |_| {});
        assert_eq!(resumed.outcome.unwrap(), outcome, "after {stop_after}");
        assert!(weights(&mut resumed.model) == weights(&mut uninterrupted.model), "after {stop_after}");
        let all: Vec<_> = steps(&stopped.events).into_iter().chain(steps(&resumed.events)).collect();
        assert_eq!(all, steps(&uninterrupted.events), "after {stop_after}");
    }
}

/// Without masters too: weights, moments and the draws that round them go on where they were.
#[test]
fn a_stopped_training_without_masters_ends_as_an_uninterrupted_one() {
    let run = |folder: &Path, stop_after| {
        let workers = Workers::new(2);
        let passes = Passes::new(Recompute::Segments { layers: 1 }, &workers);
        let decoder = decoder("models/llama", ComputeDtype::Bf16, &workers);
        let model = FullDecoder::without_masters(decoder, passes).unwrap();
        train_model(model, folder, settings(), stop_after, |_| {})
    };
    let bits = |model: &mut FullDecoder| {
        let parameters = model.parameters().unwrap();
        let of_single =
            parameters.single.iter().map(|tensor| tensor.values.iter().map(|x| x.to_bits()).collect());
        let single: Vec<Vec<u32>> = of_single.collect();
        (single, parameters.bf16.iter().map(|tensor| tensor.values.to_vec()).collect::<Vec<_>>())
    };
    let mut whole = run(tempfile::tempdir().unwrap().path(), None);
    let outcome = whole.outcome.unwrap();
    assert!(outcome.finished && !bits(&mut whole.model).1.is_empty());
    for stop_after in [1, 3, 6] {
        let folder = tempfile::tempdir().unwrap();
        assert!(!run(folder.path(), Some(stop_after)).outcome.unwrap().finished);
        let mut resumed = run(folder.path(), None);
        assert_eq!(resumed.outcome.unwrap(), outcome, "after {stop_after}");
        assert!(bits(&mut resumed.model) == bits(&mut whole.model), "after {stop_after}");
    }
}

/// The last checkpoint was being written when the process died. Deaths themselves are in `command`.
#[test]
fn a_half_written_checkpoint_is_none() {
    let (whole, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut uninterrupted = train(whole.path(), settings(), None, |_| {});
    train(folder.path(), settings(), None, |_| {}).outcome.unwrap();
    let last = folder.path().join("step-000008");
    std::fs::rename(&last, last.with_extension("partial")).unwrap();
    std::fs::remove_file(last.with_extension("partial").join("state.json")).unwrap();
    let mut resumed = train(folder.path(), settings(), None, |_| {});
    assert!(matches!(resumed.events[0], Event::Resumed { step } if step < 8), "{:?}", resumed.events[0]);
    assert_eq!(resumed.outcome.unwrap(), uninterrupted.outcome.unwrap());
    assert!(weights(&mut resumed.model) == weights(&mut uninterrupted.model));
}

/// Files of a checkpoint that are cut off, or are not what they should be, are named.
#[test]
fn a_damaged_checkpoint_is_told() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), settings(), Some(2), |_| {}).outcome.unwrap();
    let of = |name: &str| folder.path().join("step-000002").join(name);
    for name in ["weights.safetensors", "moments.safetensors", "state.json"] {
        let bytes = std::fs::read(of(name)).unwrap();
        std::fs::write(of(name), &bytes[..bytes.len() - 9]).unwrap();
        let error = train(folder.path(), settings(), None, |_| {}).outcome.unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        std::fs::write(of(name), bytes).unwrap();
    }
    std::fs::copy(of("weights.safetensors"), of("moments.safetensors")).unwrap();
    let error = train(folder.path(), settings(), None, |_| {}).outcome.unwrap_err().to_string();
    assert!(error.contains("exp_avg"), "{error}");
}

/// Stopped while the dev set is read, after the last update too: what was not evaluated is evaluated then.
#[test]
fn a_stopped_evaluation_is_made_again() {
    let evaluated = |events: &[Event]| {
        let step = |event: &Event| match event {
            Event::Evaluated { step, evaluation, .. } => Some((*step, evaluation.loss.to_bits())),
            _ => None,
        };
        events.iter().filter_map(step).collect::<Vec<_>>()
    };
    let whole = tempfile::tempdir().unwrap();
    let mut uninterrupted = train(whole.path(), settings(), None, |_| {});
    let outcome = uninterrupted.outcome.unwrap();
    for step in [3, 8] {
        let folder = tempfile::tempdir().unwrap();
        // The stop comes with the step's event, and the evaluation after it is the first to see it.
        let stopped = train(folder.path(), settings(), Some(step), |_| {});
        assert!(!stopped.outcome.unwrap().finished, "after {step}");
        let mut resumed = train(folder.path(), settings(), None, |_| {});
        assert_eq!(resumed.outcome.unwrap(), outcome, "after {step}");
        assert!(weights(&mut resumed.model) == weights(&mut uninterrupted.model), "after {step}");
        let all = [evaluated(&stopped.events), evaluated(&resumed.events)].concat();
        assert_eq!(all, evaluated(&uninterrupted.events), "after {step}");
    }
}

#[test]
fn the_loss_falls_and_the_best_step_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let long = TrainerSettings { length: Length::Steps(30), ..settings() };
    let training = train(folder.path(), long, None, |_| {});
    let evaluations: Vec<_> = training
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Evaluated { step, evaluation, .. } => Some((*step, evaluation.clone())),
            _ => None,
        })
        .collect();
    let (first, last) = (&evaluations[0], evaluations.last().unwrap());
    assert_eq!((first.0, last.0), (0, 30));
    assert!(last.1.loss < 0.5 * first.1.loss, "{} to {}", first.1.loss, last.1.loss);
    assert!((last.1.perplexity - last.1.loss.exp()).abs() < 1e-12);
    assert_eq!(last.1.by_tag.keys().collect::<Vec<_>>(), ["en", "sw"]);
    let best = training.outcome.unwrap().best.unwrap();
    assert!(evaluations.iter().all(|(_, evaluation)| evaluation.loss >= best.loss));
    let mut kept: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    assert!(kept.len() <= 3 && kept.contains(&format!("step-{:06}", best.step)), "{kept:?} {best:?}");
}

/// Room is needed for the checkpoints that there will be, not for all that would be kept.
#[test]
fn every_checkpoint_can_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = train(folder.path(), settings(), None, |run| run.save_total = usize::MAX).outcome.unwrap();
    assert!(outcome.finished && outcome.steps == 8);
    for step in [2, 4, 6, 8] {
        assert!(folder.path().join(format!("step-{step:06}")).is_dir(), "{step}");
    }
}

#[test]
fn another_trainings_checkpoint_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), settings(), Some(2), |_| {});
    let other = TrainerSettings { learning_rate: 1e-3, ..settings() };
    let error = train(folder.path(), other, None, |_| {}).outcome.unwrap_err().to_string();
    assert!(error.contains("`settings.learning_rate` is 0.005, and is 0.001 now"), "{error}");
}

#[test]
fn a_loss_that_explodes_stops_the_training_and_names_the_batch() {
    let folder = tempfile::tempdir().unwrap();
    let wild = TrainerSettings { learning_rate: 1e30, length: Length::Steps(30), ..settings() };
    let training = train(folder.path(), wild, None, |_| {});
    let error = training.outcome.unwrap_err().to_string();
    assert!(error.contains("step ") && error.contains("examples "), "{error}");
    let jump = train(
        tempfile::tempdir().unwrap().path(),
        TrainerSettings { length: Length::Steps(30), ..settings() },
        None,
        |run| {
            run.loss_jump_max = 0.5;
        },
    );
    let error = jump.outcome.unwrap_err().to_string();
    assert!(error.contains(": the loss is") && error.contains("epoch 2, examples"), "{error}");
}

#[test]
fn options_out_of_range_are_named() {
    let check = |change: &dyn Fn(&mut TrainerSettings), part: &str| {
        let mut settings = settings();
        change(&mut settings);
        let error = train(tempfile::tempdir().unwrap().path(), settings, None, |_| {})
            .outcome
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
    };
    check(&|settings| settings.learning_rate = f64::NAN, "`learning_rate`");
    check(&|settings| settings.length = Length::Steps(0), "`max_steps`");
    check(&|settings| settings.optimizer.weight_decay = -0.1, "`weight_decay`");
    check(&|settings| settings.accumulation = 0, "`gradient_accumulation_steps`");
    check(&|settings| settings.length = Length::Epochs(0.0), "`n_epochs`");
    check(&|settings| settings.warmup = Warmup::Ratio(1.5), "`warmup_ratio`");
    check(&|settings| settings.optimizer.beta2 = 1.0, "`adam_beta1`");
    check(&|settings| settings.optimizer.max_grad_norm = Some(0.0), "`max_grad_norm`");
}
