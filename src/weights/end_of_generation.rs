//! Tokens that end a turn, for models whose files leave them out of the ids that end a generation.

use super::Tokenizer;

/// In one chat format or another, as llama.cpp lists them.
pub const END_OF_GENERATION: [&str; 14] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|return|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eos|>",
    "<EOT>",
    "_<EOT>",
    "<end_of_utterance>",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
    "</s>",
];

/// Those that a chat template writes and a tokenizer has as special tokens.
pub fn in_template<'a>(template: &'a str, tokenizer: &'a Tokenizer) -> impl Iterator<Item = u32> + 'a {
    let written = END_OF_GENERATION.into_iter().filter(|token| template.contains(*token));
    written.filter_map(|token| tokenizer.token_to_id(token)).filter(|id| tokenizer.is_special(*id))
}
