//! The in-process generator on a tiny model: what it asks of the engine, and that resuming changes no sample.

use std::sync::Mutex;

use xenoglot::engine::EngineConfig;
use xenoglot::eval::{
    Completion, Finish, GenerationEvent, GenerationRequest, Generator, GeneratorError, LocalGenerator,
    Message, Sampling, Silent,
};
use xenoglot::model::ComputeDtype;
use xenoglot::weights::Checkpoint;

use super::{config, records, run_blocking};
use crate::model::logits::fixture;

const MODEL: &str = "qwen3";

fn generator() -> LocalGenerator {
    let checkpoint = Checkpoint::open(&fixture(MODEL)).unwrap();
    LocalGenerator {
        model: MODEL.to_owned(),
        dtype: "f32".to_owned(),
        handle: crate::engine::engine(MODEL, ComputeDtype::F32, EngineConfig::default()),
        adapter: None,
        tokenizer: checkpoint.tokenizer,
        template: None,
        augmented: None,
        weights_sha256: None,
    }
}

fn request(samples: &[u32], content: &str) -> GenerationRequest {
    GenerationRequest {
        id: "p1-en".to_owned(),
        messages: vec![Message { role: "user".to_owned(), content: content.to_owned() }],
        language: None,
        opening: None,
        n: 6,
        samples: samples.to_vec(),
        kept: Vec::new(),
        seed: 3,
        sampling: Sampling { temperature: 1.0, max_tokens: 20, ..Sampling::default() },
    }
}

async fn generate(generator: &LocalGenerator, samples: &[u32]) -> Vec<(u32, Completion)> {
    let found = Mutex::new(Vec::new());
    let keep = |event| {
        if let GenerationEvent::Finished { sample, completion, .. } = event {
            found.lock().unwrap().push((sample, completion));
        }
    };
    generator.generate(&request(samples, "ab"), &keep).await.unwrap();
    let mut found = found.into_inner().unwrap();
    found.sort_by_key(|(sample, _)| *sample);
    found
}

#[tokio::test]
async fn missing_samples_are_those_of_the_whole_request() {
    let generator = generator();
    let whole = generate(&generator, &[0, 1, 2, 3, 4, 5]).await;
    assert_eq!(whole.len(), 6);
    assert!(whole.iter().any(|(_, completion)| completion.finish == Finish::Length));
    assert!(whole[1..].iter().any(|(_, completion)| completion.text != whole[0].1.text), "samples differ");
    let some = generate(&generator, &[1, 4]).await;
    assert_eq!(some, [whole[1].clone(), whole[4].clone()]);
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_refused_alone() {
    let generator = generator();
    let long = "ab ".repeat(4000);
    let error = generator.generate(&request(&[0], &long), &|_| ()).await.unwrap_err();
    assert!(matches!(error, GeneratorError::Refused { .. }), "{error}");
    assert_eq!(generate(&generator, &[0]).await.len(), 1);
}

#[test]
fn runs_in_process_are_the_same_every_time() {
    let run = || {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path(), 3);
        config.sampling = Sampling { temperature: 1.0, max_tokens: 8, ..Sampling::default() };
        let report =
            run_blocking(config, &generator(), &Silent, tokio::sync::watch::channel(false).1).unwrap();
        (report.results, records(&folder.path().join("run")))
    };
    assert_eq!(run(), run());
}
