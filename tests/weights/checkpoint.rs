//! Hugging Face directories: their JSON files, and what is said when one is missing or wrong.

use std::path::Path;

use tempfile::TempDir;
use xenoglot::weights::{Checkpoint, CheckpointDtype};

use super::files::{check_refused, directory, safetensors, tokenizer_json, write};
use super::gguf_writer::tiny_llama;

/// A directory with `file` replaced is refused with `parts`.
fn check_with(file: &str, bytes: &[u8], parts: &[&str]) {
    let directory = directory();
    write(directory.path(), file, bytes);
    check_refused(directory.path(), &[&[file], parts].concat());
}

fn check_without(file: &str, parts: &[&str]) {
    let directory = directory();
    std::fs::remove_file(directory.path().join(file)).expect("it was there");
    check_refused(directory.path(), parts);
}

fn open_with(files: &[(&str, &str)]) -> Checkpoint {
    let directory = directory();
    for (name, text) in files {
        write(directory.path(), name, text.as_bytes());
    }
    Checkpoint::open(directory.path()).expect("it opens")
}

#[test]
fn what_is_no_model_is_told() {
    check_refused(
        Path::new("/nowhere/at/all"),
        &["/nowhere/at/all", "does not exist", "*.gguf", "config.json"],
    );
    let empty = TempDir::new().expect("a temporary directory");
    check_refused(empty.path(), &["has no config.json"]);
    write(empty.path(), "notes.txt", b"hello");
    check_refused(&empty.path().join("notes.txt"), &["notes.txt", "is not a model"]);
    check_without("config.json", &["has no config.json"]);
    check_without("model.safetensors", &["neither model.safetensors nor"]);
    check_without("tokenizer.json", &["tokenizer.json", "is missing", "save_pretrained"]);
    let pickled = directory();
    std::fs::rename(pickled.path().join("model.safetensors"), pickled.path().join("pytorch_model.bin"))
        .expect("moved");
    check_refused(pickled.path(), &["pytorch_model.bin", "neither of the two formats of torch.save"]);
}

/// As a pull leaves it: the directory of a repository, and the GGUF files that were asked for.
#[test]
fn a_directory_with_one_gguf_file_is_that_file() {
    let folder = TempDir::new().expect("a temporary directory");
    tiny_llama().write(&folder.path().join("b.gguf"));
    write(folder.path(), "README.md", b"");
    let checkpoint = Checkpoint::open(folder.path()).expect("it opens");
    assert_eq!(checkpoint.path, folder.path().join("b.gguf"));
    write(folder.path(), "a.gguf", b"");
    check_refused(folder.path(), &["2 GGUF files (a.gguf, b.gguf)", "name one of them", "a.gguf"]);
}

#[test]
fn broken_json_is_located() {
    check_with("config.json", b"{\n  \"a\": ,\n}", &["line 2 column"]);
    check_with("config.json", b"[]", &["not a JSON object"]);
    check_with(
        "generation_config.json",
        b"{\"eos_token_id\": \"x\"}",
        &["`eos_token_id` must be a token id"],
    );
    check_with(
        "generation_config.json",
        b"{\"eos_token_id\": -1}",
        &["`eos_token_id` must be a token id", "-1"],
    );
    check_with("generation_config.json", b"{\"eos_token_id\": [1.5]}", &["`eos_token_id`", "1.5"]);
    check_with("tokenizer_config.json", b"{", &["is not valid"]);
    check_with("tokenizer.json", b"{}", &["not a valid tokenizer.json"]);
    check_with("chat_template.jinja", b"\xff", &["not UTF-8"]);
}

