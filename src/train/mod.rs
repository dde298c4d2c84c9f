//! Training on the decoder that serves. Here: what a training reads.

pub mod data;
