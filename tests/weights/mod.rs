//! Checkpoints on disk: what opens, what it means, and that everything else is one clear error.

mod checkpoint;
mod convert;
mod damaged;
mod files;
mod gguf;
pub mod gguf_writer;
mod pickle;
mod pickle_writer;
mod real_weights;
mod safetensors;
mod tokenizer;
