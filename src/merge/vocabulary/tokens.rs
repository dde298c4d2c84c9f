//! The tokens of a model with their ids, as the `tokenizers` crate numbers them when it loads the tokenizer.json.
//!
//! That crate gives an added token the id of the same token in the model's vocabulary, or the next free one counted from
//! the vocabulary's length, whatever id the file says; so ids in the file that leave gaps are not those in use.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::error::MergeError;
use super::model_files::tokenizer_json;
use crate::weights::WeightsError;

/// No vocabulary is larger; a damaged id must not become a table of that size.
const ID_MAX: u32 = 1 << 24;

/// All tokens of a tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    /// By id. An id can be missing.
    pub tokens: Vec<Token>,
    /// Added tokens whose id in the file is not the one they get: how many, and the first of them.
    pub renumbered: Option<(usize, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub id: u32,
    /// Of added tokens, which are cut out of a text before anything else is done to it.
    pub added: Option<TokenSettings>,
}

/// How an added token is found in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenSettings {
    pub single_word: bool,
    pub lstrip: bool,
    pub rstrip: bool,
    pub normalized: bool,
    pub special: bool,
}

impl Default for TokenSettings {
    /// Of a token that is added without further ado.
    fn default() -> Self {
        Self { single_word: false, lstrip: false, rstrip: false, normalized: true, special: false }
    }
}

impl Vocabulary {
    /// The vocabulary of a model's folder or GGUF file; `None` for a folder without tokenizer.json.
    ///
    /// # Errors
    /// `Weights` where the file cannot be read or is no tokenizer.json.
    pub fn open(path: &Path) -> Result<Option<Self>, MergeError> {
        tokenizer_json(path)?.map(|json| Self::from_json(&json, path)).transpose()
    }

    pub(super) fn from_json(json: &[u8], path: &Path) -> Result<Self, MergeError> {
        let file = serde_json::from_slice(json).map_err(|error| error.to_string());
        file.and_then(Self::number).map_err(|problem| invalid(path, &problem))
    }

    pub(super) fn from_value(document: &Value) -> Result<Self, String> {
        TokenizerFile::deserialize(document).map_err(|error| error.to_string()).and_then(Self::number)
    }

    fn number(file: TokenizerFile) -> Result<Self, String> {
        let entries = file.model.vocab.0;
        let mut tokens = Vec::with_capacity(entries.len() + file.added_tokens.len());
        tokens.extend(entries.into_iter().map(|(text, id)| Token { text, id, added: None }));
        let mut next = tokens.len() as u32;
        let mut renumbered: Option<(usize, String)> = None;
        let mut known: HashMap<String, usize> = HashMap::new();
        if !file.added_tokens.is_empty() {
            let wanted: HashSet<&str> =
                file.added_tokens.iter().map(|added| added.content.as_str()).collect();
            let found = tokens.iter().enumerate().filter(|(_, token)| wanted.contains(token.text.as_str()));
            known = found.map(|(at, token)| (token.text.clone(), at)).collect();
        }
        for AddedToken { id, content, settings } in file.added_tokens {
            // The crate passes over empty ones.
            if content.is_empty() {
                continue;
            }
            let at = *known.entry(content).or_insert_with_key(|text| {
                tokens.push(Token { text: text.clone(), id: next, added: None });
                next += 1;
                tokens.len() - 1
            });
            tokens[at].added = Some(settings);
            if tokens[at].id != id {
                renumbered.get_or_insert_with(|| (0, tokens[at].text.clone())).0 += 1;
            }
        }
        if let Some(token) = tokens.iter().find(|token| token.id >= ID_MAX) {
            return Err(format!("token {:?} has id {}, no vocabulary is that large", token.text, token.id));
        }
        // Stable: of two tokens with one id the added one stays last.
        tokens.sort_by_key(|token| token.id);
        Ok(Self { tokens, renumbered })
    }

    /// The ids of all tokens.
    pub fn ids(&self) -> HashMap<&str, u32> {
        self.tokens.iter().map(|token| (token.text.as_str(), token.id)).collect()
    }

    /// The highest id plus one.
    pub fn size(&self) -> usize {
        self.tokens.last().map_or(0, |token| token.id as usize + 1)
    }
}

