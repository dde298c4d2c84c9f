//! The one integration binary: a module an area.

mod engine;
mod layering;
#[cfg(test)] // so that clippy takes helpers for test code
mod model;
#[cfg(test)]
mod real_weights;
mod weights;
