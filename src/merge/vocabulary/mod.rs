//! Merges of models with different vocabularies: the vocabulary of the output, and where each row of each model's
//! embeddings comes from.
//!
//! Follows the `tokenizer` and `chat_template` of mergekit 0.1.5, with these departures. A union's new tokens are in the
//! order of the models and of their ids. Rules name any model of the merge, not only those of the same slice. An id at
//! or beyond a model's rows is one that the model lacks. Ids that no token has keep the row of the tokenizer's model, and
//! where that has none they are filled like padding. Tokens of rules take their settings from the first model that has them.
//!
//! A tokenizer.json is read and written as JSON, so that what nothing here touches stays as it is.

mod clashes;
mod document;
mod files;
mod gathered;
mod inputs;
mod model_files;
mod plan;
mod rows;
mod template;
mod tokens;

pub use clashes::{Clash, ClashingId, clashes};
pub use files::{write_generation_config, write_tokenizer};
pub use gathered::Gathered;
pub use inputs::is_vocabulary_tensor;
pub use plan::{VocabularyInputs, VocabularyPlan};
pub use rows::{RowSource, Rows};
pub use template::chat_template;
pub use tokens::{Token, TokenSettings, Vocabulary};

#[cfg(test)]
mod fixture;
