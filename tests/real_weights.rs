//! SmolLM2-135M-Instruct against transformers. Needs the real models: `scripts/fetch-models` puts them into
//! `models/`, or `XENOGLOT_MODELS` names another folder. Run alone: `cargo test --test main real_weights`.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};
use serde_json::Value;
use xenoglot::model::{ComputeDtype, Decoder};
use xenoglot::ops::{Isa, Workers};

use crate::model::attention::PagedSequences;
use crate::model::logits::{largest_difference, load, load_on};

const CONVERTED: &str = "SmolLM2-135M-Instruct";
const GGUF: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

pub fn real_model(name: &str) -> PathBuf {
    let folder = std::env::var_os("XENOGLOT_MODELS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("models"), PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not there: run scripts/fetch-models, or set XENOGLOT_MODELS",
        path.display()
    );
    path
}

fn recorded() -> Vec<(String, Vec<u32>, Vec<u32>)> {
    let fixture: Value = serde_json::from_str(include_str!("fixtures/smollm2_greedy.json")).unwrap();
    let ids =
        |value: &Value| value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let prompts = fixture["prompts"].as_array().unwrap().iter();
    prompts.map(|p| (p["text"].to_string(), ids(&p["prompt"]), ids(&p["continuation"]))).collect()
}

fn argmax(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32
}

/// The greedy continuations of all prompts, decoded together in one batch.
fn greedy(decoder: &Decoder, prompts: &[&[u32]], steps: usize) -> Vec<Vec<u32>> {
    let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap() + steps;
    let mut sequences = PagedSequences::new(decoder, prompts.len(), longest);
    let mut continuations: Vec<Vec<u32>> = vec![Vec::new(); prompts.len()];
    let mut parts: Vec<Vec<u32>> = prompts.iter().map(|prompt| prompt.to_vec()).collect();
    for _ in 0..steps {
        let batch: Vec<(usize, &[u32])> = parts.iter().map(Vec::as_slice).enumerate().collect();
        let ends = batch.iter().scan(0, |end, (_, ids)| {
            *end += ids.len() as u32;
            Some(*end - 1)
        });
        let logits = sequences.step_with_logits(&batch, ends.collect());
        parts = logits.iter().map(|logits| vec![argmax(logits)]).collect();
        for (continuation, next) in continuations.iter_mut().zip(&parts) {
            continuation.extend(next);
        }
    }
    continuations
}

/// The two best logits differ by more than 0.01 at every step, so f32 rounding cannot flip a token.
#[test]
fn greedy_continuations_equal_transformers() {
    let recorded = recorded();
    let prompts: Vec<&[u32]> = recorded.iter().map(|(_, prompt, _)| prompt.as_slice()).collect();
    let decoder = load(&real_model(CONVERTED), ComputeDtype::F32);
    let together = greedy(&decoder, &prompts, 64);
    for ((text, _, expected), found) in recorded.iter().zip(&together) {
        assert_eq!(found, expected, "{text}");
    }
    let alone = greedy(&decoder, &prompts[..1], 64);
    assert_eq!(alone[0], together[0], "alone and among five");
}

/// A second, independent reference on the real weights: candle-transformers' Llama, which shares no kernel with ours.
/// Both sum in f32, in different orders, through thirty layers; logits reach about 30, so 1e-3 is 3e-5 of their size.
#[test]
fn logits_agree_with_candle_transformers() {
    let device = Device::Cpu;
    let folder = real_model(CONVERTED);
    let config: LlamaConfig =
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let config = config.into_config(false);
    // SAFETY: the file is fetched once and not written while the test runs.
    let weights = unsafe {
        VarBuilder::from_mmaped_safetensors(&[folder.join("model.safetensors")], DType::F32, &device).unwrap()
    };
    let reference = Llama::load(weights, &config).unwrap();
    let decoder = load(&folder, ComputeDtype::F32);
    for (text, prompt, _) in recorded() {
        let mut cache = Cache::new(false, DType::F32, &config, &device).unwrap();
        let ids = Tensor::new(prompt.as_slice(), &device).unwrap().unsqueeze(0).unwrap();
        let expected =
            reference.forward(&ids, 0, &mut cache).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let mut sequences = PagedSequences::new(&decoder, 1, prompt.len());
        let found = sequences.step_with_logits(&[(0, &prompt)], vec![prompt.len() as u32 - 1]);
        let difference = largest_difference(&found[0], &expected);
        assert!(difference < 1e-3, "{text}: logits differ by {difference}");
    }
}

/// Logits of a file of blocks, computed in a type on an instruction set.
fn logits_of_blocks(dtype: ComputeDtype, isa: Isa) -> Vec<Vec<f32>> {
    let (_, prompt, _) = &recorded()[0];
    let decoder = load_on(&real_model(GGUF), dtype, |_| (), &Workers::with_isa(2, isa));
    PagedSequences::new(&decoder, 1, prompt.len()).step(&[(0, prompt)])
}

/// Blocks dequantised inside the kernel, as the portable set does it, are the values that f32 weights are packed from.
#[test]
fn widened_gguf_blocks_compute_what_their_f32_values_do() {
    let isa = Isa::available()[0];
    let (blocks, wide) =
        (logits_of_blocks(ComputeDtype::Gguf, isa), logits_of_blocks(ComputeDtype::F32, isa));
    assert!(blocks == wide, "logits of blocks and of f32 differ");
}

/// Where blocks are multiplied in integers, x is rounded to a byte a group of 32 before every linear. What that costs
/// is the mean over positions of the divergence from the distribution of f32: 0 where they are widened.
#[test]
fn gguf_blocks_in_integers_stay_near_their_f32_values() {
    let isa = Isa::detect();
    let (blocks, wide) =
        (logits_of_blocks(ComputeDtype::Gguf, isa), logits_of_blocks(ComputeDtype::F32, isa));
    let divergences: Vec<f64> =
        wide.iter().zip(&blocks).map(|(wide, blocks)| divergence(wide, blocks)).collect();
    let mean = divergences.iter().sum::<f64>() / divergences.len() as f64;
    println!("divergences {divergences:?}, mean {mean}");
    assert!(mean < 0.01, "{divergences:?}");
}

/// Kullback-Leibler, in nats, of the softmax of logits from that of the reference.
fn divergence(reference: &[f32], found: &[f32]) -> f64 {
    let logprobs = |logits: &[f32]| {
        let total = logits.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        logits.iter().map(move |&x| f64::from(x) - total).collect::<Vec<_>>()
    };
    logprobs(reference).iter().zip(logprobs(found)).map(|(p, q)| p.exp() * (p - q)).sum()
}
