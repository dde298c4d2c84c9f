//! Training data: files to tokens, tokens to batches.
//!
//! [`prepare`] reads fine-tuning data (`supervised`, `record`, `spans`) or plain text (`corpus`) into a [`TokenStore`] on disk; it is
//! made once and mapped after. [`BatchPlan`] says which examples a micro-step trains on, [`Ragged`] lays them end to end.
//! [`pairs`] is the same for MindMerger, whose examples are read by two tokenizers.
//!
//! Files are streamed, a round of lines at a time; what a training keeps in memory are lengths. Nothing here knows a tensor.

mod batches;
mod corpus;
mod digest;
mod encode;
mod error;
mod example;
mod lines;
mod model_text;
mod order;
mod packing;
pub mod pairs;
mod prepare;
mod ragged;
mod record;
mod spans;
mod store;
mod supervised;
#[cfg(test)]
pub(super) mod testing;

pub use batches::{BatchOptions, BatchPlan, DataPosition, Epoch, Packing};
pub use corpus::Corpus;
pub use encode::Effort;
pub use error::DataError;
pub use example::{Example, TrainedText};
pub use lines::{Documents, Piece, Pieces};
pub use model_text::ModelText;
pub use order::Order;
pub use prepare::{PrepareOptions, Source, prepare, stem};
pub use ragged::Ragged;
pub use record::Question;
pub use spans::{Rendered, Templates};
pub use store::{Counts, ExampleView, Header, TokenStore, TooLong};
pub use supervised::Loss;