#[test]
fn special_tokens_are_strings_or_objects() {
    let checkpoint = open_with(&[
        (
            "tokenizer_config.json",
            r#"{"bos_token":"a","eos_token":{"content":"</s>","lstrip":false},"pad_token":null}"#,
        ),
        ("special_tokens_map.json", r#"{"pad_token":"b","unk_token":{"content":"[UNK]"}}"#),
    ]);
    let special = checkpoint.special;
    assert_eq!(special.bos.as_deref(), Some("a"));
    assert_eq!(special.eos.as_deref(), Some("</s>"));
    assert_eq!(special.pad.as_deref(), Some("b"));
    assert_eq!(special.unk.as_deref(), Some("[UNK]"));
}

#[test]
fn the_ids_that_end_a_generation() {
    let check =
        |files: &[(&str, &str)], expected: &[u32]| assert_eq!(open_with(files).eos_token_ids, expected);
    check(&[], &[3]);
    check(&[("generation_config.json", r#"{"eos_token_id":1}"#)], &[1]);
    check(&[("generation_config.json", r#"{"eos_token_id":[1,2,1]}"#)], &[1, 2]);
    check(&[("generation_config.json", r#"{"temperature":0.5}"#)], &[3]);
    check(&[("config.json", "{}")], &[]);
    check(
        &[
            ("generation_config.json", r#"{"eos_token_id":1}"#),
            ("tokenizer_config.json", r#"{"eos_token":"</s>"}"#),
        ],
        &[1, 3],
    );
}

/// As in the first files of Gemma 2, whose generation_config has the end of a text alone.
#[test]
fn an_end_of_turn_that_the_template_writes_ends_a_generation() {
    let check = |token: &str, is_special: bool, template: &str, expected: &[u32]| {
        let mut tokenizer = tokenizer_json();
        tokenizer["added_tokens"].as_array_mut().expect("a list").push(serde_json::json!({
            "id": 4, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": is_special
        }));
        let checkpoint = open_with(&[
            ("tokenizer.json", &tokenizer.to_string()),
            ("generation_config.json", r#"{"eos_token_id":1}"#),
            ("chat_template.jinja", template),
        ]);
        assert_eq!(checkpoint.eos_token_ids, expected, "{token} in {template}");
    };
    check("<end_of_turn>", true, "{{ m }}<end_of_turn>", &[1, 4]);
    check("<|end|>", true, "{{ m + '<|end|>' }}", &[1, 4]);
    check("<|end|>", true, "{{ m }}", &[1]);
    check("<|end|>", false, "{{ m + '<|end|>' }}", &[1]);
    check("<|user|>", true, "<|user|>{{ m }}", &[1]);
}

#[test]
fn chat_templates_are_found() {
    let check = |files: &[(&str, &str)], expected: Option<&str>| {
        assert_eq!(open_with(files).chat_template.as_deref(), expected);
    };
    let named = r#"{"chat_template":[{"name":"tools","template":"t"},{"name":"default","template":"d"}]}"#;
    check(&[], None);
    check(&[("tokenizer_config.json", r#"{"chat_template":"x"}"#)], Some("x"));
    check(&[("tokenizer_config.json", named)], Some("d"));
    check(&[("chat_template.json", r#"{"chat_template":"j"}"#)], Some("j"));
    check(&[("tokenizer_config.json", named), ("chat_template.jinja", "f")], Some("f"));
}

#[test]
fn the_dtype_is_that_of_most_bytes() {
    let check = |header: &str, expected| {
        let directory = directory();
        write(directory.path(), "model.safetensors", &safetensors(header, &[0; 16]));
        assert_eq!(Checkpoint::open(directory.path()).expect("it opens").dtype, expected);
    };
    let entry = |name: &str, dtype: &str, elements: usize, start: usize, end: usize| {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":[{elements}],"data_offsets":[{start},{end}]}}"#)
    };
    check(
        &format!("{{{},{}}}", entry("a", "F32", 1, 0, 4), entry("b", "BF16", 6, 4, 16)),
        CheckpointDtype::Bf16,
    );
    check(
        &format!("{{{},{}}}", entry("a", "F32", 3, 0, 12), entry("b", "BF16", 2, 12, 16)),
        CheckpointDtype::F32,
    );
    check(&format!("{{{}}}", entry("a", "F16", 8, 0, 16)), CheckpointDtype::F16);
}

#[test]
fn a_tokenizers_truncation_is_dropped() {
    let checkpoint = open_with(&[("tokenizer.json", &tokenizer_json().to_string())]);
    assert_eq!(checkpoint.tokenizer.encode("a b a b a", true).expect("ids"), [0, 1, 0, 1, 0]);
    assert!(checkpoint.tokenizer.is_special(3) && !checkpoint.tokenizer.is_special(0));
    assert_eq!(checkpoint.tokenizer.vocab_size(), 4);
}
