//! Whether two exact values are equal, which is greater, and what a value rounds to: proofs or nothing.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, Zero};

use super::super::budget::{Budget, Obstacle};
use super::atom::Atom;
use super::evaluate::{self, Point};
use super::functions::UNKNOWN_BASE;
use super::quotient::Quotient;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Equality {
    Equal,
    Different,
    Unknown(Obstacle),
}

/// Bits after the point of the enclosures that are tried in turn.
const PRECISIONS: [u32; 3] = [128, 512, 2048];
/// Points at which values with variables are compared.
const SAMPLES: u32 = 4;

pub(in super::super) fn equality(a: &Quotient, b: &Quotient, budget: &mut Budget) -> Equality {
    prove(a, b, budget).unwrap_or_else(Equality::Unknown)
}

fn prove(a: &Quotient, b: &Quotient, budget: &mut Budget) -> Result<Equality, Obstacle> {
    if a == b {
        return Ok(Equality::Equal);
    }
    if a.rational().is_some() && b.rational().is_some() {
        return Ok(Equality::Different);
    }
    let left = a.numerator.times(&b.denominator, budget)?;
    let right = b.numerator.times(&a.denominator, budget)?;
    let difference = left.minus(&right, budget)?;
    if difference.is_zero() {
        return Ok(Equality::Equal);
    }
    // Whether a logarithm without a base is the natural one is not known.
    let unknown = |value: &Quotient| {
        value.atoms().any(|atom| *atom == Atom::Function(UNKNOWN_BASE.to_owned(), Vec::new()))
    };
    if unknown(a) != unknown(b) {
        return Ok(Equality::Unknown(Obstacle::Unread));
    }
    // Identities of angles are not worked out, so angles prove nothing.
    if a.atoms().chain(b.atoms()).any(Atom::is_trigonometric) {
        return Ok(Equality::Unknown(Obstacle::Unread));
    }
    // Polynomials in variables alone are equal only if all their coefficients are.
    if difference.atoms().all(|atom| matches!(atom, Atom::Variable(_))) {
        return Ok(Equality::Different);
    }
    let mut obstacle = Obstacle::Unread;
    for bits in PRECISIONS {
        for sample in 0..SAMPLES {
            let point = Point { sample, bits };
            let enclosures = (evaluate::quotient(a, point, budget), evaluate::quotient(b, point, budget));
            match enclosures {
                (Ok(a), Ok(b)) if !a.meets(&b) => return Ok(Equality::Different),
                (Ok(_), Ok(_)) => {}
                (Err(Obstacle::Budget), _) | (_, Err(Obstacle::Budget)) => return Err(Obstacle::Budget),
                (Err(error), _) | (_, Err(error)) => obstacle = error,
            }
        }
    }
    Ok(Equality::Unknown(obstacle))
}

/// -1, 0 or 1 for a real constant.
pub(in super::super) fn sign(value: &Quotient, budget: &mut Budget) -> Result<i8, Obstacle> {
    if value.is_zero() {
        return Ok(0);
    }
    if let Some(value) = value.rational() {
        return Ok(if value.is_negative() { -1 } else { 1 });
    }
    for bits in PRECISIONS {
        let found = enclosed(value, bits, budget)?;
        if !found.contains_zero() {
            return Ok(if found.low.is_positive() { 1 } else { -1 });
        }
    }
    Err(Obstacle::Unread)
}

pub(in super::super) fn order(
    a: &Quotient,
    b: &Quotient,
    budget: &mut Budget,
) -> Result<std::cmp::Ordering, Obstacle> {
    Ok(sign(&a.minus(b, budget)?, budget)?.cmp(&0))
}

/// A real constant times 10^places, rounded to the nearest whole number.
pub(in super::super) fn rounded(
    value: &Quotient,
    places: u32,
    budget: &mut Budget,
) -> Result<BigInt, Obstacle> {
    let factor = BigInt::from(10).pow(places);
    if let Some(value) = value.rational() {
        return Ok((value * BigRational::from_integer(factor)).round().to_integer());
    }
    for bits in PRECISIONS {
        if let Some(found) = enclosed(value, bits, budget)?.rounded(&factor) {
            return Ok(found);
        }
    }
    Err(Obstacle::Unread)
}

/// The greatest whole number that is not above a real constant.
pub(super) fn whole_below(value: &Quotient, budget: &mut Budget) -> Result<BigInt, Obstacle> {
    for bits in PRECISIONS {
        if let Some(found) = enclosed(value, bits, budget)?.floor() {
            return Ok(found);
        }
    }
    Err(Obstacle::Unread)
}

fn enclosed(
    value: &Quotient,
    bits: u32,
    budget: &mut Budget,
) -> Result<super::enclosure::Enclosure, Obstacle> {
    if !value.is_constant() {
        return Err(Obstacle::Unread);
    }
    let found = evaluate::quotient(value, Point { sample: 0, bits }, budget)?;
    if !found.imaginary.low.is_zero() || !found.imaginary.high.is_zero() {
        return Err(Obstacle::Unread);
    }
    Ok(found.real)
}
