//! Weights replaced in a running engine: new requests see the new ones and nothing of the old, not even what is cached.

use std::sync::Arc;

use xenoglot::engine::{EngineConfig, EngineError, EngineHandle, PauseMode, SamplingParams, start};
use xenoglot::model::{ComputeDtype, Decoder};
use xenoglot::ops::Workers;

use super::{Told, engine, prompt, read, request};
use crate::model::logits::{fixture, load};
use crate::model::replaced::{changed, reloaded};

fn greedy(max_tokens: usize) -> SamplingParams {
    let plain =
        SamplingParams { temperature: 0.0, ignore_eos: true, max_tokens, ..SamplingParams::default() };
    SamplingParams { logprobs: Some(2), ..plain }
}

fn told(engine: &EngineHandle, max_tokens: usize) -> Told {
    read(engine.generate(request(prompt(1, 80), greedy(max_tokens))).unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn swap(engine: &EngineHandle, decoder: Option<Arc<Decoder>>) -> Result<u64, EngineError> {
    engine.blocking_swap_weights(decoder)
}

fn other_weights(engine: &EngineHandle) -> Arc<Decoder> {
    let weights = runtime().block_on(engine.weights()).unwrap().unwrap();
    Arc::new(weights.with_tensors(&changed("qwen3", |_| true)).unwrap())
}

#[test]
fn swapped_weights_answer_as_an_engine_that_was_started_with_them() {
    let engine = engine("qwen3", ComputeDtype::F32, EngineConfig::default());
    let config = EngineConfig { max_model_len: 128, ..EngineConfig::default() };
    let fresh = start(reloaded("qwen3", ComputeDtype::F32, |_| true), config, Workers::new(2)).unwrap();
    let (old, new) = (told(&engine, 20), told(&fresh, 20));
    assert!(old.choices != new.choices);
    assert_eq!(told(&engine, 20).cached_tokens, 64);
    let before = runtime().block_on(engine.weights()).unwrap();
    assert_eq!(swap(&engine, Some(other_weights(&engine))), Ok(1));
    // The cached blocks of the old weights are another version's.
    assert_eq!(told(&engine, 20), new);
    assert_eq!(told(&engine, 20), Told { cached_tokens: 64, ..new });
    assert_eq!(swap(&engine, before), Ok(2));
    assert_eq!(told(&engine, 20), old);
}

#[test]
fn a_request_that_waits_while_weights_change_reads_no_old_block() {
    let engine = engine("qwen3", ComputeDtype::F32, EngineConfig::default());
    told(&engine, 20);
    runtime().block_on(engine.pause(PauseMode::Keep)).unwrap();
    let waiting = engine.generate(request(prompt(1, 80), greedy(20))).unwrap();
    swap(&engine, Some(other_weights(&engine))).unwrap();
    runtime().block_on(engine.resume()).unwrap();
    let waited = read(waiting);
    assert_eq!((waited.cached_tokens, waited.choices), (0, told(&engine, 20).choices));
}

#[test]
fn weights_that_are_lent_are_the_borrowers_alone() {
    let mut decoder = Arc::new(load(&fixture("qwen3"), ComputeDtype::F32));
    let config = EngineConfig { max_model_len: 128, ..EngineConfig::default() };
    let engine = start(Arc::clone(&decoder), config, Workers::new(2)).unwrap();
    let expected = told(&engine, 8);
    assert!(Arc::get_mut(&mut decoder).is_none());
    assert_eq!(swap(&engine, None), Ok(0));
    assert!(Arc::get_mut(&mut decoder).is_some());
    let waiting = engine.generate(request(prompt(1, 80), greedy(8))).unwrap();
    assert_eq!(swap(&engine, Some(decoder)), Ok(1));
    assert_eq!(read(waiting).choices, expected.choices);
}

#[test]
fn weights_of_another_model_are_refused() {
    let engine = engine("qwen3", ComputeDtype::F32, EngineConfig::default());
    let expected = told(&engine, 8);
    let other = Arc::new(load(&fixture("llama2"), ComputeDtype::F32));
    assert_eq!(swap(&engine, Some(other)), Err(EngineError::OtherModel));
    assert_eq!(told(&engine, 8).choices, expected.choices);
}
