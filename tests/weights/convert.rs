//! A converted directory says what its GGUF file says, and is whole or absent.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use xenoglot::weights::{
    Checkpoint, CheckpointDtype, WeightsError, WrittenDtype, convert_gguf, convert_gguf_in_shards,
};

use super::gguf_writer::tiny_llama;

fn fixture() -> TempDir {
    let directory = TempDir::new().expect("a temporary directory");
    tiny_llama().write(&directory.path().join("model.gguf"));
    directory
}

fn convert(directory: &Path, out: &str, dtype: WrittenDtype) -> Result<(), WeightsError> {
    convert_gguf(&directory.join("model.gguf"), &directory.join(out), dtype, &mut |_| {})
}

/// Both checkpoints hold the same tensors, configuration and tokenizer.
fn check_same(gguf: &Checkpoint, converted: &Checkpoint) {
    assert_eq!(gguf.tensors.names(), converted.tensors.names());
    for name in gguf.tensors.names() {
        let [a, b] =
            [gguf, converted].map(|checkpoint| checkpoint.tensors.tensor(&name).expect("it is there"));
        assert_eq!(a.shape, b.shape, "{name}");
        assert_eq!(a.to_f32().expect("f32"), b.to_f32().expect("f32"), "{name}");
    }
    let mut config = converted.config.clone();
    config.as_object_mut().expect("an object").remove("torch_dtype").expect("it is stated");
    assert_eq!(config, gguf.config);
    assert_eq!(converted.generation_config, gguf.generation_config);
    assert_eq!(converted.special, gguf.special);
    assert_eq!(converted.chat_template, gguf.chat_template);
    assert_eq!(converted.eos_token_ids, gguf.eos_token_ids);
    for text in ["hello there <|im_end|> 123", "caf\u{e9} \u{1f600}", ""] {
        let [a, b] =
            [gguf, converted].map(|checkpoint| checkpoint.tokenizer.encode(text, true).expect("ids"));
        assert_eq!(a, b, "{text:?}");
    }
}

#[test]
fn a_directory_is_its_gguf_file() {
    let directory = fixture();
    let gguf = Checkpoint::open(&directory.path().join("model.gguf")).expect("it opens");
    for (out, dtype, expected) in [
        ("f32", WrittenDtype::F32, CheckpointDtype::F32),
        ("bf16", WrittenDtype::Bf16, CheckpointDtype::Bf16),
    ] {
        convert(directory.path(), out, dtype).expect("it converts");
        let converted = Checkpoint::open(&directory.path().join(out)).expect("it opens");
        assert_eq!(converted.dtype, expected);
        check_same(&gguf, &converted);
    }
}

#[test]
fn large_models_are_sharded() {
    let directory = fixture();
    let (gguf, out) = (directory.path().join("model.gguf"), directory.path().join("out"));
    let mut tensors = 0;
    convert_gguf_in_shards(9000, &gguf, &out, WrittenDtype::F32, &mut |progress| {
        assert_eq!(progress.tensors_done, tensors);
        tensors += 1;
        assert_eq!(progress.tensors_total, 20);
    })
    .expect("it converts");
    assert!(out.join("model.safetensors.index.json").is_file());
    assert!(!out.join("model.safetensors").exists());
    check_same(&Checkpoint::open(&gguf).expect("it opens"), &Checkpoint::open(&out).expect("it opens"));
}

#[test]
fn only_an_empty_target_is_filled() {
    let directory = fixture();
    fs::create_dir(directory.path().join("empty")).expect("created");
    convert(directory.path(), "empty", WrittenDtype::Bf16).expect("an empty directory is taken");
    let error = convert(directory.path(), "empty", WrittenDtype::Bf16).expect_err("it is full now");
    assert!(matches!(error, WeightsError::TargetExists { .. }), "{error}");
    let error = convert(directory.path(), "model.gguf", WrittenDtype::Bf16).expect_err("a file is there");
    assert!(matches!(error, WeightsError::TargetExists { .. }), "{error}");
}

#[test]
fn a_failure_leaves_nothing() {
    let directory = fixture();
    let path = directory.path().join("model.gguf");
    let bytes = fs::read(&path).expect("read");
    fs::write(&path, &bytes[..bytes.len() - 1]).expect("written");
    convert(directory.path(), "out", WrittenDtype::F32).expect_err("it is truncated");
    let left: Vec<_> =
        fs::read_dir(directory.path()).expect("read").map(|entry| entry.expect("read").file_name()).collect();
    assert_eq!(left, ["model.gguf"]);
}

#[test]
fn a_panic_or_an_interruption_leaves_no_target() {
    let directory = fixture();
    let (gguf, out) = (directory.path().join("model.gguf"), directory.path().join("out"));
    let stopped = std::panic::catch_unwind(|| {
        convert_gguf(&gguf, &out, WrittenDtype::F32, &mut |progress| {
            assert!(progress.tensors_done < 3, "stop here");
        })
    });
    assert!(stopped.is_err());
    assert_eq!(fs::read_dir(directory.path()).expect("read").count(), 1);
}
