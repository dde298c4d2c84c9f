//! The one integration binary: a module an area.

mod api;
mod chat;
mod cli;
mod engine;
mod eval;
mod layering;
#[cfg(test)] // so that clippy takes helpers for test code
mod model;
#[cfg(test)]
mod real_weights;
mod score;
mod weights;
