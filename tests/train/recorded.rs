//! Recorded runs: their model, batches and numbers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use xenoglot::model::{Batch, ComputeDtype, Decoder, LoadOptions, families};
use xenoglot::ops::{Targets, Workers};
use xenoglot::train::{AdamWSettings, Decline, Masks, MicroBatch, Objective, Optimizer, Schedule};
use xenoglot::weights::open_weights;

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/train/fixtures")
}

pub fn read(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join(name)).unwrap()).unwrap()
}

pub fn decoder(name: &str, dtype: ComputeDtype, workers: &Arc<Workers>) -> Decoder {
    let (config, tensors) = open_weights(&fixtures().join(name)).unwrap();
    let config = families::translate(&config).unwrap();
    Decoder::load(config, tensors.as_ref(), &LoadOptions::new(dtype, workers)).unwrap()
}

pub fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn integers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32).collect()
}

/// The micro-batches of a step, each target of which counts 1.
pub fn unweighted(run: &Value, step: usize) -> Vec<MicroBatch> {
    let micros = run["batches"][step].as_array().unwrap().iter();
    micros.map(|rows| micro_batch(run, &integers(rows))).collect()
}

/// The micro-batches of a step, all targets of which count alike and 1 together.
pub fn micro_batches(run: &Value, step: usize) -> Vec<MicroBatch> {
    let micros = unweighted(run, step);
    let targets: usize = micros.iter().map(MicroBatch::targets).sum();
    micros.into_iter().map(|micro| micro.weighted(1.0 / targets as f32)).collect()
}

fn micro_batch(run: &Value, rows: &[u32]) -> MicroBatch {
    let (mut batch, mut positions, mut cu_seqlens) = (Batch::default(), Vec::new(), vec![0]);
    let mut targets = Targets { ids: Vec::new(), weights: Vec::new() };
    for &row in rows {
        let sequence = &run["sequences"][row as usize];
        let ids = integers(&sequence["ids"]);
        let counted = match &sequence["targets"] {
            Value::Null => std::iter::once(0).chain(std::iter::repeat_n(1, ids.len() - 1)).collect(),
            targets => integers(targets),
        };
        targets.ids.extend(ids.iter().skip(1).chain([&0]));
        targets.weights.extend(counted.iter().skip(1).chain([&0]).map(|&x| x as f32));
        positions.extend(0..ids.len() as u32);
        batch.ids.extend(ids);
        cu_seqlens.push(batch.ids.len() as u32);
    }
    (batch.positions, batch.cu_seqlens) = (Arc::new(positions), Arc::new(cu_seqlens));
    MicroBatch { batch, targets, key: 0, prefixes: None }
}

/// The loss and the gradient's norm of every step.
pub struct Steps {
    pub losses: Vec<f64>,
    pub grad_norms: Vec<f64>,
}

pub fn settings(run: &Value, max_grad_norm: f64) -> AdamWSettings {
    let of = |key: &str| run["optimizer"][key].as_f64().unwrap();
    let betas = floats(&run["optimizer"]["betas"]);
    AdamWSettings {
        beta1: betas[0],
        beta2: betas[1],
        eps: of("eps"),
        weight_decay: of("weight_decay"),
        max_grad_norm: Some(max_grad_norm).filter(|&max| max > 0.0),
    }
}

pub fn schedule(run: &Value) -> Schedule {
    Schedule {
        peak: run["optimizer"]["learning_rate"].as_f64().unwrap(),
        warmup_steps: run["schedule"]["warmup_steps"].as_u64().unwrap(),
        steps: run["schedule"]["steps"].as_u64().unwrap(),
        decline: Decline::Linear,
    }
}

/// Trains as the run was recorded.
pub fn train(
    run: &Value,
    max_grad_norm: f64,
    objective: &mut dyn Objective,
    masks: Option<&Masks>,
    workers: &Workers,
) -> Steps {
    let mut optimizer = Optimizer::new(settings(run, max_grad_norm));
    let schedule = schedule(run);
    let steps = schedule.steps;
    let mut found = Steps { losses: Vec::new(), grad_norms: Vec::new() };
    for step in 0..steps {
        let micros = micro_batches(run, step as usize);
        found.losses.push(micros.iter().map(|micro| objective.accumulate(micro).unwrap()).sum());
        let mut parameters = objective.parameters().unwrap();
        let update = optimizer.step(&mut parameters, schedule.rate(step), masks, workers).unwrap();
        drop(parameters);
        objective.refresh().unwrap();
        found.grad_norms.push(update.grad_norm);
    }
    found
}

impl Steps {
    /// 1e-6 at the first step, 1e-4 of its value at every other; the norm of the gradient, which no goal is set for, likewise.
    pub fn check(&self, name: &str, losses: &Value, grad_norms: &Value) {
        let (losses, grad_norms) = (floats(losses), floats(grad_norms));
        assert_eq!(losses.len(), self.losses.len());
        for (step, (&found, &expected)) in self.losses.iter().zip(&losses).enumerate() {
            let tolerance = if step == 0 { 1e-6 } else { 1e-4 * expected };
            assert!((found - expected).abs() <= tolerance, "{name}: loss of step {step}: {found} {expected}");
        }
        for (step, (&found, &expected)) in self.grad_norms.iter().zip(&grad_norms).enumerate() {
            assert!(
                (found - expected).abs() <= 1e-3 * expected,
                "{name}: gradient of step {step}: {found} {expected}"
            );
        }
    }
}

/// The sums over each tensor after the last step: of its elements, and of their squares.
pub fn check_final(name: &str, objective: &mut dyn Objective, expected: &Value) {
    let mut checked = 0;
    for tensor in objective.trained().unwrap() {
        let values = tensor.order.to_rows(tensor.values);
        let squares: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
        let expected = floats(&expected[&tensor.name])[1];
        assert!(
            (squares - expected).abs() <= 1e-3 * expected,
            "{name} {}: {squares} {expected}",
            tensor.name
        );
        checked += 1;
    }
    assert!(checked > 0);
}
