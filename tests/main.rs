//! The one integration binary: a module an area.

#[cfg(test)] // so that clippy takes helpers for test code
mod api;
mod chat;
mod engine;
mod eval;
mod layering;
#[cfg(test)]
mod model;
#[cfg(test)]
mod real_weights;
mod score;
mod weights;
