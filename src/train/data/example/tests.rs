//! Tests of `example`.

use serde_json::json;

use super::super::spans::Templates;
use super::*;
use crate::chat::ChatTemplate;
use crate::weights::{Checkpoint, Tokenizer};

/// Byte-level, with a post-processor that trims offsets, an end of turn and words.
fn byte_level() -> ModelText {
    let letters = "abcdefghijklmnopqrstuvwxyzĠĊ.:".chars().map(|c| c.to_string());
    let words = ["he", "hel", "hell", "hello", "Ġhello", "ĠĠ", "Ġy"].map(str::to_owned);
    let vocab: serde_json::Map<String, serde_json::Value> =
        letters.chain(words).enumerate().map(|(id, token)| (token, id.into())).collect();
    let special = |id: u32, content: &str| json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [special(37, "</s>"), special(38, "<end>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
                  "fuse_unk": false, "byte_fallback": false, "vocab": vocab,
                  "merges": ["h e", "he l", "hel l", "hell o", "Ġ hello", "Ġ Ġ", "Ġ y"]},
    });
    let tokenizer = Tokenizer::from_json(tokenizer.to_string().as_bytes(), "t".as_ref()).unwrap();
    ModelText { eos: tokenizer.token_to_id("</s>"), tokenizer, templates: None }
}

fn trained(example: &Example, model: &ModelText) -> Vec<String> {
    let tokens = example.ids.iter().zip(&example.trained).filter(|(_, trained)| **trained);
    tokens.map(|(id, _)| model.tokenizer.id_to_token(*id).unwrap()).collect()
}

#[test]
fn a_token_is_trained_if_any_of_its_text_is() {
    let model = byte_level();
    let check = |text: &str, span: Range<usize>, expected: &[&str]| {
        let example =
            Example::of_rendered(text, TrainedText { spans: &[span], are_turns: false }, &model).unwrap();
        assert_eq!(example.ids, model.tokenizer.encode(text, false).unwrap());
        assert_eq!(trained(&example, &model), expected, "{text:?}");
    };
    check("a hello", 2..7, &["Ġhello"]);
    check("a hello", 1..7, &["Ġhello"]);
    check("a hello", 4..5, &["Ġhello"]);
    // The first position has nothing before it.
    check("ab", 0..2, &["b"]);
    // White space of which trimmed offsets leave nothing.
    check("a:\n   y", 2..7, &["Ċ", "ĠĠ", "Ġy"]);
    check("a   y", 1..3, &["ĠĠ"]);
    check("a.b", 1..1, &[]);
}

#[test]
fn turns_end_with_their_last_special_token() {
    let model = byte_level();
    let check = |text: &str, expected: &[&str]| {
        let turn = 2..text.len();
        let spans = std::slice::from_ref(&turn);
        let example = Example::of_rendered(text, TrainedText { spans, are_turns: true }, &model).unwrap();
        assert_eq!(trained(&example, &model), expected, "{text:?}");
    };
    check("q:a<end>\n", &["a", "<end>"]);
    check("q:a<end>", &["a", "<end>"]);
    check("q:a\n", &["a", "Ċ"]);
    check("q:a<end>\nb\n", &["a", "<end>", "Ċ", "b", "Ċ"]);
}

#[test]
fn a_text_ends_with_its_end() {
    let model = byte_level();
    let check = |text: &str, from: usize, expected: &[&str]| {
        let example = Example::of_text(text, from..text.len(), &model).unwrap();
        assert_eq!(example.ids.last(), model.eos.as_ref());
        assert_eq!(trained(&example, &model), expected, "{text:?}");
    };
    check("q:hello", 2, &["hello", "</s>"]);
    check("q:hello</s>", 2, &["hello", "</s>"]);
    check("q:", 2, &["</s>"]);
    check("", 0, &[]);
}

#[test]
fn pieces_of_a_long_example_are_all_of_it() {
    let example =
        Example { ids: (0..7).collect(), trained: [false, true, true, true, true, true, true].into() };
    let pieces = example.split(3);
    assert_eq!(pieces.iter().map(|piece| piece.ids.len()).collect::<Vec<_>>(), [3, 3, 1]);
    assert_eq!(pieces[1], Example { ids: vec![3, 4, 5], trained: vec![false, true, true] });
    assert_eq!(pieces[2].trained, [false]);
}

/// What a server would send of the same conversation, and the parts that are trained.
fn check_rendered(path: &std::path::Path, template: Option<&str>, expected: &str) {
    let mut checkpoint = Checkpoint::open(path).unwrap();
    if let Some(template) = template {
        checkpoint.chat_template = Some(template.to_owned());
    }
    let model = ModelText::of(&checkpoint).unwrap();
    let messages = json!([
        {"role": "user", "content": "Wie viel ist 2 + 2?\n"}, {"role": "assistant", "content": "Vier.  \n\tOder  4."},
        {"role": "user", "content": "日本は?"}, {"role": "assistant", "content": "にほん 🙂"},
    ]);
    let line = json!({ "messages": messages }).to_string();
    let piece =
        super::super::lines::Piece { path: std::path::Path::new("a.jsonl").into(), line: 1, text: line };
    let example = super::super::supervised::Loss::default().example(&piece, &model).unwrap();
    let Templates { plain, .. } = model.templates.as_ref().unwrap();
    let rendered = whole(plain, &messages);
    assert_eq!(example.ids, model.tokenizer.encode(&rendered, false).unwrap(), "ids of a whole render");
    let ids: Vec<u32> = example
        .ids
        .iter()
        .zip(&example.trained)
        .filter(|(_, trained)| **trained)
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(model.tokenizer.decode(&ids, false).unwrap(), expected);
}

fn whole(template: &ChatTemplate, messages: &serde_json::Value) -> String {
    let kwargs = serde_json::Map::new();
    let options = crate::chat::RenderOptions {
        messages,
        tools: None,
        add_generation_prompt: false,
        continue_final_message: false,
        kwargs: &kwargs,
    };
    template.render(&options).unwrap()
}

#[test]
fn ids_are_those_of_a_whole_render() {
    let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    for model in ["llama2", "llama3", "mistral", "qwen2", "qwen3"] {
        let checkpoint = Checkpoint::open(&models.join(model)).unwrap();
        let tokenizer = &checkpoint.tokenizer;
        let answers = ["Vier.  \n\tOder  4.</s>", "にほん 🙂</s>"];
        let expected: Vec<u32> =
            answers.iter().flat_map(|answer| tokenizer.encode(answer, false).unwrap()).collect();
        check_rendered(&models.join(model), None, &tokenizer.decode(&expected, false).unwrap());
    }
}

/// The real template and tokenizer, where they are.
#[test]
fn ids_are_those_of_a_whole_render_of_smollm2() {
    let folder = std::env::var_os("XENOGLOT_MODELS").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models"),
        std::path::PathBuf::from,
    );
    let path = folder.join("SmolLM2-135M-Instruct");
    if path.exists() {
        check_rendered(&path, None, "Vier.  \n\tOder  4.<|im_end|>にほん 🙂<|im_end|>");
    }
}