fn invalid(path: &Path, problem: &str) -> MergeError {
    let path = if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() };
    WeightsError::Tokenizer { path, problem: format!("is not a valid tokenizer.json: {problem}") }.into()
}

#[derive(Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(flatten)]
    settings: TokenSettings,
}

#[derive(Deserialize)]
struct Model {
    vocab: Entries,
}

/// A map of tokens to ids, or Unigram's list of tokens with their scores.
struct Entries(Vec<(String, u32)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("tokens with ids, or a list of tokens with scores")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(0));
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some((text, _)) = list.next_element::<(String, IgnoredAny)>()? {
            let id = entries.len() as u32;
            entries.push((text, id));
        }
        Ok(Entries(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_are_those_of_the_crate() {
        let check = |vocab: Value, added: &[(u32, &str)], expected: &[(&str, u32)], renumbered: usize| {
            let added: Vec<Value> = added
                .iter()
                .map(|(id, text)| {
                    json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                           "normalized": false, "special": true})
                })
                .collect();
            let kind = if vocab.is_array() { "Unigram" } else { "WordLevel" };
            let mut document =
                json!({"version": "1.0", "added_tokens": added, "model": {"type": kind, "vocab": vocab}});
            if kind == "WordLevel" {
                document["model"]["unk_token"] = json!("a");
            }
            let found = Vocabulary::from_value(&document).expect("a tokenizer");
            let tokens: Vec<(&str, u32)> =
                found.tokens.iter().map(|token| (token.text.as_str(), token.id)).collect();
            assert_eq!(tokens, expected, "{document}");
            assert_eq!(found.renumbered.map_or(0, |(count, _)| count), renumbered, "{document}");
            let loaded = tokenizers::Tokenizer::from_bytes(document.to_string()).expect("a tokenizer");
            for (text, id) in expected {
                assert_eq!(loaded.token_to_id(text), Some(*id), "{text} of {document}");
            }
        };
        check(json!({"a": 0, "b": 1}), &[], &[("a", 0), ("b", 1)], 0);
        check(json!({"b": 1, "a": 0}), &[(1, "b"), (2, "c")], &[("a", 0), ("b", 1), ("c", 2)], 0);
        check(json!({"a": 0}), &[(5, "c"), (7, "d")], &[("a", 0), ("c", 1), ("d", 2)], 2);
        check(json!({"a": 0, "b": 4}), &[(4, "b")], &[("a", 0), ("b", 4)], 0);
        check(json!({"a": 0, "b": 2}), &[(2, "c"), (2, "c")], &[("a", 0), ("b", 2), ("c", 2)], 0);
        check(json!([["a", -1.5], ["b", 0]]), &[(2, "c")], &[("a", 0), ("b", 1), ("c", 2)], 0);
        check(json!({"a": 0}), &[(1, ""), (1, "c")], &[("a", 0), ("c", 1)], 0);
    }

    #[test]
    fn settings_are_read() {
        let added = json!({"id": 0, "content": "a", "lstrip": true, "normalized": false, "special": true});
        let document = json!({"added_tokens": [added], "model": {"vocab": {"a": 0, "b": 1}}});
        let found = Vocabulary::from_value(&document).expect("a tokenizer");
        let settings =
            TokenSettings { lstrip: true, normalized: false, special: true, ..TokenSettings::default() };
        assert_eq!(found.tokens[0].added, Some(settings));
        assert_eq!(found.tokens[1].added, None);
        assert_eq!((found.size(), found.ids()["b"]), (2, 1));
    }

    #[test]
    fn damaged_files_are_errors() {
        let check = |text: &str, expected: &str| {
            let error =
                Vocabulary::from_json(text.as_bytes(), Path::new("x/tokenizer.json")).expect_err(text);
            let error = error.to_string();
            assert!(
                error.starts_with("x/tokenizer.json: tokenizer: is not a valid") && error.contains(expected),
                "{error}"
            );
        };
        check("{", "EOF");
        check("{}", "missing field `model`");
        check(r#"{"model": {"vocab": 5}}"#, "expected tokens with ids");
        check(r#"{"model": {"vocab": {"a": -1}}}"#, "invalid value");
        check(r#"{"model": {"vocab": {"a": 4294967295}}}"#, "no vocabulary is that large");
    }
}
