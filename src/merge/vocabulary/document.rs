//! Changes to a tokenizer.json: tokens taken out and put in, such that the `tokenizers` crate gives all others the ids
//! they had.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::tokens::{TokenSettings, Vocabulary};

/// A tokenizer.json and its tokens.
pub struct Document {
    pub value: Value,
    pub vocabulary: Vocabulary,
}

impl Document {
    /// # Errors
    /// What is wrong with the file.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if !value["model"].is_object() {
            return Err("has no `model`".to_owned());
        }
        let vocabulary = Vocabulary::from_value(&value)?;
        Ok(Self { value, vocabulary })
    }

    /// Take out the tokens whose id is `limit` or more, with the merges that make or use them. Says how many they were.
    ///
    /// # Errors
    /// What is wrong with the file, and tokens that share an id.
    pub fn strip(&mut self, limit: usize) -> Result<usize, String> {
        let (kept, unused): (Vec<_>, Vec<_>) =
            self.vocabulary.tokens.drain(..).partition(|token| (token.id as usize) < limit);
        if unused.is_empty() {
            self.vocabulary.tokens = kept;
            return Ok(0);
        }
        let unused: HashSet<&str> = unused.iter().map(|token| token.text.as_str()).collect();
        if let Some(added) = self.value.get_mut("added_tokens").and_then(Value::as_array_mut) {
            added.retain(|entry| entry["content"].as_str().is_none_or(|text| !unused.contains(text)));
        }
        let model = &mut self.value["model"];
        match &mut model["vocab"] {
            Value::Object(vocabulary) => vocabulary.retain(|text, _| !unused.contains(text.as_str())),
            Value::Array(pieces) => pieces.truncate(limit),
            _ => {}
        }
        let prefix = model["continuing_subword_prefix"].as_str().unwrap_or_default().to_owned();
        if let Some(merges) = model.get_mut("merges").and_then(Value::as_array_mut) {
            merges.retain(|merge| {
                let Some((left, right)) = sides(merge) else { return true };
                let product = format!("{left}{}", right.get(prefix.len()..).unwrap_or(right));
                ![left, right, &product].iter().any(|text| unused.contains(text))
            });
        }
        let wanted = kept.into_iter().map(|token| (token.text, token.id)).collect();
        self.settle(&wanted)?;
        Ok(unused.len())
    }

    /// Put tokens in, after all others. One that is a token already becomes an added one and keeps its id.
    ///
    /// # Errors
    /// What is wrong with the file, and tokens that share an id.
    pub fn append(&mut self, tokens: &[(String, TokenSettings)]) -> Result<(), String> {
        if tokens.is_empty() {
            return Ok(());
        }
        let mut next = self.vocabulary.size() as u32;
        let mut wanted: HashMap<String, u32> =
            HashMap::with_capacity(self.vocabulary.tokens.len() + tokens.len());
        wanted.extend(self.vocabulary.tokens.iter().map(|token| (token.text.clone(), token.id)));
        let added = self.value.as_object_mut().ok_or("is no object")?;
        let added = added.entry("added_tokens").or_insert_with(|| json!([]));
        let added = added.as_array_mut().ok_or("`added_tokens` is no list")?;
        for (text, settings) in tokens {
            let id = *wanted.entry(text.clone()).or_insert_with(|| {
                next += 1;
                next - 1
            });
            added.push(entry(id, text, *settings));
        }
        self.settle(&wanted)
    }

    /// See to it that every token is loaded with the id that it is to have. Where the crate would count otherwise,
    /// because the vocabulary has gaps, the added tokens are put into the model's vocabulary, which states ids.
    fn settle(&mut self, wanted: &HashMap<String, u32>) -> Result<(), String> {
        self.correct_ids(wanted);
        self.vocabulary = Vocabulary::from_value(&self.value)?;
        if self.has(wanted) {
            return Ok(());
        }
        if let Some(vocabulary) = self.value["model"]["vocab"].as_object_mut() {
            state_ids(vocabulary, wanted);
        }
        self.vocabulary = Vocabulary::from_value(&self.value)?;
        let is_shared = |pair: &[super::Token]| pair[0].id == pair[1].id;
        match self.vocabulary.tokens.windows(2).find(|pair| is_shared(pair)) {
            Some(pair) => {
                Err(format!("{:?} and {:?} have the same id, {}", pair[0].text, pair[1].text, pair[0].id))
            }
            None if self.has(wanted) => Ok(()),
            None => Err("has added tokens that would change their ids".to_owned()),
        }
    }

    /// The ids in use, and the tokens in their order, in which the crate counts them.
    fn correct_ids(&mut self, wanted: &HashMap<String, u32>) {
        let Some(added) = self.value.get_mut("added_tokens").and_then(Value::as_array_mut) else { return };
        for entry in added.iter_mut() {
            if let Some(id) = entry["content"].as_str().and_then(|text| wanted.get(text)) {
                entry["id"] = json!(id);
            }
        }
        added.sort_by_key(|entry| entry["id"].as_u64());
    }

    fn has(&self, wanted: &HashMap<String, u32>) -> bool {
        let tokens = &self.vocabulary.tokens;
        tokens.len() == wanted.len() && tokens.iter().all(|token| wanted.get(&token.text) == Some(&token.id))
    }
}

fn state_ids(vocabulary: &mut Map<String, Value>, wanted: &HashMap<String, u32>) {
    let mut missing: Vec<(&String, u32)> = wanted
        .iter()
        .filter(|(text, _)| !vocabulary.contains_key(*text))
        .map(|(text, id)| (text, *id))
        .collect();
    missing.sort_unstable_by_key(|(_, id)| *id);
    vocabulary.extend(missing.into_iter().map(|(text, id)| (text.clone(), json!(id))));
}

