//! The one integration binary: a module an area. Everything is test code, which clippy sees by `cfg(test)`.

#[cfg(test)]
mod api;
#[cfg(test)]
mod augmented;
#[cfg(test)]
mod chat;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod cuda;
#[cfg(test)]
mod docker;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod eval;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod language;
#[cfg(test)]
mod layering;
#[cfg(test)]
mod merge;
#[cfg(test)]
mod model;
#[cfg(test)]
mod real_weights;
#[cfg(test)]
mod score;
#[cfg(test)]
mod score_cases;
#[cfg(test)]
mod store;
#[cfg(test)]
mod train;
#[cfg(test)]
mod weights;
