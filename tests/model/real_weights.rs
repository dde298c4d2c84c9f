//! multilingual-e5-small, converted from the file that `scripts/fetch-models` gets.

use serde_json::Value;
use xenoglot::model::encoders::{self, EncoderTokenizer, TextEncoder, Texts};
use xenoglot::model::{ComputeDtype, LoadOptions};
use xenoglot::ops::Workers;
use xenoglot::weights::{Tokenizer, WrittenDtype, convert_e5s1, is_e5s1, open_weights};

use crate::real_weights::real_model;

fn converted() -> (tempfile::TempDir, Box<dyn TextEncoder>, EncoderTokenizer) {
    let file = real_model("multilingual-e5-small/e5-small-q4.bin");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("e5");
    assert!(is_e5s1(&file));
    convert_e5s1(&file, &out, WrittenDtype::F32, &mut |_| ()).unwrap();
    let (config, tensors) = open_weights(&out).unwrap();
    let options = LoadOptions::new(ComputeDtype::F32, &Workers::new(2));
    let encoder = encoders::load(&config, tensors.as_ref(), &options).unwrap();
    let tokenizer = EncoderTokenizer::new(Tokenizer::load(&out).unwrap(), &[].into()).unwrap();
    (folder, encoder, tokenizer)
}

/// The mean over a text's tokens, as e5 embeds texts.
fn embedding(encoder: &dyn TextEncoder, ids: &[u32]) -> Vec<f32> {
    encoder.encode(&Texts::new(&[ids])).unwrap().mean(0).unwrap().to_vec1().unwrap()
}

/// Ids and mean states that transformers gives for the same converted directory
/// (scripts/fixtures/make_e5_fixture.py). States reach 5; twelve layers of f32 sums in another order differ by some 1e-6.
#[test]
fn e5_agrees_with_transformers_and_brings_translations_together() {
    let (_folder, encoder, tokenizer) = converted();
    let recorded: Value = serde_json::from_str(include_str!("../fixtures/e5_states.json")).unwrap();
    let mut embeddings = Vec::new();
    for case in recorded.as_array().unwrap() {
        let ids = tokenizer.encode(case["text"].as_str().unwrap(), None, 512).unwrap();
        assert_eq!(serde_json::json!(ids), case["ids"], "{case}");
        let found = embedding(&*encoder, &ids);
        let expected = case["mean"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32);
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 2e-5, "{}: {found} is not {expected}", case["text"]);
        }
        embeddings.push(found);
    }
    let cosine = |a: usize, b: usize| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let (a, b) = (&embeddings[a], &embeddings[b]);
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    // The first two texts say the same, the third something else.
    assert!(cosine(0, 1) > cosine(0, 2) + 0.05, "{} {}", cosine(0, 1), cosine(0, 2));
}