/// An element of `added_tokens`.
fn entry(id: u32, text: &str, settings: TokenSettings) -> Value {
    let TokenSettings { single_word, lstrip, rstrip, normalized, special } = settings;
    json!({"id": id, "content": text, "single_word": single_word, "lstrip": lstrip, "rstrip": rstrip,
           "normalized": normalized, "special": special})
}

/// A merge is `"left right"` or `["left", "right"]`.
fn sides(merge: &Value) -> Option<(&str, &str)> {
    match merge {
        Value::String(line) => line.split_once(' '),
        Value::Array(pair) => match pair.as_slice() {
            [left, right] => Some((left.as_str()?, right.as_str()?)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(model: &Value, added: &[(u32, &str)]) -> Document {
        let settings = TokenSettings { special: true, normalized: false, ..TokenSettings::default() };
        let added: Vec<Value> = added.iter().map(|(id, text)| entry(*id, text, settings)).collect();
        let value = json!({"version": "1.0", "added_tokens": added, "model": model});
        Document::parse(value.to_string().as_bytes()).expect("a tokenizer")
    }

    /// All tokens of a document, checked against the crate.
    fn loaded(document: &Document) -> Vec<(String, u32)> {
        let crate_ = tokenizers::Tokenizer::from_bytes(document.value.to_string()).expect("a tokenizer");
        let mut tokens: Vec<(String, u32)> = crate_.get_vocab(true).into_iter().collect();
        tokens.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        let mut own: Vec<(String, u32)> =
            document.vocabulary.tokens.iter().map(|token| (token.text.clone(), token.id)).collect();
        own.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        assert_eq!(own, tokens);
        tokens
    }

    fn bpe(vocab: &Value, merges: &Value) -> Value {
        json!({"type": "BPE", "vocab": vocab, "merges": merges})
    }

    #[test]
    fn appended_tokens_come_last() {
        let check = |model: Value, added: &[(u32, &str)], new: &[&str], expected: &[(&str, u32)]| {
            let mut document = document(&model, added);
            let new: Vec<_> = new.iter().map(|text| ((*text).to_owned(), TokenSettings::default())).collect();
            document.append(&new).expect("appended");
            let found = loaded(&document);
            let found: Vec<(&str, u32)> = found.iter().map(|(text, id)| (text.as_str(), *id)).collect();
            assert_eq!(found, expected, "{model}");
        };
        let plain = bpe(&json!({"a": 0, "b": 1}), &json!([]));
        check(plain.clone(), &[], &["x"], &[("a", 0), ("b", 1), ("x", 2)]);
        check(plain.clone(), &[(2, "s")], &["y", "x"], &[("a", 0), ("b", 1), ("s", 2), ("y", 3), ("x", 4)]);
        check(plain, &[], &["b"], &[("a", 0), ("b", 1)]);
        let gaps = bpe(&json!({"a": 0, "b": 5}), &json!([]));
        check(gaps.clone(), &[], &["x", "y"], &[("a", 0), ("b", 5), ("x", 6), ("y", 7)]);
        check(gaps, &[(2, "s")], &["x"], &[("a", 0), ("s", 2), ("b", 5), ("x", 6)]);
        let unigram = json!({"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["b", -1.0]]});
        check(unigram, &[(2, "s")], &["x"], &[("a", 0), ("b", 1), ("s", 2), ("x", 3)]);
    }

    #[test]
    fn shared_ids_are_refused() {
        let mut document = document(&bpe(&json!({"a": 0, "b": 3, "c": 9}), &json!([])), &[(3, "s")]);
        let error = document.append(&[("x".to_owned(), TokenSettings::default())]).expect_err("an error");
        assert_eq!(error, r#""b" and "s" have the same id, 3"#);
    }

    #[test]
    fn stripped_tokens_leave_no_trace() {
        let check = |model: Value,
                     added: &[(u32, &str)],
                     limit: usize,
                     expected: &[(&str, u32)],
                     merges: Value| {
            let mut document = document(&model, added);
            let before = document.vocabulary.tokens.len();
            assert_eq!(document.strip(limit), Ok(before - expected.len()), "{model}");
            let found = loaded(&document);
            let found: Vec<(&str, u32)> = found.iter().map(|(text, id)| (text.as_str(), *id)).collect();
            assert_eq!(found, expected, "{model}");
            assert_eq!(document.value["model"].get("merges").cloned().unwrap_or_default(), merges, "{model}");
        };
        let vocab = json!({"a": 0, "b": 1, "ab": 2, "aba": 3});
        let pairs = bpe(&vocab, &json!([["a", "b"], ["ab", "a"]]));
        check(
            pairs.clone(),
            &[(4, "s")],
            9,
            &[("a", 0), ("b", 1), ("ab", 2), ("aba", 3), ("s", 4)],
            pairs["merges"].clone(),
        );
        check(pairs.clone(), &[(4, "s")], 3, &[("a", 0), ("b", 1), ("ab", 2)], json!([["a", "b"]]));
        check(pairs, &[(4, "s")], 2, &[("a", 0), ("b", 1)], json!([]));
        let lines = bpe(&vocab, &json!(["a b", "ab a"]));
        check(lines, &[], 3, &[("a", 0), ("b", 1), ("ab", 2)], json!(["a b"]));
        let gaps = bpe(&json!({"a": 0, "b": 1, "c": 9}), &json!([]));
        check(gaps, &[(3, "s")], 5, &[("a", 0), ("b", 1), ("s", 3)], json!([]));
        let unigram = json!({"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["b", -1.0]]});
        check(unigram, &[(2, "s")], 1, &[("a", 0)], Value::Null);
    }
}
