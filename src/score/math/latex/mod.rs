//! From an answer's text, LaTeX or plain, to an expression.
//!
//! Bounded in bytes, tokens and depth, and without panics whatever the input: what no rule reads is an
//! obstacle, and the answer is then compared as text. The grammar is that of answers, not of documents: no
//! macros, no prose between formulas.

mod clean;
mod expression;
mod formula;
mod function;
mod item;
mod list;
mod matrix;
mod numeral;
mod spelling;
mod token;

use super::budget::{Budget, Obstacle};
use super::number::Convention;

pub(super) use expression::{Comparison, Expression, Fence, Operation};
pub(super) use token::{Kind, Token, tokens};

/// Bytes of an answer that is read as a formula; longer ones are compared as numbers or text only.
pub(super) const BYTES_MAX: usize = 8_000;
const TOKENS_MAX: usize = 2_000;
const DEPTH_MAX: usize = 90;

/// An answer's expression, and whether a comma in it could be read otherwise.
pub(super) fn parse(
    answer: &str,
    convention: Convention,
    budget: &mut Budget,
) -> Result<Expression, Obstacle> {
    let tokens = tokens(answer, convention)?;
    budget.spend(tokens.len())?;
    list::whole(&tokens, convention, budget)
}
