//! Many clients, clients that leave, priorities, drain, memory: what a server meets, on a real decoder.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use xenoglot::engine::{
    EngineConfig, EngineError, FinishReason, MemoryRequest, SamplingParams, available_memory, memory_plan,
};
use xenoglot::model::ComputeDtype;

use super::{engine, prompt, read, request};
use crate::model::logits::{fixture, load};

fn sampling(max_tokens: usize) -> SamplingParams {
    SamplingParams { max_tokens, ..SamplingParams::default() }
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn two_hundred_requests_and_no_block_lost() {
    let config = EngineConfig { max_num_seqs: 32, num_blocks: 40, ..EngineConfig::default() };
    let engine = engine("qwen3", ComputeDtype::F32, config);
    let streams: Vec<_> = (0..200)
        .map(|seed| {
            let asked = SamplingParams { n: 1 + seed % 3, seed: u64::from(seed), ..sampling(8) };
            engine.generate(request(prompt(seed, 1 + seed % 90), asked)).unwrap()
        })
        .collect();
    for (seed, stream) in (0_u32..).zip(streams) {
        if seed % 10 == 3 {
            continue; // this client hangs up
        }
        let told = read(stream);
        assert_eq!(told.choices.len() as u32, 1 + seed % 3);
        let complete = |reason: &Option<FinishReason>| *reason == Some(FinishReason::Length);
        assert!(told.choices.iter().all(|choice| complete(&choice.finished) && choice.tokens.len() == 8));
    }
    let stats = engine.stats();
    wait_until("all is free", || stats.kv_blocks_in_use.load(Relaxed) == 0);
    assert_eq!((stats.requests_running.load(Relaxed), stats.requests_waiting.load(Relaxed)), (0, 0));
}

#[test]
fn a_dropped_stream_frees_its_blocks_while_others_go_on() {
    let engine = engine("qwen3", ComputeDtype::F32, EngineConfig::default());
    let mut leaving =
        engine.generate(request(prompt(1, 70), SamplingParams { n: 8, ..sampling(50) })).unwrap();
    let staying = engine.generate(request(prompt(2, 20), sampling(100))).unwrap();
    leaving.blocking_next();
    drop(leaving);
    let told = read(staying);
    assert_eq!(told.choices[0].tokens.len(), 100);
    wait_until("all is free", || engine.stats().kv_blocks_in_use.load(Relaxed) == 0);
}

#[test]
fn a_salt_and_a_reset_keep_prefixes_apart() {
    let engine = engine("qwen3", ComputeDtype::F32, EngineConfig::default());
    let cached = |salt: Option<&str>| {
        let mut asked = request(prompt(1, 80), sampling(1));
        asked.cache_salt = salt.map(str::to_owned);
        read(engine.generate(asked).unwrap()).cached_tokens
    };
    assert_eq!([cached(None), cached(None), cached(Some("a")), cached(Some("a"))], [0, 64, 0, 64]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(engine.reset_prefix_cache()).unwrap();
    assert_eq!(cached(None), 0);
    assert_eq!(engine.stats().prefix_cache_hits.load(Relaxed), 128);
}

#[test]
fn what_can_never_fit_is_refused_at_the_door() {
    let engine =
        engine("qwen3", ComputeDtype::F32, EngineConfig { num_blocks: 2, ..EngineConfig::default() });
    let ask = |prompt_tokens, max_tokens| {
        engine.generate(request(prompt(1, prompt_tokens), sampling(max_tokens))).err()
    };
    assert_eq!(ask(60, 5), None);
    assert_eq!(ask(60, 6), Some(EngineError::NeverFits { needed: 3, available: 2, block_size: 32 }));
    assert!(matches!(ask(120, 9), Some(EngineError::ContextExceeded { .. })));
    assert!(matches!(ask(0, 1), Some(EngineError::InvalidParameter { parameter: "prompt", .. })));
}

#[test]
fn a_plan_for_a_real_config_fits_this_machine() {
    let decoder = load(&fixture("llama3"), ComputeDtype::F32);
    let config = EngineConfig::default();
    let available = available_memory().unwrap();
    let asked = MemoryRequest::new(decoder.config(), decoder.weight_bytes() as u64, &config, available);
    assert_eq!(asked.rope_bytes, (2048 * 4 * decoder.config().head_dim) as u64);
    let plan = memory_plan(&asked).unwrap();
    assert_eq!(plan.blocks_per_sequence, 64);
    assert_eq!(plan.num_blocks, 64 * 64);
    println!("{plan}");
}
