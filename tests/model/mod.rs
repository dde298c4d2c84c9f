//! The decoder against transformers: the recorded logits of tiny models of every family, one row order of
//! arithmetic whatever the chunking, and checkpoints that contradict their config.

pub mod adapters;
pub mod attention;
mod checkpoints;
mod encoders;
mod gguf;
mod gradients;
mod invariance;
pub mod logits;
mod real_weights;
pub mod replaced;
