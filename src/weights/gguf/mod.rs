//! GGUF files: llama.cpp's single-file checkpoints, shown as Hugging Face ones.
//!
//! `header` reads and checks the file, `names` and `rows` give its tensors their Hugging Face names and row order,
//! `config`, `rope` and the tokenizer modules translate its metadata. Blocks stay blocks: dequantising is up to
//! whoever asks for a tensor.
//!
//! Reference: ggml's docs/gguf.md, versions 2 and 3, little-endian.

mod config;
mod header;
mod metadata;
mod names;
mod pre_tokenizers;
mod rope;
mod rows;
mod sentencepiece;
mod source;
mod tokenizer;

use super::cursor;
pub use source::{GgufFile, is_gguf};
