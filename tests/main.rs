//! The one integration binary: a module an area.

mod chat;
mod layering;
mod model;
mod real_weights;
