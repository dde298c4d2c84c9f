//! The one integration binary: a module an area.

mod api;
mod chat;
mod engine;
#[cfg(test)]
mod eval;
mod layering;
mod model;
mod real_weights;
#[cfg(test)]
mod score;
mod weights;
