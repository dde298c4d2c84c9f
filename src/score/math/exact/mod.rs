//! Exact values: quotients of polynomials over the rationals in constants, roots and variables.
//!
//! Two values are equal if their difference, cross-multiplied and reduced, has no term left; that is a proof.
//! Two are different if enclosures of them, at points where both are defined, do not meet; that is a proof too.
//! Everything else is undecided: closeness never proves equality.

mod atom;
mod decide;
mod division;
mod enclosure;
mod evaluate;
mod factor;
mod functions;
mod polynomial;
mod powers;
mod quotient;

pub(super) use atom::{Atom, Monomial};
pub(super) use decide::{Equality, equality, order, rounded};
pub(super) use functions::{absolute, binomial, factorial, function, logarithm, rounded_down};
pub(super) use polynomial::Polynomial;
pub(super) use powers::{power, root};
pub(super) use quotient::Quotient;
