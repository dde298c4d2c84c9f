//! The one integration binary: a module an area.

mod api;
mod chat;
mod engine;
#[cfg(test)]
mod eval;
mod layering;
#[cfg(test)] // so that clippy takes helpers for test code
mod model;
#[cfg(test)]
mod real_weights;
#[cfg(test)]
mod score;
mod weights;
