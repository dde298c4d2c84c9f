//! Twenty steps of LoRA, from an adapter that PEFT wrote.

use std::sync::Arc;

use xenoglot::model::ComputeDtype;
use xenoglot::model::{Adapter, AdapterOptions};
use xenoglot::ops::Workers;
use xenoglot::train::{LoraDecoder, MicroBatch, Objective, Passes, Recompute};

use super::recorded::{check_final, decoder, fixtures, micro_batches, read, train};

fn model(name: &str, recompute: Recompute, dtype: ComputeDtype, threads: usize) -> LoraDecoder {
    let workers = Workers::new(threads);
    let decoder = decoder("models/llama", dtype, &workers);
    let folder = fixtures().join("lora").join(name);
    let options = AdapterOptions { workers: Arc::clone(&workers), rank_max: 64, bytes_max: 1 << 30 };
    let adapter = Adapter::open(&folder, decoder.config(), &options).unwrap();
    LoraDecoder::new(Arc::new(decoder), adapter, Passes::new(recompute, &workers)).unwrap()
}

#[test]
fn twenty_steps_are_pefts() {
    let run = read("lora/lora.json");
    for name in ["plain", "rslora"] {
        let record = &run[name]["f64"];
        let mut model = model(name, Recompute::Off, ComputeDtype::F32, 2);
        let steps = train(&run, 1.0, &mut model, None, &Workers::new(2));
        steps.check(name, &record["loss"], &record["grad_norm"]);
        check_final(name, &mut model, &record["final"]);
    }
}

#[test]
fn every_factor_has_pefts_gradient() {
    let run = read("lora/lora.json");
    let mut model = model("plain", Recompute::Segments { layers: 1 }, ComputeDtype::F32, 2);
    for micro in micro_batches(&run, 0) {
        model.accumulate(&micro).unwrap();
    }
    let path = fixtures().join("lora/plain/gradients.safetensors");
    let mut expected = candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap();
    for tensor in model.trained().unwrap() {
        let expected =
            expected.remove(&tensor.name).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let largest = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        for (found, expected) in tensor.order.to_rows(tensor.gradient).iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-5 * largest, "{}: {found} {expected}", tensor.name);
        }
    }
    assert!(expected.is_empty(), "{:?} have no gradient", expected.keys());
}

/// Neither threads nor segments change a bit, with dropout too, whose mask is of the micro-batch's key.
#[test]
fn threads_and_segments_change_no_bit() {
    let run = read("lora/lora.json");
    let learned = |recompute, threads, key: u64| {
        let mut model = model("plain", recompute, ComputeDtype::F32, threads).with_dropout(0.3);
        for (at, micro) in (0..).zip(micro_batches(&run, 0)) {
            model.accumulate(&MicroBatch { key: key + at, ..micro }).unwrap();
        }
        let bits = |values: &mut [f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        model.trained().unwrap().into_iter().map(|tensor| bits(tensor.gradient)).collect::<Vec<_>>()
    };
    let one = learned(Recompute::Off, 1, 7);
    assert_eq!(one, learned(Recompute::Segments { layers: 1 }, 3, 7));
    assert_ne!(one, learned(Recompute::Off, 1, 8));
}

/// Adapters learn on frozen bf16 and int8 weights.
#[test]
fn quantised_bases_are_learned_on() {
    let run = read("lora/lora.json");
    let int8 = ComputeDtype::Int8(xenoglot::ops::Int8Scales::PerChannel);
    for dtype in [ComputeDtype::Bf16, int8] {
        let mut model = model("plain", Recompute::Off, dtype, 2);
        let steps = train(&run, 1.0, &mut model, None, &Workers::new(2));
        let expected = super::recorded::floats(&run["plain"]["f64"]["loss"]);
        for (found, expected) in steps.losses.iter().zip(expected) {
            assert!((found - expected).abs() < 0.05 * expected, "{dtype:?}: {found} {expected}");
        }
    }
}
