//! A tokenizer as the grammar library sees it: the bytes of every token, in a tree.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llguidance::toktrie::{TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use super::GuideError;
use crate::weights::Tokenizer;

/// The most ids that the tree can tell apart.
const VOCABULARY_MAX: usize = (1 << 21) - 1;

struct Environment {
    trie: TokTrie,
    tokenizer: Tokenizer,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        // An error of the tokenizer leaves it to the tree, which has a token for whatever the vocabulary can spell.
        let encode = |text: &str| self.tokenizer.encode(text, false).ok();
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            encode(text).unwrap_or_else(|| self.trie.greedy_tokenize(text.as_bytes()))
        })
    }

    /// The model chooses how to spell what a grammar forces: tokenizers that put a space before a text have no canonical way to
    /// go on in the middle of one.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

/// # Errors
/// `Vocabulary`: no end token among the ids, or more ids than the tree holds.
pub(super) fn of(tokenizer: &Tokenizer, end_tokens: &[u32]) -> Result<TokEnv, GuideError> {
    let size = tokenizer.vocab_size();
    if size > VOCABULARY_MAX {
        let problem = format!("it has {size} tokens, and at most {VOCABULARY_MAX} can be told apart");
        return Err(GuideError::Vocabulary(problem));
    }
    let ends: Vec<u32> = end_tokens.iter().copied().filter(|id| (*id as usize) < size).collect();
    let Some(first) = ends.first() else {
        return Err(GuideError::Vocabulary("the model has no end-of-sequence token".to_owned()));
    };
    let words: Vec<Vec<u8>> = (0..size as u32).map(|id| word(tokenizer, id)).collect();
    let info = TokRxInfo::new(size as u32, *first);
    // The tree asserts its own sizes; a tokenizer file must not end the process.
    let trie = catch_unwind(AssertUnwindSafe(|| TokTrie::from(&info, &words).with_eos_tokens(&ends)));
    let trie = trie.map_err(|_| GuideError::Vocabulary("its tokens do not fit into a tree".to_owned()))?;
    Ok(Arc::new(Environment { trie, tokenizer: tokenizer.clone() }))
}

/// Special tokens begin with a byte that no text has, so that a grammar gets them by name alone.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    /// Longer tokens (runs of white space in some vocabularies) are deeper than the tree goes.
    const BYTES_MAX: usize = 500;
    let bytes = tokenizer.token_bytes(id);
    if bytes.len() > BYTES_MAX {
        return Vec::new();
    }
    if tokenizer.is_special(id) && !bytes.is_empty() {
        return [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes.as_slice()].concat();
    }
    bytes
}
