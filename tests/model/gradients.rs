//! The loss of a tiny model and its gradient, from the head back to the embeddings, against PyTorch's
//! (`tests/train/fixtures`).

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use serde_json::Value;
use xenoglot::model::{Batch, ComputeDtype, Decoder, DenseAttention, LoadOptions, families};
use xenoglot::ops::{Targets, Workers, cross_entropy};
use xenoglot::train::{FullDecoder, MicroBatch, Objective, Passes, Recompute};
use xenoglot::weights::open_weights;

use super::logits;

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/train/fixtures")
}

struct Recorded {
    decoder: Decoder,
    workers: Arc<Workers>,
    run: Value,
}

impl Recorded {
    fn new(name: &str, threads: usize) -> Self {
        let workers = Workers::new(threads);
        let directory = fixtures().join("models").join(name);
        let (config, tensors) = open_weights(&directory).unwrap();
        let config = families::translate(&config).unwrap();
        let options = LoadOptions::new(ComputeDtype::F32, &workers);
        let decoder = Decoder::load(config, tensors.as_ref(), &options).unwrap();
        let text = std::fs::read_to_string(fixtures().join("sft").join(name).join("sft.json")).unwrap();
        Self { decoder, workers, run: serde_json::from_str(&text).unwrap() }
    }

    fn batch(&self) -> (Batch, Targets) {
        first_batch(&self.run)
    }

    /// The loss, and its gradient with respect to the embeddings that go in. The layers go in segments: each is run again
    /// with its operations tracked once the gradient of its result is known.
    fn run(&self, segments: &[Range<usize>]) -> (f32, Tensor) {
        let (batch, targets) = self.batch();
        let mut attention = DenseAttention::new(&self.decoder, &self.workers);
        let mut states = vec![self.decoder.embed(&batch.ids).unwrap()];
        for segment in segments {
            let state = states.last().unwrap();
            states.push(self.decoder.layers(state, segment.clone(), &batch, &mut attention).unwrap());
        }
        let last = Var::from_tensor(&states.pop().unwrap()).unwrap();
        let normed = self.decoder.normed(last.as_tensor()).unwrap();
        let loss = cross_entropy(&normed, self.decoder.lm_head(), &targets).unwrap();
        let mut gradient = loss.backward().unwrap().remove(last.as_tensor()).unwrap();
        for (segment, state) in segments.iter().zip(states).rev() {
            let state = Var::from_tensor(&state).unwrap();
            let out =
                self.decoder.layers(state.as_tensor(), segment.clone(), &batch, &mut attention).unwrap();
            let product = (out * gradient).unwrap().sum_all().unwrap();
            gradient = product.backward().unwrap().remove(state.as_tensor()).unwrap();
        }
        (loss.to_scalar().unwrap(), gradient)
    }
}

/// All sequences of a recorded run's first step in one ragged batch, and what their rows are to predict.
pub fn first_batch(run: &Value) -> (Batch, Targets) {
    let numbers = |value: &Value| -> Vec<u32> {
        value.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32).collect()
    };
    let (mut batch, mut positions, mut cu_seqlens) = (Batch::default(), Vec::new(), vec![0]);
    let mut targets = Targets { ids: Vec::new(), weights: Vec::new() };
    for row in run["batches"][0].as_array().unwrap().iter().flat_map(numbers) {
        let sequence = &run["sequences"][row as usize];
        let (ids, counted) = (numbers(&sequence["ids"]), numbers(&sequence["targets"]));
        targets.ids.extend(ids.iter().skip(1).chain([&0]));
        targets.weights.extend(counted.iter().skip(1).chain([&0]).map(|&x| x as f32));
        positions.extend(0..ids.len() as u32);
        batch.ids.extend(ids);
        cu_seqlens.push(batch.ids.len() as u32);
    }
    let counted: f32 = targets.weights.iter().sum();
    targets.weights.iter_mut().for_each(|weight| *weight /= counted);
    (batch.positions, batch.cu_seqlens) = (Arc::new(positions), Arc::new(cu_seqlens));
    (batch, targets)
}

fn bits(x: &Tensor) -> Vec<u32> {
    x.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|x| x.to_bits()).collect()
}

/// PyTorch's f32 is within 3e-7 of its f64.
#[test]
fn losses_are_pytorchs() {
    for name in ["llama", "qwen2", "qwen3"] {
        let recorded = Recorded::new(name, 2);
        let layers = recorded.decoder.config().layers;
        let (loss, _) = recorded.run(std::slice::from_ref(&(0..layers)));
        let expected = recorded.run["f64"]["loss"][0].as_f64().unwrap();
        assert!((f64::from(loss) - expected).abs() <= 1e-6, "{name}: {loss} {expected}");
    }
}

