//! Speculation changes no token, no logprob bit, no end and no count: only the number of steps.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use xenoglot::engine::{
    EngineConfig, EngineHandle, LogprobsMode, Output, OutputOptions, OutputStream, Request, SamplingParams,
    start,
};
use xenoglot::model::ComputeDtype;
use xenoglot::ops::{Int8Scales, KvDtype, Workers};
use xenoglot::weights::Tokenizer;

use super::{Told, prompt, read, request};
use crate::model::logits::{fixture, load_on};
use crate::real_weights::real_model;

fn engine(folder: &std::path::Path, dtype: ComputeDtype, threads: usize, speculation: bool) -> EngineHandle {
    let workers = Workers::new(threads);
    let kv_dtype = if dtype == ComputeDtype::F32 { KvDtype::F32 } else { KvDtype::Bf16 };
    // Measured, how much is guessed would depend on what else the machine does.
    let draft_row_cost = Some(0.05);
    let config =
        EngineConfig { kv_dtype, max_model_len: 128, speculation, draft_row_cost, ..EngineConfig::default() };
    start(load_on(folder, dtype, |_| (), &workers), config, workers).expect("the engine starts")
}

/// Prompts that repeat themselves, that do so with changes, and that do not.
fn prompts() -> [Vec<u32>; 3] {
    let lines = (0..9_u32).flat_map(|line| [7, 11, 20 + line % 4, 13, 17, 30 + line, 5]);
    [prompt(1, 12).repeat(5), lines.collect(), prompt(3, 50)]
}

/// Greedy and seeded. The bias leaves few tokens to choose from, so that the same few follow each other again, but
/// not always in the same order: some drafts are right, some are wrong, some in part.
fn samplings() -> [SamplingParams; 4] {
    let bias = vec![(11, 9.0), (12, 8.0), (13, 8.5)];
    let base = SamplingParams { max_tokens: 60, logprobs: Some(3), seed: 7, ..SamplingParams::default() };
    let greedy = SamplingParams { temperature: 0.0, ..base.clone() };
    let seeded = SamplingParams {
        temperature: 0.6,
        logit_bias: bias.clone(),
        prompt_logprobs: Some(1),
        ..base.clone()
    };
    let penalized = SamplingParams {
        temperature: 0.8,
        top_k: 20,
        top_p: 0.95,
        repetition_penalty: 1.1,
        frequency_penalty: 0.02,
        presence_penalty: 0.1,
        logprobs_mode: LogprobsMode::Processed,
        logit_bias: bias.clone(),
        n: 3,
        ..base.clone()
    };
    // Ends somewhere, but not at once.
    let stopped = SamplingParams { logit_bias: bias, stop_token_ids: vec![12], min_tokens: 30, ..base };
    [greedy, seeded, penalized, stopped]
}

fn run(engine: &EngineHandle) -> Vec<Told> {
    let subjects = prompts().into_iter().flat_map(|prompt| samplings().map(|s| request(prompt.clone(), s)));
    subjects.map(|subject| read(engine.generate(subject).expect("accepted"))).collect()
}

fn drafted(engine: &EngineHandle) -> (u64, u64) {
    (engine.stats().draft_tokens.load(Relaxed), engine.stats().accepted_draft_tokens.load(Relaxed))
}

#[test]
fn no_bit_changes() {
    for (model, dtype) in [
        ("llama3", ComputeDtype::F32),
        ("llama3", ComputeDtype::Bf16),
        ("llama3", ComputeDtype::Int8(Int8Scales::PerChannel)),
        ("llama3", ComputeDtype::Int8(Int8Scales::PerGroup32)),
        ("mistral", ComputeDtype::Bf16),
    ] {
        for threads in [1, 2] {
            let [plain, speculative] = [false, true].map(|on| engine(&fixture(model), dtype, threads, on));
            let told = run(&plain);
            assert!(told.iter().all(|told| told.failed.is_none()));
            assert!(run(&speculative) == told, "{model} {dtype:?} on {threads} threads");
            assert_eq!(drafted(&plain), (0, 0));
            let (drafts, accepted) = drafted(&speculative);
            assert!(accepted > 100 && drafts > accepted + 100, "{accepted} of {drafts}");
            let steps = |engine: &EngineHandle| engine.stats().steps.load(Relaxed);
            assert!(steps(&speculative) + 100 < steps(&plain), "{} steps", steps(&speculative));
        }
    }
}

/// Everything a client is told, but for how long it waited.
fn outputs(engine: &EngineHandle, tokenizer: &Tokenizer, asked: Request, stop: &[&str]) -> Vec<Output> {
    let options = OutputOptions {
        n: asked.sampling.n,
        stop: stop.iter().map(ToString::to_string).collect(),
        ..OutputOptions::default()
    };
    let mut stream = OutputStream::new(engine.generate(asked).expect("accepted"), tokenizer.clone(), options);
    let without_time = |output| match output {
        Output::Scheduled { cached_tokens, prompt_logprobs, .. } => {
            Output::Scheduled { queued: Duration::ZERO, cached_tokens, prompt_logprobs }
        }
        other => other,
    };
    std::iter::from_fn(|| stream.blocking_next()).map(without_time).collect()
}

const CODE: &str = "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a - b\n\ndef mul(a, b):\n";
const TEXTS: [(&str, &[&str]); 4] = [
    ("One two three four five. One two three four five. One two three four five. One two", &[]),
    (
        "One two three four five. One two three four five. One two three four five. One two",
        &["four five. One"],
    ),
    (CODE, &["def div"]),
    ("Once upon a time, in a country far away,", &["\n"]),
];

#[test]
fn real_weights_are_told_the_same_with_stop_strings() {
    let folder = real_model("SmolLM2-135M-Instruct");
    let tokenizer = Tokenizer::load(&folder.join("tokenizer.json")).expect("a tokenizer");
    let base =
        SamplingParams { max_tokens: 40, logprobs: Some(2), temperature: 0.0, ..SamplingParams::default() };
    let seeded =
        SamplingParams { temperature: 0.7, top_p: 0.9, repetition_penalty: 1.05, seed: 5, ..base.clone() };
    let [plain, speculative] = [false, true].map(|on| engine(&folder, ComputeDtype::Bf16, 2, on));
    for (text, stop) in TEXTS {
        for sampling in [&base, &seeded] {
            let ids = tokenizer.encode(text, true).expect("ids");
            let told = |engine| outputs(engine, &tokenizer, request(ids.clone(), sampling.clone()), stop);
            assert_eq!(told(&speculative), told(&plain), "{text:?} {stop:?}");
        }
    }
    let (drafts, accepted) = drafted(&speculative);
    assert!(accepted > 30, "{accepted} of {drafts}");
}
