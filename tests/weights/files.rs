//! Temporary checkpoints: safetensors bytes, tokenizer.json texts and whole directories.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use xenoglot::weights::{Checkpoint, WeightsError};

/// A safetensors file with this header and data.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// Header and data of one F32 tensor `w` of shape [2, 2].
pub fn one_tensor() -> Vec<u8> {
    let data: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    safetensors(r#"{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}   "#, &data)
}

/// A word-level tokenizer of a few words and `</s>`.
pub fn tokenizer_json() -> Value {
    json!({
        "version": "1.0",
        "truncation": { "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0 },
        "padding": null,
        "added_tokens": [{
            "id": 3, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        }],
        "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": null,
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": { "a": 0, "b": 1, "[UNK]": 2, "</s>": 3 }, "unk_token": "[UNK]" }
    })
}

/// A directory that opens.
pub fn directory() -> TempDir {
    let directory = TempDir::new().expect("a temporary directory");
    write(directory.path(), "config.json", br#"{"model_type":"llama","eos_token_id":3}"#);
    write(directory.path(), "tokenizer.json", tokenizer_json().to_string().as_bytes());
    write(directory.path(), "model.safetensors", &one_tensor());
    directory
}

pub fn write(directory: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(directory.join(name), bytes).expect("the fixture is written");
}

/// Opening `path` fails, and the message holds every one of `parts`.
pub fn check_refused(path: &Path, parts: &[&str]) {
    let error = Checkpoint::open(path).map(|_| ()).expect_err("it must not open");
    check_message(&error, parts);
}

pub fn check_message(error: &WeightsError, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}