/// Where the embeddings are not the head too, their gradient is the sum over the tokens that took a row.
#[test]
fn gradients_reach_the_embeddings() {
    let mut checked = 0;
    for name in ["llama", "qwen2", "qwen3"] {
        let recorded = Recorded::new(name, 2);
        let config = recorded.decoder.config();
        if config.tie_word_embeddings {
            continue;
        }
        let path = fixtures().join("sft").join(name).join("gradients.safetensors");
        let gradients: HashMap<String, Tensor> = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let expected = gradients["model.embed_tokens.weight"].to_vec2::<f32>().unwrap();
        let mut sums = vec![vec![0.0f64; expected[0].len()]; expected.len()];
        let (_, gradient) = recorded.run(std::slice::from_ref(&(0..config.layers)));
        for (&id, row) in recorded.batch().0.ids.iter().zip(gradient.to_vec2::<f32>().unwrap()) {
            sums[id as usize].iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(x));
        }
        let largest = expected.iter().flatten().fold(0.0f32, |largest, x| largest.max(x.abs()));
        for (expected, found) in expected.iter().flatten().zip(sums.iter().flatten()) {
            let distance = (f64::from(*expected) - found).abs();
            assert!(distance <= 1e-5 * f64::from(largest), "{name}: {found} {expected}");
        }
        checked += 1;
    }
    assert!(checked > 0);
}

/// Computing segments again changes no bit, nor does the number of threads.
#[test]
fn segments_and_threads_change_no_bit() {
    let (loss, gradient) = Recorded::new("llama", 1).run(std::slice::from_ref(&(0..2)));
    let (again, by_segments) = Recorded::new("llama", 3).run(&[0..1, 1..2]);
    assert_eq!((loss.to_bits(), bits(&gradient)), (again.to_bits(), bits(&by_segments)));
}

/// Of a fixture: the loss and the gradient of every tensor, by the sum of its squares and the product with cosines. PyTorch's
/// are f32 too, in another order.
#[test]
fn gradients_of_all_weights_are_pytorchs() {
    for name in ["phi3", "phi3_longrope", "gemma3"] {
        let text = std::fs::read_to_string(logits::fixture(name).join("gradients.json")).unwrap();
        let expected: HashMap<String, Value> = serde_json::from_str(&text).unwrap();
        let ids = logits::expected(name).ids;
        let targets = Targets {
            ids: ids.iter().skip(1).chain([&0]).copied().collect(),
            weights: (1..=ids.len())
                .map(|at| if at < ids.len() { 1.0 / (ids.len() - 1) as f32 } else { 0.0 })
                .collect(),
        };
        let batch = logits::prefill(&ids);
        let micro = MicroBatch { batch, targets, key: 0, prefixes: None };
        let workers = Workers::new(2);
        let decoder = logits::load(&logits::fixture(name), ComputeDtype::F32);
        let passes = Passes::new(Recompute::Segments { layers: 1 }, &workers);
        let mut model = FullDecoder::new(decoder, None, passes).unwrap();
        let loss = model.accumulate(&micro).unwrap();
        assert!((loss - expected["loss"].as_f64().unwrap()).abs() <= 1e-5, "{name}: {loss}");
        let trained = model.trained().unwrap();
        assert_eq!(trained.len(), expected.len() - 1, "{name}");
        for tensor in trained {
            let gradient = tensor.order.to_rows(tensor.gradient);
            let squares: f64 = gradient.iter().map(|&x| f64::from(x).powi(2)).sum();
            let wave: f64 =
                gradient.iter().enumerate().map(|(at, &x)| f64::from(x) * (at as f64).cos()).sum();
            let [of_squares, of_wave] = [0, 1].map(|at| expected[&tensor.name][at].as_f64().unwrap());
            let name = format!("{name} {}", tensor.name);
            assert!((squares - of_squares).abs() <= 1e-3 * of_squares, "{name}: {squares} {of_squares}");
            assert!((wave - of_wave).abs() <= 1e-3 * of_squares.sqrt(), "{name}: {wave} {of_wave}");
        }
    }
}

#[test]
fn what_has_no_gradient_is_refused_by_its_key() {
    for (name, key) in [
        ("gemma2", "`attn_logit_softcapping` = 5.0"),
        ("mixtral", "`num_local_experts` = 4"),
        ("qwen2_moe", "`num_experts` = 6"),
    ] {
        let decoder = logits::load(&logits::fixture(name), ComputeDtype::F32);
        let passes = Passes::new(Recompute::Off, &Workers::new(1));
        let error = FullDecoder::new(decoder, None, passes).err().unwrap().to_string();
        assert!(error.contains(key) && error.contains("not trained"), "{error}");
    }
}
