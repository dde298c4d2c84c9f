//! The recorded runs in f64: what f32 hides in its rounding would show here.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use xenoglot::model::{Adapter, AdapterOptions, ComputeDtype};
use xenoglot::ops::Workers;
use xenoglot::train::{
    FullDecoder, LoraDecoder, Masks, MicroBatch, Objective, Optimizer, Passes, Recompute, TrainError, Trained,
};
use xenoglot::weights::NeuronMask;

use super::recorded::{decoder, fixtures, floats, read, schedule, settings, unweighted};

/// What is trained in f64.
trait Wide: Objective {
    fn trained_f64(&mut self) -> Result<Vec<Trained<'_, f64>>, TrainError>;
}

impl Wide for FullDecoder {
    fn trained_f64(&mut self) -> Result<Vec<Trained<'_, f64>>, TrainError> {
        self.trained_f64()
    }
}

impl Wide for LoraDecoder {
    fn trained_f64(&mut self) -> Result<Vec<Trained<'_, f64>>, TrainError> {
        self.trained_f64()
    }
}

/// Every loss of twenty steps within 1e-8 of its value.
fn check(name: &str, run: &Value, clip: f64, model: &mut dyn Wide, masks: Option<&Masks>, expected: &Value) {
    let (workers, schedule) = (Workers::new(2), schedule(run));
    let mut optimizer = Optimizer::<f64>::new(settings(run, clip));
    let expected = floats(&expected["loss"]);
    assert_eq!(expected.len() as u64, schedule.steps);
    for (step, expected) in expected.into_iter().enumerate() {
        // Weights of the targets are f32, which 1 / targets is not.
        let micros = unweighted(run, step);
        let targets = micros.iter().map(MicroBatch::targets).sum::<usize>() as f64;
        let loss = micros.iter().map(|micro| model.accumulate(micro).unwrap()).sum::<f64>() / targets;
        assert!((loss - expected).abs() <= 1e-8 * expected, "{name}: loss of step {step}: {loss} {expected}");
        let mut trained = model.trained_f64().unwrap();
        assert!(!trained.is_empty());
        for tensor in &mut trained {
            tensor.gradient.iter_mut().for_each(|x| *x /= targets);
        }
        optimizer.update(&mut trained, schedule.rate(step as u64), masks, &workers).unwrap();
        drop(trained);
        model.refresh().unwrap();
    }
}

#[test]
fn supervised_steps_are_pytorchs() {
    for name in ["llama", "qwen2", "qwen3"] {
        let (run, workers) = (read(&format!("sft/{name}/sft.json")), Workers::new(2));
        let decoder = decoder(&format!("models/{name}"), ComputeDtype::F64, &workers);
        let passes = Passes::new(Recompute::Segments { layers: 1 }, &workers);
        let mut model = FullDecoder::new(decoder, None, passes).unwrap();
        check(name, &run, 1.0, &mut model, None, &run["f64"]);
    }
}

#[test]
fn adapted_steps_are_pefts() {
    let run = read("lora/lora.json");
    for name in ["plain", "rslora"] {
        let workers = Workers::new(2);
        let decoder = decoder("models/llama", ComputeDtype::F64, &workers);
        let options = AdapterOptions { workers: Arc::clone(&workers), rank_max: 64, bytes_max: 1 << 30 };
        let adapter = Adapter::open(&fixtures().join("lora").join(name), decoder.config(), &options).unwrap();
        let adapter = adapter.to_f64(&workers).unwrap();
        let passes = Passes::new(Recompute::Off, &workers);
        let mut model = LoraDecoder::new(Arc::new(decoder), adapter, passes).unwrap();
        check(name, &run, 1.0, &mut model, None, &run[name]["f64"]);
    }
}

#[test]
fn masked_steps_are_pytorchs() {
    let run = read("cpt/cpt.json");
    for name in ["all", "matrices", "rows"] {
        let (workers, record) = (Workers::new(2), &run[name]);
        let path = fixtures().join(record["masks"].as_str().unwrap());
        let wanted: BTreeSet<String> = NeuronMask::open(&path).unwrap().names().into_iter().collect();
        let decoder = decoder(run["model"].as_str().unwrap(), ComputeDtype::F64, &workers);
        let passes = Passes::new(Recompute::Off, &workers);
        let mut model = FullDecoder::new(decoder, Some(wanted), passes).unwrap();
        let masks = Masks::open(&path, &model.trained_f64().unwrap()).unwrap();
        let clip = record["max_grad_norm"].as_f64().unwrap();
        check(name, &run, clip, &mut model, Some(&masks), &record["f64"]);
    }
}
