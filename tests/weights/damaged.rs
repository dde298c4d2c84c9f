//! Truncated, bit-flipped and random files: always an error or a checkpoint that reads, never a panic.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;
use xenoglot::weights::{Checkpoint, Tokenizer};

use super::files::{directory, one_tensor, tokenizer_json};
use super::gguf_writer::tiny_llama;

/// Opens what may be damaged and reads all that it claims to have.
fn read_everything(path: &Path) {
    let Ok(checkpoint) = Checkpoint::open(path) else { return };
    for name in checkpoint.tensors.names() {
        if let Ok(view) = checkpoint.tensors.tensor(&name) {
            assert_eq!(view.to_f32().expect("what opens reads").len(), view.elements());
        }
    }
    if let Ok(ids) = checkpoint.tokenizer.encode("Hello he 12 caf\u{e9}", true) {
        let _ = checkpoint.tokenizer.decode(&ids, true);
    }
}

/// Where the header of the tiny model ends and its tensors begin.
fn header_end(bytes: &[u8]) -> usize {
    bytes.windows(8).rposition(|window| window == b".weight\x02").map_or(bytes.len(), |at| at + 48)
}

fn check_gguf(bytes: &[u8]) {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("model.gguf");
    fs::write(&path, bytes).expect("written");
    read_everything(&path);
}

fn check_safetensors(bytes: &[u8]) {
    let directory = directory();
    fs::write(directory.path().join("model.safetensors"), bytes).expect("written");
    read_everything(directory.path());
}

#[test]
fn every_truncation_of_a_gguf_file_is_refused() {
    let bytes = tiny_llama().bytes();
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("model.gguf");
    for length in (0..header_end(&bytes)).step_by(7).chain((header_end(&bytes)..bytes.len()).step_by(997)) {
        fs::write(&path, &bytes[..length]).expect("written");
        let error = Checkpoint::open(&path).map(|_| ()).expect_err("it is truncated");
        let message = error.to_string();
        assert!(
            message.contains("model.gguf") && message.contains("download it again"),
            "{length}: {message}"
        );
    }
}

#[test]
fn every_truncation_of_a_safetensors_file_is_refused() {
    let bytes = one_tensor();
    let directory = directory();
    for length in 0..bytes.len() {
        fs::write(directory.path().join("model.safetensors"), &bytes[..length]).expect("written");
        let error = Checkpoint::open(directory.path()).map(|_| ()).expect_err("it is truncated");
        assert!(error.to_string().contains("truncated"), "{length}: {error}");
    }
}

#[test]
fn every_byte_of_a_safetensors_header_may_be_wrong() {
    let bytes = one_tensor();
    for at in 0..bytes.len() - 16 {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            check_safetensors(&damaged);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn flipped_bits_in_a_gguf_header(flips in proptest::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 1..6)) {
        let mut bytes = tiny_llama().bytes();
        let end = header_end(&bytes);
        for (at, bit) in flips {
            bytes[at.index(end)] ^= 1 << bit;
        }
        check_gguf(&bytes);
    }

    #[test]
    fn overwritten_words_in_a_gguf_header(at in any::<prop::sample::Index>(), word in prop_oneof![Just(u64::MAX), Just(u64::MAX / 2 + 1), Just(1 << 40), 0..300_u64, any::<u64>()]) {
        let mut bytes = tiny_llama().bytes();
        let at = at.index(header_end(&bytes) - 8);
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        check_gguf(&bytes);
    }

    #[test]
    fn random_bytes_after_a_good_start(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check_gguf(&bytes);
        check_gguf(&[b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0", &bytes[..]].concat());
        check_safetensors(&bytes);
    }

    #[test]
    fn damaged_tokenizers(at in any::<prop::sample::Index>(), length in 0..12_usize, junk in "[\\[\\]{}:,\"a0-9\\\\-]{0,6}") {
        let mut text = tokenizer_json().to_string();
        let start = at.index(text.len());
        let end = (start + length).min(text.len());
        if text.is_char_boundary(start) && text.is_char_boundary(end) {
            text.replace_range(start..end, &junk);
        }
        if let Ok(tokenizer) = Tokenizer::from_json(text.as_bytes(), Path::new("tokenizer.json")) {
            let _ = tokenizer.encode("a b c", true);
        }
    }
}
