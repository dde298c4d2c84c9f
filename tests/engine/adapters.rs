//! Requests of several adapters and of none in one engine: each is answered as if it were alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use xenoglot::engine::{EngineConfig, EngineHandle, Request, RequestAdapter, SamplingParams};
use xenoglot::model::{Adapter, ComputeDtype, Target, families};
use xenoglot::ops::Int8Scales;
use xenoglot::weights::open_weights;

use super::{Told, engine, prompt, read, request};
use crate::model::adapters::{options, write_adapter};
use crate::model::logits::fixture;

fn load(model: &Path, targets: &[Target], seed: u32, version: u64) -> RequestAdapter {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("adapter");
    write_adapter(model, &out, targets, seed);
    let config = families::translate(&open_weights(model).unwrap().0).unwrap();
    RequestAdapter { version, weights: Arc::new(Adapter::open(&out, &config, &options()).unwrap()) }
}

fn adapters() -> [Option<RequestAdapter>; 3] {
    let model = fixture("qwen3");
    let all = load(&model, &Target::SEPARATE, 1, 0);
    let some = load(&model, &[Target::Key, Target::Output, Target::Gate], 2, 1);
    [None, Some(all), Some(some)]
}

fn asked(seed: u32, tokens: u32, adapter: Option<&RequestAdapter>, sampling: SamplingParams) -> Request {
    Request { adapter: adapter.cloned(), ..request(prompt(seed, tokens), sampling) }
}

fn sampling(seed: u64, max_tokens: usize) -> SamplingParams {
    SamplingParams { seed, max_tokens, logprobs: Some(3), ..SamplingParams::default() }
}

/// What a request is told, but for what the cache had.
fn told(engine: &EngineHandle, request: Request) -> Told {
    Told { cached_tokens: 0, ..read(engine.generate(request).unwrap()) }
}

#[test]
fn a_mix_is_answered_as_each_alone() {
    for dtype in [ComputeDtype::F32, ComputeDtype::Bf16, ComputeDtype::Int8(Int8Scales::PerChannel)] {
        let adapters = adapters();
        let requests: Vec<Request> = (0..12_u32)
            .map(|at| {
                let sampling = SamplingParams { n: 1 + at / 3 % 2, ..sampling(u64::from(at / 3), 12) };
                asked(at / 3, 20 + at / 3 * 9, adapters[at as usize % 3].as_ref(), sampling)
            })
            .collect();
        // Prompts in pieces, beside others that decode.
        let config = EngineConfig { max_num_seqs: 32, max_batch_tokens: 40, ..EngineConfig::default() };
        let mixed = engine("qwen3", dtype, config);
        let streams: Vec<_> =
            requests.iter().map(|request| mixed.generate(request.clone()).unwrap()).collect();
        let together: Vec<Told> =
            streams.into_iter().map(|stream| Told { cached_tokens: 0, ..read(stream) }).collect();
        for (request, together) in requests.iter().zip(&together) {
            let alone = engine("qwen3", dtype, EngineConfig::default());
            assert_eq!(&told(&alone, request.clone()), together, "{dtype:?}");
        }
        for three in together.chunks(3) {
            assert!(three[0] != three[1] && three[1] != three[2], "the adapters change something");
        }
    }
}

#[test]
fn cached_prefixes_are_of_one_adapter() {
    let [_, first, second] = adapters();
    let again = first.as_ref().map(|first| RequestAdapter { version: 9, ..first.clone() });
    let engine = engine("qwen3", ComputeDtype::F32, EngineConfig::default());
    let cached = |adapter: &Option<RequestAdapter>| {
        read(engine.generate(asked(1, 80, adapter.as_ref(), sampling(0, 1))).unwrap()).cached_tokens
    };
    assert_eq!([cached(&None), cached(&first), cached(&second), cached(&again)], [0; 4]);
    assert_eq!([cached(&None), cached(&first), cached(&second), cached(&again)], [64; 4]);
}

#[test]
fn drafts_change_nothing() {
    let [_, adapter, _] = adapters();
    let run = |speculation: bool| {
        let config = EngineConfig { speculation, draft_row_cost: Some(0.05), ..EngineConfig::default() };
        let engine = engine("qwen3", ComputeDtype::F32, config);
        // The bias leaves few tokens to choose from, so that they follow each other again.
        let sampling = SamplingParams {
            logit_bias: vec![(11, 9.0), (12, 8.0), (13, 8.5)],
            temperature: 0.6,
            ..sampling(7, 50)
        };
        let repeated = prompt(1, 12).repeat(5);
        let asked = |adapter: Option<&RequestAdapter>| Request {
            adapter: adapter.cloned(),
            ..request(repeated.clone(), sampling.clone())
        };
        let streams = [None, adapter.as_ref()].map(|adapter| engine.generate(asked(adapter)).unwrap());
        let told = streams.map(|stream| Told { cached_tokens: 0, ..read(stream) });
        (told, engine.stats().draft_tokens.load(Relaxed))
    };
    let ((plain, none), (drafted, some)) = (run(false), run(true));
    assert!(none == 0 && some > 0);
    assert_eq!(plain, drafted);
}

#[test]
fn an_adapter_lives_until_its_last_request_has_ended() {
    let [_, adapter, _] = adapters();
    let adapter = adapter.unwrap();
    let engine = engine("qwen3", ComputeDtype::F32, EngineConfig::default());
    let left = Arc::downgrade(&adapter.weights);
    let expected = told(&engine, asked(1, 20, Some(&adapter), sampling(3, 100)));
    let mut stream = engine.generate(asked(1, 20, Some(&adapter), sampling(3, 100))).unwrap();
    assert!(stream.blocking_next().is_some());
    drop(adapter);
    assert_eq!(read(stream).choices[0].tokens, expected.choices[0].tokens);
    let started = std::time::Instant::now();
    while left.strong_count() > 0 {
        assert!(started.elapsed().as_secs() < 20, "the engine holds on to it");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
