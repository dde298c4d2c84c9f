//! Division of polynomials: exact in any number of variables, and the common divisor of two in one variable.
//!
//! Neither is needed to decide equality, which multiplies crosswise; they give equal answers one written form.

use std::cmp::Ordering;

use num_rational::BigRational;
use num_traits::{One, Signed, Zero};

use super::super::budget::{Budget, Obstacle};
use super::atom::{Atom, Exponent, Monomial};
use super::polynomial::Polynomial;

const STEPS_MAX: usize = 300;

/// The quotient, if the division leaves nothing.
pub(super) fn exact(
    dividend: &Polynomial,
    divisor: &Polynomial,
    budget: &mut Budget,
) -> Result<Option<Polynomial>, Obstacle> {
    if !is_plain(dividend) || !is_plain(divisor) {
        return Ok(None);
    }
    let (quotient, remainder) = divide(dividend, divisor, budget)?;
    Ok(remainder.is_zero().then_some(quotient))
}

/// Both without their common divisor, where it is found: one variable and rational coefficients.
pub(super) fn lowest_terms(
    numerator: Polynomial,
    denominator: Polynomial,
    budget: &mut Budget,
) -> Result<(Polynomial, Polynomial), Obstacle> {
    let variable = denominator.atoms().next().cloned();
    let in_one = |polynomial: &Polynomial| {
        is_plain(polynomial) && polynomial.atoms().all(|atom| Some(atom) == variable.as_ref())
    };
    if !in_one(&numerator) || !in_one(&denominator) {
        return Ok((numerator, denominator));
    }
    let (mut a, mut b) = (numerator.clone(), denominator.clone());
    while !b.is_zero() {
        let (_, remainder) = divide(&a, &b, budget)?;
        let scale = super::quotient::content(&remainder).recip();
        (a, b) = (b, remainder.scaled(&scale, budget)?);
    }
    let (top, _) = divide(&numerator, &a, budget)?;
    let (bottom, _) = divide(&denominator, &a, budget)?;
    Ok((top, bottom))
}

/// Whole exponents from zero up, and no atom with a relation that could bring a leading term back.
fn is_plain(polynomial: &Polynomial) -> bool {
    polynomial.0.keys().flat_map(|monomial| &monomial.0).all(|(atom, exponent)| {
        let free =
            matches!(atom, Atom::Variable(_) | Atom::Pi | Atom::Euler | Atom::Log(_) | Atom::Function(..));
        free && exponent.is_integer() && exponent.is_positive()
    })
}

/// Quotient and remainder; the remainder's leading term is not divisible, or the steps ran out.
fn divide(
    dividend: &Polynomial,
    divisor: &Polynomial,
    budget: &mut Budget,
) -> Result<(Polynomial, Polynomial), Obstacle> {
    let (mut quotient, mut rest) = (Polynomial::default(), dividend.clone());
    let Some((lead, coefficient)) = leading(divisor) else { return Err(Obstacle::Undefined) };
    for _ in 0..STEPS_MAX {
        let Some((own, value)) = leading(&rest) else { break };
        let monomial = own.times(&lead.pow(-Exponent::one())?)?;
        if monomial.0.iter().any(|(_, exponent)| exponent.is_negative()) {
            break;
        }
        let step = Polynomial::term(monomial, value / coefficient);
        rest = rest.minus(&step.times(divisor, budget)?, budget)?;
        quotient = quotient.plus(&step, budget)?;
    }
    Ok((quotient, rest))
}

fn leading(polynomial: &Polynomial) -> Option<(&Monomial, &BigRational)> {
    polynomial.0.iter().max_by(|(a, _), (b, _)| lexicographic(a, b))
}

/// The order that products respect: the first atom with different exponents decides.
fn lexicographic(a: &Monomial, b: &Monomial) -> Ordering {
    for (atom, exponent) in &a.0 {
        // An atom before this one that only the other has makes the other greater.
        let other = b.0.iter().find(|(own, _)| own <= atom && a.exponent(own) != b.exponent(own));
        if let Some((own, theirs)) = other {
            return a.exponent(own).cmp(theirs);
        }
        let theirs = b.exponent(atom);
        if *exponent != theirs {
            return exponent.cmp(&theirs);
        }
    }
    let extra = b.0.iter().any(|(atom, _)| a.exponent(atom).is_zero());
    if extra { Ordering::Less } else { Ordering::Equal }
}
