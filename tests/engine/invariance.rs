//! A request's tokens and the bits of its logprobs depend on the request alone: not on its company, the prefix
//! cache, the chunks of its prefill, preemption, or how many choices it asked for.

use std::sync::atomic::Ordering::Relaxed;

use xenoglot::engine::{EngineConfig, EngineHandle, LogprobsMode, Request, SamplingParams};
use xenoglot::model::ComputeDtype;
use xenoglot::ops::{Int8Scales, Isa, Workers};

use super::{Told, engine, engine_on, prompt, read, request};

/// Families: with full attention, with a sliding window shorter than a block, with fused projections and a partial rotation,
/// with soft caps and norms on results, with two kinds of RoPE, with experts.
const MODELS: [&str; 6] = ["llama3", "mistral", "phi3_longrope", "gemma2", "gemma3", "qwen2_moe"];
const DTYPES: [ComputeDtype; 4] = [
    ComputeDtype::F32,
    ComputeDtype::Bf16,
    ComputeDtype::Int8(Int8Scales::PerChannel),
    ComputeDtype::Int8(Int8Scales::PerGroup32),
];

/// Requests with different ways to sample; prompts end within a block and on its edge.
fn subjects() -> Vec<Request> {
    let base = SamplingParams { max_tokens: 40, logprobs: Some(3), seed: 7, ..SamplingParams::default() };
    let greedy = SamplingParams { temperature: 0.0, ..base.clone() };
    let truncated = SamplingParams {
        top_k: 20,
        top_p: 0.9,
        min_p: 0.01,
        repetition_penalty: 1.2,
        frequency_penalty: 0.3,
        logprobs_mode: LogprobsMode::Processed,
        n: 3,
        seed: u64::MAX / 2,
        ..base.clone()
    };
    let explained = SamplingParams { prompt_logprobs: Some(2), n: 2, ..base.clone() };
    vec![
        request(prompt(1, 64), base),
        request(prompt(2, 65), greedy),
        request(prompt(3, 50), truncated),
        request(prompt(4, 40), explained),
    ]
}

fn company(count: u32) -> Vec<Request> {
    let sampling = |seed: u32| SamplingParams {
        max_tokens: 5 + seed as usize % 30,
        n: 1 + seed % 2,
        seed: u64::from(seed),
        ..SamplingParams::default()
    };
    (0..count).map(|seed| request(prompt(100 + seed, 3 + seed * 2 % 60), sampling(seed))).collect()
}

fn run(engine: &EngineHandle, requests: Vec<Request>) -> Vec<Told> {
    let streams: Vec<_> =
        requests.into_iter().map(|request| engine.generate(request).expect("accepted")).collect();
    streams.into_iter().map(read).collect()
}

/// What is told must not depend on how it came about; how much was cached may.
fn without_cache_counts(told: Vec<Told>) -> Vec<Told> {
    told.into_iter().map(|told| Told { cached_tokens: 0, ..told }).collect()
}

/// Runs `scenario` for every model and type beside the subjects run one by one in fresh engines.
fn check(name: &str, scenario: impl Fn(&str, ComputeDtype) -> Vec<Told>) {
    for model in MODELS {
        for dtype in DTYPES {
            let alone: Vec<Told> = subjects()
                .into_iter()
                .flat_map(|subject| run(&engine(model, dtype, EngineConfig::default()), vec![subject]))
                .collect();
            assert!(alone.iter().all(|told| told.failed.is_none() && told.choices[0].tokens.len() == 40));
            let told = without_cache_counts(scenario(model, dtype));
            assert!(told == without_cache_counts(alone), "{name}: {model} {dtype:?} differs");
        }
    }
}

#[test]
fn among_32_others() {
    check("among others", |model, dtype| {
        let engine = engine(model, dtype, EngineConfig::default());
        let mut requests = company(32);
        requests.splice(16..16, subjects());
        let told = run(&engine, requests);
        told[16..16 + subjects().len()].to_vec()
    });
}

#[test]
fn with_a_warm_prefix_cache() {
    check("warm", |model, dtype| {
        let engine = engine(model, dtype, EngineConfig::default());
        run(&engine, subjects());
        let told = run(&engine, subjects());
        // The last token is always computed; prompt logprobs compute all.
        let cached: Vec<usize> = told.iter().map(|told| told.cached_tokens).collect();
        assert_eq!(cached, [32, 64, 32, 0]);
        told
    });
}

#[test]
fn prefilled_in_several_chunks() {
    for max_batch_tokens in [3, 33] {
        check("chunks", |model, dtype| {
            let config = EngineConfig { max_batch_tokens, max_num_seqs: 3, ..EngineConfig::default() };
            run(&engine(model, dtype, config), subjects())
        });
    }
}

#[test]
fn preempted_and_recomputed() {
    for enable_prefix_caching in [true, false] {
        check("preempted", |model, dtype| {
            // 105 tokens at most in a sequence of the subjects: 4 blocks.
            let config = EngineConfig { num_blocks: 8, enable_prefix_caching, ..EngineConfig::default() };
            let engine = engine(model, dtype, config);
            let mut requests = subjects();
            requests.extend(company(6));
            let told = run(&engine, requests);
            assert!(engine.stats().preemptions.load(Relaxed) > 0, "nothing was preempted");
            told[..subjects().len()].to_vec()
        });
    }
}

#[test]
fn a_choice_does_not_depend_on_how_many_there_are() {
    for dtype in DTYPES {
        let run_n = |n: u32| {
            let sampling =
                SamplingParams { n, max_tokens: 30, logprobs: Some(1), seed: 3, ..SamplingParams::default() };
            let engine = engine("llama3", dtype, EngineConfig { max_num_seqs: 5, ..EngineConfig::default() });
            run(&engine, vec![request(prompt(9, 45), sampling)]).remove(0).choices
        };
        let eight = run_n(8);
        for n in [1, 2, 5] {
            assert!(run_n(n) == eight[..n as usize], "n = {n} {dtype:?}");
        }
        let distinct: std::collections::HashSet<_> = eight.iter().map(|choice| &choice.tokens).collect();
        assert_eq!(distinct.len(), 8);
    }
}

/// Bits may differ between instruction sets, not within one.
#[test]
fn the_thread_count_and_company_change_no_bit_on_any_instruction_set() {
    for isa in Isa::available() {
        for dtype in DTYPES {
            let on = |threads: usize| engine_on("llama3", dtype, Workers::with_isa(threads, isa));
            let alone: Vec<Told> =
                subjects().into_iter().flat_map(|subject| run(&on(1), vec![subject])).collect();
            for threads in [1, 2, 3] {
                let mut requests = company(12);
                requests.splice(6..6, subjects());
                let told = run(&on(threads), requests)[6..6 + subjects().len()].to_vec();
                let same = without_cache_counts(told) == without_cache_counts(alone.clone());
                assert!(same, "{isa}, {dtype:?}, {threads} threads");
            }
        }
    }
}
