//! The one integration binary: a module an area.

mod engine;
mod layering;
mod model;
mod real_weights;
mod weights;
