//! MAET, against what a few lines compute of whole tensors in memory, and against the merger by way of the equivalent
//! configuration.

mod masks;
mod models;
mod transfers;
