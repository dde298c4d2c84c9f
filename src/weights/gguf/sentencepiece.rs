//! SentencePiece BPE vocabularies (`tokenizer.ggml.model = llama`): pieces with scores to a BPE model with merges.
//!
//! Follows transformers' `convert_slow_tokenizer.py`: `generate_merges` finds the merges, `LlamaConverter` (the legacy
//! one, which Llama 2's own tokenizer.json comes from, and whose prefix space after special tokens is also llama.cpp's)
//! says how text is normalised and decoded.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde_json::{Value, json};

const SPACE: &str = "\u{2581}";

/// The merges that make the vocabulary, best first: every split of a piece into two pieces, ordered by the piece's
/// score and then by the lengths of the two sides, longest first.
pub fn merges<'a>(
    tokens: &[&'a str],
    scores: &[f32],
    vocabulary: &HashMap<&'a str, u32>,
) -> Vec<(&'a str, &'a str)> {
    let mut merges = Vec::new();
    for (piece, score) in tokens.iter().zip(scores) {
        let mut splits: Vec<_> = piece
            .char_indices()
            .skip(1)
            .map(|(at, _)| piece.split_at(at))
            .filter_map(|(left, right)| Some((*vocabulary.get(left)?, *vocabulary.get(right)?, left, right)))
            .collect();
        splits.sort_by_key(|(left_id, right_id, ..)| (*left_id, *right_id));
        merges.extend(splits.into_iter().map(|(_, _, left, right)| (*score, left, right)));
    }
    let length = |text: &str| text.chars().count();
    merges.sort_by(|(score_a, left_a, right_a), (score_b, left_b, right_b)| {
        let by_score = score_b.partial_cmp(score_a).unwrap_or(Ordering::Equal);
        by_score.then_with(|| (length(left_b), length(right_b)).cmp(&(length(left_a), length(right_a))))
    });
    merges.into_iter().map(|(_, left, right)| (left, right)).collect()
}

/// Spaces become `▁`, and one is put in front of each stretch of text.
pub fn normalizer(add_space_prefix: bool) -> Value {
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE });
    if !add_space_prefix {
        return replace;
    }
    json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": SPACE }, replace] })
}

/// The way back.
pub fn decoder(add_space_prefix: bool) -> Value {
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if add_space_prefix {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    json!({ "type": "Sequence", "decoders": decoders })
}
