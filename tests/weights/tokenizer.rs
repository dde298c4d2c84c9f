//! Tokenizers: rebuilt from GGUF metadata, decoded at once and piece by piece.

use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;
use xenoglot::weights::{Checkpoint, IncrementalDecoder, Tokenizer};

use super::files::{check_message, check_refused, tokenizer_json};
use super::gguf_writer::{GgufWriter, Meta, tiny_llama};

fn open(gguf: &GgufWriter) -> Checkpoint {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("model.gguf");
    gguf.write(&path);
    Checkpoint::open(&path).expect("it opens")
}

fn fixture() -> Value {
    serde_json::from_str(include_str!("../fixtures/weights/sentencepiece.json")).expect("the fixture is JSON")
}

fn texts(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).expect("an array of texts")
}

/// The tiny model with the SentencePiece vocabulary of the fixture.
fn sentence_piece() -> GgufWriter {
    let fixture = fixture();
    let mut gguf = tiny_llama();
    gguf.metadata.retain(|(key, _)| !key.starts_with("tokenizer."));
    let scores: Vec<f32> = serde_json::from_value(fixture["scores"].clone()).expect("numbers");
    let types: Vec<i32> = serde_json::from_value(fixture["types"].clone()).expect("numbers");
    gguf.text("tokenizer.ggml.model", "llama")
        .set("tokenizer.ggml.tokens", Meta::Texts(texts(&fixture["tokens"])))
        .set("tokenizer.ggml.scores", Meta::F32s(scores))
        .set("tokenizer.ggml.token_type", Meta::I32s(types));
    gguf
}

#[test]
fn sentence_piece_is_transformers_conversion() {
    let (fixture, checkpoint) = (fixture(), open(&sentence_piece()));
    let ids: Vec<Vec<u32>> = serde_json::from_value(fixture["ids"].clone()).expect("ids");
    for ((text, ids), decoded) in texts(&fixture["texts"]).iter().zip(&ids).zip(texts(&fixture["decoded"])) {
        assert_eq!(&checkpoint.tokenizer.encode(text, true).expect("ids"), ids, "{text:?}");
        assert_eq!(checkpoint.tokenizer.decode(ids, false).expect("text"), decoded);
    }
    assert_eq!(checkpoint.special.bos.as_deref(), Some("<s>"));
    assert_eq!(checkpoint.eos_token_ids, [2]);
    let think = checkpoint.tokenizer.token_to_id("<think>").expect("it is a token");
    assert!(!checkpoint.tokenizer.is_special(think) && checkpoint.tokenizer.is_special(1));
}

/// llama.cpp knows it by the model's name; a file says nothing of it.
#[test]
fn added_tokens_of_phi3_take_the_space_behind_them() {
    let added: Value = serde_json::from_str(include_str!("../fixtures/weights/phi3.json")).expect("JSON");
    let mut gguf = sentence_piece();
    gguf.tensors.retain(|tensor| !tensor.name.starts_with("blk."));
    for (key, value) in &mut gguf.metadata {
        *key = key.replace("llama.", "phi3.");
        let names = texts(&added["added"]);
        match (key.as_str(), value) {
            ("tokenizer.ggml.scores", Meta::F32s(scores)) => scores.extend(names.iter().map(|_| -1000.0)),
            ("tokenizer.ggml.token_type", Meta::I32s(types)) => types.extend(names.iter().map(|_| 3)),
            ("tokenizer.ggml.tokens", Meta::Texts(tokens)) => tokens.extend(names),
            _ => {}
        }
    }
    let check = |architecture: &str, is_reference: bool| {
        let mut gguf = gguf.clone();
        for (key, _) in &mut gguf.metadata {
            *key = key.replace("phi3.", &format!("{architecture}."));
        }
        gguf.text("general.architecture", architecture);
        let tokenizer = open(&gguf).tokenizer;
        let ids: Vec<Vec<u32>> = serde_json::from_value(added["ids"].clone()).expect("ids");
        for (text, ids) in texts(&added["texts"]).iter().zip(&ids) {
            assert_eq!(&tokenizer.encode(text, true).expect("ids") == ids, is_reference, "{text:?}");
        }
    };
    check("phi3", true);
    check("llama", false);
}

