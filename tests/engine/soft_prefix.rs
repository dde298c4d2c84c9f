//! Soft prefixes: MindMerger's sequences against the original's (tests/train/fixtures/mindmerger), and the same bits whatever
//! the company, the chunks, the cache and the preemptions.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use safetensors::SafeTensors;
use serde_json::Value;
use xenoglot::engine::{
    EngineConfig, EngineError, EngineHandle, LogprobsMode, Request, SamplingParams, SoftPrefix, StartError,
    start, start_augmented,
};
use xenoglot::model::augmented::{Augmented, Mapping, MappingWeights};
use xenoglot::model::encoders::{self, Texts};
use xenoglot::model::{Batch, ComputeDtype, Decoder, DenseAttention, LoadOptions, RowVectors, families};
use xenoglot::ops::{Int8Scales, KvDtype, Workers};
use xenoglot::weights::open_weights;

use super::{Told, prompt, read, request};
use crate::model::logits::largest_difference;

const STAGES: [&str; 2] = ["mapping", "augmentation"];
/// Sums of some tens of products in another order differ by about 1e-6; logits reach 3.
const TOLERANCE: f32 = 1e-5;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/train/fixtures").join(name)
}

fn recorded() -> Value {
    serde_json::from_slice(&std::fs::read(fixture("mindmerger/mindmerger.json")).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn decoder(dtype: ComputeDtype, workers: &Arc<Workers>) -> Decoder {
    let (config, tensors) = open_weights(&fixture("models/llama")).unwrap();
    let config = families::translate(&config).unwrap();
    Decoder::load(config, tensors.as_ref(), &LoadOptions::new(dtype, workers)).unwrap()
}

fn augmented(dtype: ComputeDtype, workers: &Arc<Workers>) -> Augmented {
    let options = LoadOptions::new(dtype, workers);
    let (config, tensors) = open_weights(&fixture("models/mt5")).unwrap();
    let encoder = encoders::load(&config, tensors.as_ref(), &options).unwrap();
    let weights = MappingWeights::load(&fixture("mindmerger/mapping.bin")).unwrap();
    Augmented::new(encoder, Mapping::pack(&weights, &options).unwrap()).unwrap()
}

fn engine(dtype: ComputeDtype, config: EngineConfig) -> EngineHandle {
    let workers = Workers::new(2);
    let kv_dtype = if dtype == ComputeDtype::F32 { KvDtype::F32 } else { KvDtype::Bf16 };
    let config = EngineConfig { kv_dtype, max_model_len: 128, ..config };
    start_augmented(decoder(dtype, &workers), augmented(dtype, &workers), config, workers).unwrap()
}

fn soft(encoder_ids: Vec<u32>, prompt: &[u32], sampling: SamplingParams) -> Request {
    let prompt = [&[1], prompt].concat();
    Request { soft_prefix: Some(SoftPrefix::Text { encoder_ids }), ..request(prompt, sampling) }
}

fn run(engine: &EngineHandle, requests: Vec<Request>) -> Vec<Told> {
    let streams: Vec<_> =
        requests.into_iter().map(|request| engine.generate(request).expect("accepted")).collect();
    streams.into_iter().map(read).collect()
}

/// The requests of a recorded batch.
fn rows(recorded: &Value, stage: &str, batch: usize, sampling: &SamplingParams) -> Vec<Request> {
    let row = |row: &Value| {
        let prompt = if stage == "mapping" { Vec::new() } else { ids(&row["prompt"]) };
        soft(ids(&row["encoder"]), &prompt, sampling.clone())
    };
    recorded["batches"][batch].as_array().unwrap().iter().map(row).collect()
}

fn check_greedy(name: &str, config: &EngineConfig, n: u32, copies: usize) -> EngineHandle {
    let recorded = recorded();
    let engine = engine(ComputeDtype::F32, config.clone());
    let sampling =
        SamplingParams { n, temperature: 0.0, max_tokens: 12, ignore_eos: true, ..SamplingParams::default() };
    let (mut requests, mut expected) = (Vec::new(), Vec::new());
    for _ in 0..copies {
        for (stage, batch) in STAGES.iter().flat_map(|stage| [(stage, 0), (stage, 1)]) {
            requests.extend(rows(&recorded, stage, batch, &sampling));
            let greedy = &recorded[format!("{stage}.{batch}")]["f32"]["greedy"];
            expected.extend(greedy.as_array().unwrap().iter().map(ids));
        }
    }
    for (told, expected) in run(&engine, requests).iter().zip(&expected) {
        assert_eq!(told.failed, None, "{name}");
        assert_eq!(told.choices.len(), n as usize, "{name}");
        assert!(
            told.choices.iter().all(|choice| choice.tokens == *expected),
            "{name}: {told:?} {expected:?}"
        );
    }
    engine
}

#[test]
fn greedy_tokens_are_the_originals() {
    let config = EngineConfig::default;
    check_greedy("batched", &config(), 1, 1);
    check_greedy("alone", &EngineConfig { max_num_seqs: 1, ..config() }, 1, 1);
    check_greedy("three samples", &config(), 3, 1);
    check_greedy("chunks", &EngineConfig { max_batch_tokens: 5, max_num_seqs: 3, ..config() }, 1, 1);
    check_greedy(
        "plain",
        &EngineConfig { speculation: false, enable_prefix_caching: false, ..config() },
        1,
        1,
    );
    let few = EngineConfig { num_blocks: 4, ..config() };
    assert!(check_greedy("few blocks", &few, 2, 3).stats().preemptions.load(Relaxed) > 0);
}

/// Over whole sequences, labels and all: what predicts the first token of the label, and what follows its last.
#[test]
fn logits_agree_with_pytorch() {
    let (recorded, workers) = (recorded(), Workers::new(2));
    let (decoder, augmented) = (decoder(ComputeDtype::F32, &workers), augmented(ComputeDtype::F32, &workers));
    let bytes = std::fs::read(fixture("mindmerger/expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: &str| -> Vec<f32> {
        expected
            .tensor(name)
            .unwrap()
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect()
    };
    for (stage, at) in STAGES.iter().flat_map(|stage| [(stage, 0), (stage, 1)]) {
        let (mut prefill, mut last) = (Vec::new(), Vec::new());
        for row in recorded["batches"][at].as_array().unwrap() {
            let encoder = ids(&row["encoder"]);
            let vectors = augmented.prefixes(&Texts::new(&[&encoder])).unwrap().remove(0);
            let prompt = if *stage == "mapping" { Vec::new() } else { ids(&row["prompt"]) };
            let soft_end = 1 + encoder.len() + 1;
            let tokens = [vec![1], vec![0; encoder.len() + 1], prompt.clone(), ids(&row["label"])].concat();
            let (count, before) = (tokens.len() as u32, (soft_end + prompt.len() - 1) as u32);
            let batch = Batch {
                ids: tokens,
                positions: Arc::new((0..count).collect()),
                cu_seqlens: Arc::new(vec![0, count]),
                logit_rows: vec![before, count - 1],
                vectors: RowVectors { rows: (1..soft_end as u32).collect(), values: vectors },
                ..Batch::default()
            };
            let logits = decoder.forward(&batch, &mut DenseAttention::new(&decoder, &workers)).unwrap();
            let [first, second]: [Vec<f32>; 2] = logits.to_vec2().unwrap().try_into().unwrap();
            prefill.extend(first);
            last.extend(second);
        }
        for (found, name) in [(prefill, "prefill_logits"), (last, "last_logits")] {
            let difference = largest_difference(&found, &floats(&format!("{stage}.{at}.{name}")));
            println!("{stage}.{at}.{name}: {difference:e}");
            assert!(difference <= TOLERANCE, "{stage}.{at}.{name}: {difference}");
        }
    }
}

/// A text for the encoder, which knows 32 ids.
fn text(seed: u32, tokens: u32) -> Vec<u32> {
    prompt(1000 + seed, tokens).into_iter().map(|id| 2 + id % 30).collect()
}

/// Different ways to sample; vectors end within a block, on its edge and behind it, with a prompt behind them or none.
fn subjects() -> Vec<Request> {
    let base = SamplingParams {
        max_tokens: 30,
        logprobs: Some(3),
        seed: 7,
        ignore_eos: true,
        ..SamplingParams::default()
    };
    let greedy = SamplingParams { temperature: 0.0, ..base.clone() };
    let truncated = SamplingParams {
        top_k: 20,
        repetition_penalty: 1.2,
        frequency_penalty: 0.3,
        logprobs_mode: LogprobsMode::Processed,
        n: 3,
        seed: u64::MAX / 2,
        ..base.clone()
    };
    let explained = SamplingParams { prompt_logprobs: Some(2), n: 2, ..base.clone() };
    vec![
        soft(text(1, 30), &prompt(1, 40), base.clone()),
        soft(text(2, 31), &[], greedy.clone()),
        soft(text(3, 62), &[], greedy),
        soft(text(4, 70), &prompt(4, 10), truncated),
        soft(text(5, 12), &prompt(5, 30), explained),
        soft(vec![1], &prompt(6, 20), base),
    ]
}

/// Prompts without and with vectors.
fn company(count: u32) -> Vec<Request> {
    let sampling = |seed: u32| SamplingParams {
        max_tokens: 5 + seed as usize % 30,
        n: 1 + seed % 2,
        seed: u64::from(seed),
        ..SamplingParams::default()
    };
    let one = |seed: u32| match seed % 2 {
        0 => soft(text(100 + seed, 1 + seed * 3 % 40), &prompt(seed, seed % 20), sampling(seed)),
        _ => request(prompt(100 + seed, 3 + seed * 2 % 60), sampling(seed)),
    };
    (0..count).map(one).collect()
}

fn without_cache_counts(told: Vec<Told>) -> Vec<Told> {
    told.into_iter().map(|told| Told { cached_tokens: 0, ..told }).collect()
}

/// Runs `scenario` for every type beside the subjects run one by one in fresh engines.
fn check(name: &str, scenario: impl Fn(ComputeDtype) -> Vec<Told>) {
    for dtype in [ComputeDtype::F32, ComputeDtype::Bf16, ComputeDtype::Int8(Int8Scales::PerChannel)] {
        let alone: Vec<Told> = subjects()
            .into_iter()
            .flat_map(|subject| run(&engine(dtype, EngineConfig::default()), vec![subject]))
            .collect();
        assert!(alone.iter().all(|told| told.failed.is_none() && told.choices[0].tokens.len() == 30));
        let told = without_cache_counts(scenario(dtype));
        assert!(told == without_cache_counts(alone), "{name}: {dtype:?} differs");
    }
}

#[test]
fn bits_do_not_depend_on_company_or_chunks() {
    check("among others", |dtype| {
        let engine = engine(dtype, EngineConfig::default());
        let mut requests = company(32);
        requests.splice(16..16, subjects());
        run(&engine, requests)[16..16 + subjects().len()].to_vec()
    });
    check("chunks", |dtype| {
        let config = EngineConfig { max_batch_tokens: 11, max_num_seqs: 3, ..EngineConfig::default() };
        run(&engine(dtype, config), subjects())
    });
}

#[test]
fn preempted_and_recomputed() {
    for enable_prefix_caching in [true, false] {
        check("preempted", |dtype| {
            let config = EngineConfig { num_blocks: 8, enable_prefix_caching, ..EngineConfig::default() };
            let engine = engine(dtype, config);
            let mut requests = subjects();
            requests.extend(company(6));
            let told = run(&engine, requests);
            assert!(engine.stats().preemptions.load(Relaxed) > 0, "nothing was preempted");
            told[..subjects().len()].to_vec()
        });
    }
}

#[test]
fn with_a_warm_prefix_cache() {
    check("warm", |dtype| {
        let engine = engine(dtype, EngineConfig::default());
        // Other texts of the same lengths: their placeholders are the same, their blocks are not.
        let others = subjects().into_iter().map(|mut subject| {
            // The end boundary is no token of the text.
            let length = subject.soft_prefix.as_ref().unwrap().positions() as u32 - 1;
            subject.soft_prefix = Some(SoftPrefix::Text { encoder_ids: text(77, length) });
            subject
        });
        run(&engine, others.collect());
        let cold: Vec<usize> = run(&engine, subjects()).iter().map(|told| told.cached_tokens).collect();
        assert_eq!(cold, [0; 6]);
        let told = run(&engine, subjects());
        // Vectors count as tokens do; the last position is always computed, prompt logprobs compute all.
        let cached: Vec<usize> = told.iter().map(|told| told.cached_tokens).collect();
        assert_eq!(cached, [64, 32, 32, 64, 0, 0]);
        told
    });
}

#[test]
fn prompt_logprobs_are_of_tokens() {
    let told = run(&engine(ComputeDtype::F32, EngineConfig::default()), vec![subjects().remove(4)]).remove(0);
    assert_eq!(told.prompt_logprobs.len(), 31);
    assert!(told.prompt_logprobs[0].is_none() && told.prompt_logprobs[1..].iter().all(Option::is_some));
    let tokens: Vec<u32> = told.prompt_logprobs[1..].iter().map(|of| of.as_ref().unwrap()[0].0).collect();
    assert_eq!(tokens, prompt(5, 30));
}

#[test]
fn a_text_that_cannot_be_encoded_fails_its_request_alone() {
    let engine = engine(ComputeDtype::F32, EngineConfig::default());
    let mut requests = subjects();
    // The encoder's vocabulary ends at 31. Twice the same text, and one that is fine between.
    let bad = || soft(vec![5, 32], &prompt(1, 4), SamplingParams::default());
    requests.insert(0, bad());
    requests.insert(3, bad());
    let told = run(&engine, requests);
    for (at, told) in told.iter().enumerate() {
        match &told.failed {
            Some(message) => {
                assert!(
                    [0, 3].contains(&at) && message.contains("the encoder failed on this text"),
                    "{message}"
                );
                assert!(message.contains("id 32"), "{message}");
            }
            None => assert_eq!(told.choices[0].tokens.len(), 30),
        }
    }
    assert!(told[0].failed.is_some() && told[3].failed.is_some());
    let alone = run(&engine, vec![bad()]);
    assert!(alone[0].failed.is_some());
}

#[test]
fn what_does_not_fit_is_refused_at_the_door() {
    let engine = engine(ComputeDtype::F32, EngineConfig::default());
    let refused = |asked: Request| engine.generate(asked).err().expect("refused").to_string();
    let long = refused(soft(vec![5; 4097], &[], SamplingParams::default()));
    assert!(long.contains("4097 tokens for the encoder, which reads at most 4096"), "{long}");
    let full = refused(soft(vec![5; 110], &prompt(1, 10), SamplingParams::default()));
    assert!(full.contains("the prompt has 122 tokens"), "{full}");

    let workers = Workers::new(1);
    let plain =
        start(decoder(ComputeDtype::F32, &workers), EngineConfig::default(), Arc::clone(&workers)).unwrap();
    let refused = plain.generate(soft(vec![5], &[], SamplingParams::default())).err();
    assert!(
        matches!(refused, Some(EngineError::InvalidParameter { parameter: "prompt", .. })),
        "{refused:?}"
    );

    let options = LoadOptions::new(ComputeDtype::F32, &workers);
    let (config, tensors) = open_weights(&fixture("models/mt5")).unwrap();
    let encoder = encoders::load(&config, tensors.as_ref(), &options).unwrap();
    let mapping = Mapping::pack(&MappingWeights::fresh(24, 40, 1).unwrap(), &options).unwrap();
    let other = Augmented::new(encoder, mapping).unwrap();
    let error =
        start_augmented(decoder(ComputeDtype::F32, &workers), other, EngineConfig::default(), workers);
    assert!(matches!(error.err(), Some(StartError::Width { found: 40, expected: 32 })));
}
