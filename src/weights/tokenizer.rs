//! Text to token ids and back: the `tokenizers` crate behind a cheap handle with checked loading.
//!
//! Truncation and padding that a tokenizer.json may carry are dropped: they belong to training scripts, and a
//! prompt must never be cut silently.

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::WeightsError;
use super::directory::read_bytes;
use super::incremental::Decoding;
use super::merges;

/// A tokenizer, shared by clones.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    tokenizer: tokenizers::Tokenizer,
    decoding: Decoding,
    base_vocab_size: usize,
    vocab_size: usize,
}

impl Tokenizer {
    /// Loads a tokenizer.json, named itself or by its directory.
    pub fn load(path: &Path) -> Result<Self, WeightsError> {
        let path = if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() };
        if !path.is_file() {
            let problem = "is missing; a model without it is converted in Python by \
                AutoTokenizer.from_pretrained(dir).save_pretrained(dir)";
            return Err(WeightsError::Tokenizer { path, problem: problem.into() });
        }
        Self::from_json(&read_bytes(&path)?, &path)
    }

    /// Builds a tokenizer from the bytes of a tokenizer.json; `path` is named in errors.
    pub fn from_json(json: &[u8], path: &Path) -> Result<Self, WeightsError> {
        let fail = |problem: String| WeightsError::Tokenizer { path: path.to_owned(), problem };
        merges::check(json).map_err(fail)?;
        // The crate indexes and unwraps in corners of this large format; a file must not end the process.
        let parsed = catch_unwind(AssertUnwindSafe(|| tokenizers::Tokenizer::from_bytes(json)))
            .map_err(|_| fail("is damaged: its parts contradict each other".into()))?;
        let mut tokenizer =
            parsed.map_err(|error| fail(format!("is not a valid tokenizer.json: {error}")))?;
        tokenizer.with_truncation(None).map_err(|error| fail(error.to_string()))?;
        tokenizer.with_padding(None);
        let decoder = tokenizer.get_decoder().map(serde_json::to_value).transpose();
        let decoder: Option<Value> = decoder.map_err(|error| fail(error.to_string()))?;
        let size =
            |with_added| tokenizer.get_vocab(with_added).into_values().max().map_or(0, |id| id as usize + 1);
        let (base_vocab_size, vocab_size) = (size(false), size(true));
        if vocab_size == 0 {
            return Err(fail("has no tokens".into()));
        }
        let decoding = Decoding::of(decoder.as_ref());
        let path = path.to_owned();
        Ok(Self { inner: Arc::new(Inner { path, tokenizer, decoding, base_vocab_size, vocab_size }) })
    }

    /// The ids of a text. `add_special_tokens` adds what the tokenizer's post-processor adds (often a BOS); special
    /// tokens written out in the text are recognised either way.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, WeightsError> {
        let encoding = self.inner.tokenizer.encode_fast(text, add_special_tokens);
        encoding.map(|encoding| encoding.get_ids().to_vec()).map_err(|error| self.error(&error))
    }

    /// As [`Self::encode`], the same ids, each with the bytes of `text` that it stands for. Tokens that stand for none,
    /// such as those a post-processor adds, have an empty range.
    pub fn encode_with_offsets(
        &self,
        text: &str,
        add_special_tokens: bool,
    ) -> Result<Vec<(u32, Range<usize>)>, WeightsError> {
        let encoding = self.inner.tokenizer.encode(text, add_special_tokens);
        let encoding = encoding.map_err(|error| self.error(&error))?;
        let ranges = encoding.get_offsets().iter().map(|(start, end)| *start..*end);
        Ok(encoding.get_ids().iter().copied().zip(ranges).collect())
    }

    /// The text of ids. Ids outside the vocabulary (padding rows of an embedding) are skipped, as in transformers.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, WeightsError> {
        self.inner.tokenizer.decode(ids, skip_special).map_err(|error| self.error(&error))
    }

    /// The exact bytes of one token in the middle of a text, which need not be UTF-8; empty for an unknown id.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.id_to_token(id).map(|token| self.inner.decoding.token_bytes(&token)).unwrap_or_default()
    }

    /// The vocabulary's own spelling of a token (`Ġhello`, `▁hello`, `<0x0A>`).
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.tokenizer.id_to_token(id)
    }

    /// The id of a token in the vocabulary's own spelling.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.tokenizer.token_to_id(token)
    }

    /// Whether the id is a special token, which `decode` can skip.
    pub fn is_special(&self, id: u32) -> bool {
        self.id_to_token(id).is_some_and(|token| self.is_special_token(&token))
    }

    /// The highest id plus one without the added tokens.
    pub fn base_vocab_size(&self) -> usize {
        self.inner.base_vocab_size
    }

    /// The highest id plus one. The model's embedding may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.inner.vocab_size
    }

    /// The tokenizer.json of this tokenizer.
    pub fn to_json(&self) -> Result<String, WeightsError> {
        self.inner.tokenizer.to_string(false).map_err(|error| self.error(&error))
    }

    pub(super) fn is_special_token(&self, token: &str) -> bool {
        self.inner.tokenizer.get_added_vocabulary().is_special_token(token)
    }

    pub(super) fn decoding(&self) -> &Decoding {
        &self.inner.decoding
    }

    fn error(&self, error: &dyn fmt::Display) -> WeightsError {
        WeightsError::Tokenizer { path: self.inner.path.clone(), problem: error.to_string() }
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Inner { path, vocab_size, .. } = &*self.inner;
        formatter
            .debug_struct("Tokenizer")
            .field("path", path)
            .field("vocab_size", vocab_size)
            .finish_non_exhaustive()
    }
}
