//! The vocabulary of an E5S1 file as a tokenizer.json: XLM-R's, a unigram model with `<s>` and `</s>` around a text.
//!
//! SentencePiece's table of normalised characters is NFKC with some characters left out and others taken for spaces. Where
//! NFKC joins characters that the table takes one by one, the ids of such a text may differ from the original's.

use serde_json::{Value, json};

use super::file::Vocabulary;

/// SentencePiece's sign for a space.
const SPACE: &str = "▁";

pub fn tokenizer_json(vocabulary: &Vocabulary) -> Value {
    let Vocabulary { pieces, bos, eos, pad, unk, removed, spaces } = vocabulary;
    let special = |id: &u32| {
        json!({
            "id": id, "content": pieces[*id as usize].0, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    let replace = |pattern: String, content: &str| json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": content});
    let added = [bos, pad, eos, unk].map(special);
    let mut normalizers = Vec::new();
    for (characters, content) in [(removed, ""), (spaces, " ")] {
        if !characters.is_empty() {
            normalizers.push(replace(class(characters), content));
        }
    }
    normalizers.push(json!({"type": "NFKC"}));
    normalizers.push(replace(" {2,}".to_owned(), " "));
    let metaspace =
        json!({"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": post_processor(vocabulary),
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": unk, "vocab": pieces, "byte_fallback": false},
    })
}

pub fn tokenizer_config(config: &Value) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": config["max_position_embeddings"],
        "bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>",
        "pad_token": "<pad>",
    })
}

fn post_processor(vocabulary: &Vocabulary) -> Value {
    let Vocabulary { pieces, bos, eos, .. } = vocabulary;
    let [(first, _), (last, _)] = [bos, eos].map(|id| &pieces[*id as usize]);
    let token = |content: &str| json!({"SpecialToken": {"id": content, "type_id": 0}});
    let text = |which: &str| json!({"Sequence": {"id": which, "type_id": 0}});
    json!({
        "type": "TemplateProcessing",
        "single": [token(first), text("A"), token(last)],
        "pair": [token(first), text("A"), token(last), token(last), text("B"), token(last)],
        "special_tokens": {
            first: {"id": first, "ids": [bos], "tokens": [first]},
            last: {"id": last, "ids": [eos], "tokens": [last]},
        },
    })
}

/// A regular expression for one of the characters.
fn class(characters: &[char]) -> String {
    let escaped: Vec<String> = characters.iter().map(|c| format!("\\x{{{:x}}}", u32::from(*c))).collect();
    format!("[{}]", escaped.concat())
}
