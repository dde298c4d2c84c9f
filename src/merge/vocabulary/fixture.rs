//! Folders with tiny models, for the tests.

use std::fs;
use std::path::PathBuf;

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::super::inputs::InputModel;

pub const COLUMNS: usize = 4;

/// A model of nothing but embeddings, `[rows, 4]`; row r holds r, r + 0.25, r + 0.5, r + 0.75, plus an offset.
pub struct Folder {
    folder: TempDir,
}

impl Folder {
    pub fn new(rows: usize) -> Self {
        Self::with(rows, rows, 0.0)
    }

    pub fn with(rows: usize, vocab_size: usize, offset: f32) -> Self {
        let folder = TempDir::new().expect("a folder");
        let config = json!({"architectures": ["LlamaForCausalLM"], "vocab_size": vocab_size});
        fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
        let values = (0..rows * COLUMNS).flat_map(|at| (at as f32 / COLUMNS as f32 + offset).to_le_bytes());
        let bytes: Vec<u8> = values.collect();
        let view = TensorView::new(Dtype::F32, vec![rows, COLUMNS], &bytes).expect("a tensor");
        let file = folder.path().join("model.safetensors");
        serialize_to_file([("model.embed_tokens.weight", view)], None, &file).expect("written");
        Self { folder }
    }

    /// A tokenizer of words, which are numbered.
    pub fn vocabulary<T: AsRef<str>>(self, words: &[T]) -> Self {
        let vocab: Map<String, Value> =
            words.iter().enumerate().map(|(id, word)| (word.as_ref().to_owned(), json!(id))).collect();
        self.tokenizer(&Value::Object(vocab), &[])
    }

    /// A tokenizer of words with ids, and special tokens.
    pub fn tokenizer(self, vocab: &Value, special: &[(u32, &str)]) -> Self {
        let added: Vec<Value> = special
            .iter()
            .map(|(id, text)| {
                json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                       "normalized": false, "special": true})
            })
            .collect();
        let unknown = vocab.as_object().and_then(|vocab| vocab.keys().next()).cloned().unwrap_or_default();
        let model = json!({"type": "WordLevel", "unk_token": unknown, "vocab": vocab});
        let document = json!({"version": "1.0", "added_tokens": added, "model": model});
        self.file("tokenizer.json", &document.to_string())
    }

    pub fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.folder.path().join(name), text).expect("written");
        self
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Named by its path.
    pub fn open(&self) -> InputModel {
        let reference = self.path().display().to_string().parse().expect("a reference");
        InputModel::open(&reference, &|path, _| Ok(path.into())).expect("a model")
    }
}
