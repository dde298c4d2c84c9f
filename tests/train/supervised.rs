//! Twenty steps of supervised fine-tuning of all weights.

use xenoglot::model::ComputeDtype;
use xenoglot::ops::Workers;
use xenoglot::train::{FullDecoder, Objective, Passes, Recompute};

use super::recorded::{check_final, decoder, fixtures, micro_batches, read, train};

fn full(model: &str, recompute: Recompute, threads: usize) -> FullDecoder {
    let workers = Workers::new(threads);
    FullDecoder::new(decoder(model, ComputeDtype::F32, &workers), None, Passes::new(recompute, &workers))
        .unwrap()
}

#[test]
fn twenty_steps_are_pytorchs() {
    for name in ["llama", "qwen2", "qwen3"] {
        let run = read(&format!("sft/{name}/sft.json"));
        let mut model = full(&format!("models/{name}"), Recompute::Off, 2);
        let steps = train(&run, 1.0, &mut model, None, &Workers::new(2));
        steps.check(name, &run["f64"]["loss"], &run["f64"]["grad_norm"]);
        check_final(name, &mut model, &run["f64"]["final"]);
    }
}

/// Every tensor of every model has PyTorch's gradient: 1e-5 of the largest of the tensor.
#[test]
fn every_trainable_tensor_has_its_gradient() {
    for name in ["llama", "qwen2", "qwen3"] {
        let run = read(&format!("sft/{name}/sft.json"));
        let mut model = full(&format!("models/{name}"), Recompute::Off, 2);
        for micro in micro_batches(&run, 0) {
            model.accumulate(&micro).unwrap();
        }
        let path = fixtures().join(format!("sft/{name}/gradients.safetensors"));
        let mut expected = candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap();
        for tensor in model.trained().unwrap() {
            let expected =
                expected.remove(&tensor.name).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let found = tensor.order.to_rows(tensor.gradient);
            let largest = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            assert!(largest > 0.0, "{name} {}", tensor.name);
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (found - expected).abs() <= 1e-5 * largest,
                    "{name} {}: {found} {expected}",
                    tensor.name
                );
            }
        }
        assert!(expected.is_empty(), "{name}: {:?} have no gradient", expected.keys());
    }
}

/// Neither threads nor segments change a bit of what is learned.
#[test]
fn threads_and_segments_change_no_bit() {
    let run = read("sft/llama/sft.json");
    let learned = |recompute, threads| {
        let mut model = full("models/llama", recompute, threads);
        train(&run, 1.0, &mut model, None, &Workers::new(threads));
        let bits = |values: &mut [f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        model.trained().unwrap().into_iter().map(|tensor| bits(tensor.values)).collect::<Vec<_>>()
    };
    assert_eq!(learned(Recompute::Off, 1), learned(Recompute::Segments { layers: 1 }, 3));
}

/// Weights without masters learn as those that have them, within what rounding costs them; and threads change no bit.
#[test]
fn bf16_weights_follow_without_masters() {
    let run = read("sft/llama/sft.json");
    let learned = |has_masters: bool, threads: usize| {
        let workers = Workers::new(threads);
        let passes = Passes::new(Recompute::Off, &workers);
        let decoder = decoder("models/llama", ComputeDtype::Bf16, &workers);
        let model = if has_masters {
            FullDecoder::new(decoder, None, passes)
        } else {
            FullDecoder::without_masters(decoder, passes)
        };
        let mut model = model.unwrap();
        let steps = train(&run, 1.0, &mut model, None, &workers);
        let parameters = model.parameters().unwrap();
        let bits: Vec<Vec<u16>> = parameters.bf16.iter().map(|tensor| tensor.values.to_vec()).collect();
        (steps.losses, bits)
    };
    let (expected, masters) = learned(true, 2);
    let (found, bits) = learned(false, 2);
    assert!(masters.is_empty() && !bits.is_empty());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 0.1 * expected, "{found} {expected}");
    }
    assert!(found.last() < found.first(), "{found:?}");
    assert!(learned(false, 3).1 == bits);
}

/// bf16 weights learn through their masters: the loss follows that of f32 within what rounding costs.
#[test]
fn bf16_weights_follow() {
    let run = read("sft/llama/sft.json");
    let workers = Workers::new(2);
    let passes = Passes::new(Recompute::Off, &workers);
    let mut model =
        FullDecoder::new(decoder("models/llama", ComputeDtype::Bf16, &workers), None, passes).unwrap();
    let steps = train(&run, 1.0, &mut model, None, &workers);
    let expected = super::recorded::floats(&run["f64"]["loss"]);
    for (found, expected) in steps.losses.iter().zip(expected) {
        assert!((found - expected).abs() < 0.02 * expected, "{found} {expected}");
    }
}
