//! How text is split before BPE: one row for each `tokenizer.ggml.pre` that is known.
//!
//! A GGUF file names its pre-tokenizer and leaves the rest to the reader. Splits, normalisers and flags here are those
//! of the models' own tokenizer.json files; llama.cpp's `llama-vocab.cpp` says which names mean the same.

use serde_json::{Value, json};

/// What a pre-tokenizer name stands for.
pub struct PreTokenizer {
    pub normalizer: Value,
    pub splitter: Value,
    /// A word that is a token is taken whole, whatever the merges say.
    pub ignore_merges: bool,
    /// Whether a BOS is added when the file does not say.
    pub add_bos: bool,
}

const QWEN2_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN_SPLIT: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The names, for error messages.
pub const KNOWN: &str = "gpt-2, default, smollm, starcoder, refact, qwen2, deepseek-r1-qwen, llama-bpe, llama3, llama-v3, \
                         smaug-bpe and tekken";

/// The row of a name.
pub fn by_name(name: &str) -> Option<PreTokenizer> {
    let plain =
        |splitter, normalizer| PreTokenizer { normalizer, splitter, ignore_merges: false, add_bos: false };
    Some(match name {
        "gpt-2" | "default" => plain(byte_level(true), Value::Null),
        "smollm" | "starcoder" | "refact" => {
            let digits = json!({ "type": "Digits", "individual_digits": true });
            plain(sequence(&digits, &byte_level(true)), Value::Null)
        }
        "qwen2" => plain(split(QWEN2_SPLIT), json!({ "type": "NFC" })),
        "deepseek-r1-qwen" => PreTokenizer { add_bos: true, ..plain(split(QWEN2_SPLIT), Value::Null) },
        "smaug-bpe" => plain(split(LLAMA3_SPLIT), Value::Null),
        "llama-bpe" | "llama3" | "llama-v3" => {
            PreTokenizer { ignore_merges: true, add_bos: true, ..plain(split(LLAMA3_SPLIT), Value::Null) }
        }
        "tekken" => {
            PreTokenizer { ignore_merges: true, add_bos: true, ..plain(split(TEKKEN_SPLIT), Value::Null) }
        }
        _ => return None,
    })
}

/// Bytes spelled as characters; with GPT-2's own split, or after another one.
fn byte_level(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}

fn split(regex: &str) -> Value {
    let split =
        json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false });
    sequence(&split, &byte_level(false))
}

fn sequence(first: &Value, second: &Value) -> Value {
    json!({ "type": "Sequence", "pretokenizers": [first, second] })
}

#[cfg(test)]
mod tests {
    use tokenizers::{
        OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _, PreTokenizerWrapper,
    };

    use super::*;

    fn check(name: &str, text: &str, expected: &Value) {
        let pre_tokenizer = by_name(name).expect("it is known").splitter;
        let pre_tokenizer: PreTokenizerWrapper = serde_json::from_value(pre_tokenizer).expect("it is valid");
        let mut pieces = PreTokenizedString::from(text);
        pre_tokenizer.pre_tokenize(&mut pieces).expect("it splits");
        let pieces = pieces.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
        let pieces: Vec<&str> = pieces.into_iter().map(|(piece, ..)| piece).collect();
        assert_eq!(json!(pieces), *expected, "{name}: {text:?}");
    }

    /// Splits recorded from the Python library, whose regular expressions run on another engine.
    #[test]
    fn splits_are_those_of_the_python_library() {
        let recorded: Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/weights/splits.json")).expect("JSON");
        let texts = recorded["texts"].as_array().expect("texts");
        let splits = recorded["splits"].as_object().expect("a table");
        assert_eq!(splits.len(), 5);
        for (name, splits) in splits {
            for (text, expected) in texts.iter().zip(splits.as_array().expect("a list")) {
                check(name, text.as_str().expect("a text"), expected);
            }
        }
    }

    #[test]
    fn every_known_name_has_a_row() {
        for name in KNOWN.split([',', ' ']).filter(|name| !name.is_empty() && *name != "and") {
            assert!(by_name(name).is_some(), "{name}");
        }
        assert!(by_name("grok-2").is_none());
    }
}
