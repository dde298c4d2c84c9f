//! The arithmetic of all methods, from shared stages: vectors (weights, or differences from the base), which of their
//! elements are kept, what the whole tensor says (norms, angles, quantiles), and how the kept ones become one number.
//!
//! Every stage streams over pieces of the tensor. Sums are f64 over fixed pieces in order; order statistics are exact, by
//! histograms of the numbers' bits in place of sorting. So the result does not depend on the number of threads.

mod chance;
mod columns;
mod combine;
mod derived;
mod fusion;
pub(super) mod gram;
mod masks;
mod operands;
mod ranks;
mod recipe;
pub(super) mod select;
mod sparsify;
mod sphere;

pub use combine::cancels;
pub use masks::key as draw_key;
pub use operands::{Buffers, Operands, piece_length};
pub use recipe::{Along, Combine, Keep, Recipe, Rescale, Vectors};
pub use select::COUNTER_BYTES;

use super::error::MergeError;
use super::pool::Pool;

/// Takes the result's elements from a position on; called from several threads, each piece once.
pub type Sink<'a> = dyn Fn(usize, &[f32]) -> Result<(), MergeError> + Sync + 'a;

/// Merge one tensor.
///
/// # Errors
/// A tensor that cannot be read, `Undefined` where the method has no result (weights that sum to zero), what the sink says.
pub fn merge(
    pool: &Pool<'_>,
    recipe: &Recipe,
    operands: &Operands<'_>,
    sink: &Sink<'_>,
) -> Result<(), MergeError> {
    if recipe.is_by_columns() {
        return columns::merge(pool, &recipe.combine, operands, sink);
    }
    let keeper = sparsify::Keeper::find(pool, recipe, operands)?;
    let combiner = combine::Combiner::find(pool, recipe, operands, &keeper)?;
    // What is only copied is copied as it is.
    let is_copy = matches!(recipe.combine, Combine::Copy { .. });
    pool.each(
        operands.pieces(),
        || operands.buffers(),
        |buffers: &mut Buffers, piece| {
            let range = operands.load(buffers, piece)?;
            if !is_copy {
                operands.check_finite(buffers, range.len())?;
            }
            keeper.apply(operands, buffers, &range);
            combiner.combine(operands, buffers, &range);
            sink(range.start, &buffers.out[..range.len()])
        },
    )?;
    Ok(())
}
