//! Scorers that need more than a text: programs are run, and a model is asked.

pub mod code;
pub mod judge;
pub mod sandbox;