#[test]
fn byte_level_adds_no_space() {
    let tokenizer = open(&tiny_llama()).tokenizer;
    let check =
        |text: &str, expected: &[u32]| assert_eq!(tokenizer.encode(text, true).expect("ids"), expected);
    check("he", &[256]);
    check(" h", &[257]);
    check(" he", &[32, 256]);
    check("12", &[u32::from(b'1'), u32::from(b'2')]);
    check("<|im_start|>he<|im_end|>", &[258, 256, 259]);
    check("é", &[0xc3, 0xa9]);
    assert_eq!(tokenizer.token_bytes(257), b" h");
    assert_eq!(tokenizer.token_bytes(0xc3), [0xc3]);
    assert_eq!(tokenizer.token_bytes(259), b"<|im_end|>");
    assert_eq!(tokenizer.token_bytes(9999), b"");
    assert_eq!(tokenizer.decode(&[256, 259, 9999], true).expect("text"), "he");
    assert_eq!(tokenizer.decode(&[256, 259], false).expect("text"), "he<|im_end|>");
}

#[test]
fn byte_fallback_tokens_are_bytes() {
    let tokenizer = open(&sentence_piece()).tokenizer;
    let id = |token: &str| tokenizer.token_to_id(token).expect("it is a token");
    assert_eq!(tokenizer.token_bytes(id("<0xE5>")), [0xe5]);
    assert_eq!(tokenizer.token_bytes(id("\u{2581}a")), b" a");
}

#[test]
fn bos_and_eos_are_added_as_the_file_says() {
    let mut gguf = tiny_llama();
    gguf.set("tokenizer.ggml.add_bos_token", Meta::Bool(true))
        .set("tokenizer.ggml.add_eos_token", Meta::Bool(true));
    let tokenizer = open(&gguf).tokenizer;
    assert_eq!(tokenizer.encode("he", true).expect("ids"), [258, 256, 259]);
    assert_eq!(tokenizer.encode("he", false).expect("ids"), [256]);
}

#[test]
fn ends_of_turns_end_generations() {
    let check = |change: &dyn Fn(&mut GgufWriter) -> &mut GgufWriter, expected: &[u32]| {
        let mut gguf = tiny_llama();
        change(&mut gguf);
        assert_eq!(open(&gguf).eos_token_ids, expected);
    };
    // The end of the text, and the end of the turn that the chat template's vocabulary has.
    check(&|gguf| gguf.set("tokenizer.ggml.eos_token_id", Meta::U32(10)), &[10, 259]);
    check(
        &|gguf| gguf.set("tokenizer.ggml.eos_token_id", Meta::U32(10)).remove("tokenizer.chat_template"),
        &[10],
    );
    check(&|gguf| gguf.set("tokenizer.ggml.eot_token_id", Meta::U32(258)), &[259, 258]);
    // Phi-3's and Gemma's, which older files have as user-defined tokens; a plain token is text.
    for (token, kind, ends) in
        [("<|end|>", 3, true), ("<end_of_turn>", 3, true), ("<end_of_turn>", 4, true), ("<|end|>", 1, false)]
    {
        let mut gguf = tiny_llama();
        for (key, value) in &mut gguf.metadata {
            match (key.as_str(), value) {
                ("tokenizer.ggml.tokens", Meta::Texts(tokens)) => token.clone_into(&mut tokens[100]),
                ("tokenizer.ggml.token_type", Meta::I32s(types)) => types[100] = kind,
                _ => {}
            }
        }
        assert_eq!(
            open(&gguf).eos_token_ids,
            if ends { vec![259, 100] } else { vec![259] },
            "{token} {kind}"
        );
    }
}

#[test]
fn wrong_tokenizers_are_named() {
    let check = |change: &dyn Fn(&mut GgufWriter) -> &mut GgufWriter, parts: &[&str]| {
        let mut gguf = tiny_llama();
        change(&mut gguf);
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().join("model.gguf");
        gguf.write(&path);
        check_refused(&path, &[&["model.gguf"], parts].concat());
    };
    check(&|gguf| gguf.text("tokenizer.ggml.pre", "grok-2"), &["`grok-2`", "not known", "smollm", "tekken"]);
    check(&|gguf| gguf.text("tokenizer.ggml.model", "t5"), &["`t5`", "`gpt2`"]);
    check(&|gguf| gguf.remove("tokenizer.ggml.model"), &["has no tokenizer"]);
    check(&|gguf| gguf.remove("tokenizer.ggml.tokens"), &["tokens` is missing"]);
    check(&|gguf| gguf.remove("tokenizer.ggml.merges"), &["merges` is missing"]);
    check(&|gguf| gguf.set("tokenizer.ggml.tokens", Meta::Texts(vec![])), &["tokens` is empty"]);
    let long = Meta::Texts(vec!["a".into(), "b".repeat(4096), "c".repeat(4097)]);
    check(
        &|gguf| gguf.text("tokenizer.ggml.model", "llama").set("tokenizer.ggml.tokens", long.clone()),
        &["tokens` has 4097 bytes in token 2, at most 4096"],
    );
    check(&|gguf| gguf.set("tokenizer.ggml.token_type", Meta::I32s(vec![1])), &["1 entries for 260 tokens"]);
    check(&|gguf| gguf.set("tokenizer.ggml.eos_token_id", Meta::U32(260)), &["260, outside the 260 tokens"]);
    check(
        &|gguf| gguf.set("tokenizer.ggml.merges", Meta::Texts(vec!["q z".into()])),
        &["\"q\" + \"z\"", "no token of the vocabulary"],
    );
    check(&|gguf| gguf.set("tokenizer.ggml.merges", Meta::Texts(vec!["qz".into()])), &["pairs of tokens"]);
    check(
        &|gguf| gguf.text("tokenizer.ggml.model", "llama").remove("tokenizer.ggml.merges"),
        &["scores` is missing"],
    );
}

