//! A check of BPE merges that the `tokenizers` crate leaves out.
//!
//! The crate concatenates the two sides of a merge in a buffer as long as the longest token before it asks whether
//! the result is a token, so that a damaged file panics there; and it cuts a continuation prefix off without asking
//! whether the cut is inside a character.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
struct TokenizerFile {
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    vocab: Vocabulary,
    #[serde(default)]
    merges: Vec<Merge>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vocabulary {
    Map(HashMap<String, u32>),
    /// Unigram: pairs of piece and score; it has no merges.
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

/// Refuses merges whose result is not a token. A file that is no tokenizer.json at all is left to the real parser.
pub fn check(json: &[u8]) -> Result<(), String> {
    let Ok(file) = serde_json::from_slice::<TokenizerFile>(json) else { return Ok(()) };
    let Vocabulary::Map(vocabulary) = &file.model.vocab else { return Ok(()) };
    let prefix = file.model.continuing_subword_prefix.unwrap_or_default();
    for merge in &file.model.merges {
        let (left, right) = match merge {
            Merge::Pair(left, right) => (left.as_str(), right.as_str()),
            Merge::Line(line) if line.starts_with("#version") => continue,
            Merge::Line(line) => line.split_once(' ').unwrap_or((line, "")),
        };
        let merged = right.get(prefix.len()..).map(|rest| format!("{left}{rest}"));
        if !merged.is_some_and(|merged| vocabulary.contains_key(&merged)) {
            return Err(format!(
                "merge {left:?} + {right:?} makes no token of the vocabulary; download it again"
            ));
        }
    }
    Ok(())
}
