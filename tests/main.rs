//! The one integration binary: a module an area.

mod chat;
mod engine;
mod layering;
mod model;
mod real_weights;