#[test]
fn merges_that_would_overrun_are_refused() {
    let mut tokenizer = tokenizer_json();
    tokenizer["model"] = json!({ "type": "BPE", "vocab": { "aaaa": 0, "b": 1 }, "merges": [["aaaa", "b"]] });
    let error = Tokenizer::from_json(tokenizer.to_string().as_bytes(), Path::new("t.json"))
        .expect_err("no such token");
    check_message(&error, &["t.json", "\"aaaa\" + \"b\""]);
}

/// Tokenizers of every decoder there is, for the property below.
fn tokenizers() -> Vec<(&'static str, Tokenizer)> {
    let with_decoder = |decoder: Value| {
        let mut tokenizer = tokenizer_json();
        tokenizer["decoder"] = decoder;
        tokenizer["model"]["vocab"] = json!({
            "\u{2581}a": 0, "b": 1, "[UNK]": 2, "</s>": 3, "\u{2581}": 4, "##c": 5, "<0xE2>": 6, "<0x96>": 7,
            "<0x81>": 8, "  d": 9, "<0x+1>": 10,
        });
        Tokenizer::from_json(tokenizer.to_string().as_bytes(), Path::new("tokenizer.json")).expect("it loads")
    };
    let metaspace = |scheme: &str| {
        with_decoder(
            json!({ "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": true }),
        )
    };
    let replace = json!({ "type": "Replace", "pattern": { "String": "\u{2581}" }, "content": " " });
    let strip = json!({ "type": "Strip", "content": " ", "start": 2, "stop": 0 });
    let sequence = |decoders: Value| with_decoder(json!({ "type": "Sequence", "decoders": decoders }));
    let (fallback, fuse) = (json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" }));
    vec![
        ("byte level", open(&tiny_llama()).tokenizer),
        ("sentence piece", open(&sentence_piece()).tokenizer),
        ("none", with_decoder(Value::Null)),
        ("metaspace always", metaspace("always")),
        ("metaspace never", metaspace("never")),
        ("strip each", sequence(json!([replace, strip]))),
        ("strip once", sequence(json!([replace, fallback, fuse, strip]))),
        ("replace last", sequence(json!([fallback, fuse, replace]))),
        ("fallback after fuse", sequence(json!([fuse, fallback]))),
        ("word piece", with_decoder(json!({ "type": "WordPiece", "prefix": "##", "cleanup": true }))),
    ]
}

#[test]
fn pieces_make_the_whole() {
    for (name, tokenizer) in tokenizers() {
        // A few ids beyond the vocabulary, which decode to nothing.
        let ids = proptest::collection::vec(0..tokenizer.vocab_size() as u32 + 2, 0..40);
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
        let result = runner.run(&(ids, any::<bool>()), |(ids, skip_special)| {
            let mut decoder = IncrementalDecoder::new(tokenizer.clone(), skip_special);
            for _ in 0..2 {
                let mut pieces = String::new();
                for id in &ids {
                    pieces.push_str(&decoder.push(*id).expect("a piece"));
                }
                pieces.push_str(&decoder.finish().expect("the rest"));
                prop_assert_eq!(&pieces, &tokenizer.decode(&ids, skip_special).expect("text"));
            }
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn text_comes_as_soon_as_it_is_complete() {
    let tokenizer = open(&tiny_llama()).tokenizer;
    let mut decoder = IncrementalDecoder::new(tokenizer, true);
    let mut push = |id: u32| decoder.push(id).expect("a piece");
    assert_eq!(push(256), "he");
    assert_eq!(push(0xf0), "");
    assert_eq!(push(0x9f), "");
    assert_eq!(push(0x98), "");
    assert_eq!(push(0x80), "\u{1f600}");
    assert_eq!(push(0xe2), "");
    assert_eq!(push(u32::from(b'!')), "\u{fffd}!");
    assert_eq!(push(259), "");
    assert_eq!(push(0xe2), "");
    assert_eq!(decoder.finish().expect("the rest"), "\u{fffd}");
}
