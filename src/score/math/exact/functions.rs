//! Functions of exact values: worked out where the value is known, kept as a letter where it is not.

use num_bigint::BigUint;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive};

use super::super::budget::{Budget, Obstacle};
use super::atom::{Atom, Exponent, Monomial};
use super::decide;
use super::polynomial::Polynomial;
use super::powers::factors;
use super::quotient::Quotient;

/// The factor between natural logarithms and those whose base the writer did not give.
pub(super) const UNKNOWN_BASE: &str = "log";

/// The factorial of more has more digits than an answer may have.
const FACTORIAL_MAX: u32 = 3_000;

pub(in super::super) fn absolute(value: &Quotient, budget: &mut Budget) -> Result<Quotient, Obstacle> {
    if value.is_constant() {
        return Ok(if decide::sign(value, budget)? < 0 { value.negated() } else { value.clone() });
    }
    Ok(opaque("abs", vec![leading_positive(value).0]))
}

pub(in super::super) fn factorial(value: &Quotient, budget: &mut Budget) -> Result<Quotient, Obstacle> {
    let Some(whole) = value.rational() else { return Ok(opaque("factorial", vec![value.clone()])) };
    if !whole.is_integer() || whole.is_negative() {
        return Err(Obstacle::Undefined);
    }
    let count =
        whole.to_integer().to_u32().filter(|count| *count <= FACTORIAL_MAX).ok_or(Obstacle::TooLarge)?;
    budget.spend(count as usize)?;
    let product = (1..=count).fold(BigUint::one(), |product, factor| product * factor);
    Ok(Quotient::rational_constant(BigRational::from_integer(product.into())))
}

pub(in super::super) fn binomial(
    total: &Quotient,
    chosen: &Quotient,
    budget: &mut Budget,
) -> Result<Quotient, Obstacle> {
    let small =
        |value: &Quotient| value.whole().and_then(|value| value.to_u32()).filter(|value| *value <= 10_000);
    let (Some(total), Some(chosen)) = (small(total), small(chosen)) else {
        return if total.rational().is_some() && chosen.rational().is_some() {
            Err(Obstacle::TooLarge)
        } else {
            Ok(opaque("binomial", vec![total.clone(), chosen.clone()]))
        };
    };
    if chosen > total {
        return Ok(Quotient::integer(0));
    }
    let chosen = chosen.min(total - chosen);
    let mut value = BigUint::one();
    for step in 0..chosen {
        budget.spend(1 + (value.bits() / 64) as usize)?;
        value = value * (total - step) / (step + 1);
    }
    Ok(Quotient::rational_constant(BigRational::from_integer(value.into())))
}

/// The logarithm to a base; `None` is the base that the writer had in mind, which stays unknown.
pub(in super::super) fn logarithm(
    base: Option<&Quotient>,
    value: &Quotient,
    budget: &mut Budget,
) -> Result<Quotient, Obstacle> {
    match base {
        // log 4 is twice log 2 in any base: the natural logarithm times a factor that nobody knows.
        None => natural(value, budget)?.times(&opaque(UNKNOWN_BASE, Vec::new()), budget),
        Some(base) => {
            let below = natural(base, budget)?;
            natural(value, budget)?.over(&below, budget)
        }
    }
}

pub(super) fn natural(value: &Quotient, budget: &mut Budget) -> Result<Quotient, Obstacle> {
    if value.is_zero() {
        return Err(Obstacle::Undefined);
    }
    let whole_single = value.is_polynomial().then(|| value.numerator.single()).flatten();
    let Some((monomial, coefficient)) = whole_single else { return Ok(opaque("ln", vec![value.clone()])) };
    let known = |atom: &Atom| matches!(atom, Atom::Prime(_) | Atom::Euler);
    if coefficient.is_negative() || !monomial.0.iter().all(|(atom, _)| known(atom)) {
        return if coefficient.is_negative() && value.is_constant() {
            Err(Obstacle::Unread)
        } else {
            Ok(opaque("ln", vec![value.clone()]))
        };
    }
    let ratio = |exponent: Exponent| BigRational::new((*exponent.numer()).into(), (*exponent.denom()).into());
    let mut sum = Polynomial::default();
    for (prime, exponent) in factors(coefficient, budget)? {
        let term = Monomial::of(Atom::Log(prime), Exponent::one());
        sum = sum.plus(&Polynomial::term(term, BigRational::from_integer(exponent.into())), budget)?;
    }
    for (atom, exponent) in &monomial.0 {
        let term = match atom {
            Atom::Prime(prime) => Monomial::of(Atom::Log(prime.clone()), Exponent::one()),
            _ => Monomial::one(),
        };
        sum = sum.plus(&Polynomial::term(term, ratio(*exponent)), budget)?;
    }
    Ok(sum.into())
}

/// A named function, kept as a letter.
pub(in super::super) fn function(name: &str, arguments: Vec<Quotient>) -> Quotient {
    opaque(name, arguments)
}

/// The floor (or the ceiling) of a constant.
pub(in super::super) fn rounded_down(
    value: &Quotient,
    up: bool,
    budget: &mut Budget,
) -> Result<Quotient, Obstacle> {
    if let Some(value) = value.rational() {
        return Ok(Quotient::rational_constant(if up { value.ceil() } else { value.floor() }));
    }
    if !value.is_constant() {
        return Ok(opaque(if up { "ceil" } else { "floor" }, vec![value.clone()]));
    }
    let whole = decide::whole_below(value, budget)?;
    Ok(Quotient::rational_constant(BigRational::from_integer(if up { whole + 1 } else { whole })))
}

fn opaque(name: &str, arguments: Vec<Quotient>) -> Quotient {
    Quotient::atom(Atom::Function(name.to_owned(), arguments))
}

/// The value or its negation, whichever has a positive leading coefficient, and whether it was negated.
fn leading_positive(value: &Quotient) -> (Quotient, bool) {
    let negative = value.numerator.0.values().next_back().is_some_and(Signed::is_negative);
    if negative { (value.negated(), true) } else { (value.clone(), false) }
}
