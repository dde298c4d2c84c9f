//! The one integration binary: a module an area.

mod api;
mod chat;
mod engine;
mod eval;
mod layering;
mod model;
mod real_weights;
mod score;
mod weights;
