//! The token that a MindMerger sequence begins with.

use crate::model::ModelError;
use crate::weights::Checkpoint;

/// The token that a MindMerger sequence begins with: the tokenizer's BOS, else the config's.
///
/// # Errors
/// `Contradiction` for a language model that names none.
pub fn beginning(llm: &Checkpoint) -> Result<u32, ModelError> {
    let of_tokenizer = llm.special.bos.as_deref().and_then(|token| llm.tokenizer.token_to_id(token));
    let in_vocabulary = |id: &u32| (*id as usize) < llm.tokenizer.vocab_size();
    let of_config =
        || llm.config["bos_token_id"].as_u64().and_then(|id| u32::try_from(id).ok()).filter(in_vocabulary);
    of_tokenizer.or_else(of_config).ok_or_else(|| {
        ModelError::contradiction(
            "a MindMerger sequence begins with the language model's BOS, and it has none",
            "name one as `bos_token` in its tokenizer_config.json, the one that the mapping was trained with",
        )
    })
}
