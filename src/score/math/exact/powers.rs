//! Roots and powers, brought into the one form their value has where such a form is known.

use std::rc::Rc;

use num_bigint::{BigInt, BigUint};
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive};

use super::super::budget::{Budget, Obstacle};
use super::atom::{Atom, Exponent, Monomial, bounded};
use super::decide;
use super::factor::factor;
use super::polynomial::{Polynomial, reduce};
use super::quotient::{Quotient, content};

const INDEX_MAX: u32 = 60;

/// The principal root; of negative constants only square roots and odd ones.
pub(in super::super) fn root(
    index: u32,
    value: &Quotient,
    budget: &mut Budget,
) -> Result<Quotient, Obstacle> {
    budget.spend(1)?;
    match index {
        0 => return Err(Obstacle::Undefined),
        1 => return Ok(value.clone()),
        2..=INDEX_MAX => {}
        _ => return Err(Obstacle::TooLarge),
    }
    if value.is_zero() {
        return Ok(value.clone());
    }
    if !value.is_polynomial() {
        let negative =
            value.denominator.is_constant() && decide::sign(&value.denominator.clone().into(), budget)? < 0;
        let flip = |polynomial: &Polynomial| if negative { polynomial.negated() } else { polynomial.clone() };
        let top = root(index, &flip(&value.numerator).into(), budget)?;
        return top.over(&root(index, &flip(&value.denominator).into(), budget)?, budget);
    }
    let radicand = &value.numerator;
    match radicand.single() {
        Some((monomial, coefficient)) => root_of_term(index, monomial, coefficient, budget),
        None => root_of_sum(index, radicand, budget),
    }
}

fn root_of_term(
    index: u32,
    monomial: &Monomial,
    coefficient: &BigRational,
    budget: &mut Budget,
) -> Result<Quotient, Obstacle> {
    let constant = Polynomial::term(monomial.clone(), BigRational::one()).is_constant();
    let mut out = Quotient::integer(1);
    // What cannot be taken out of the root, because its sign or its nature is not known.
    let mut inside = Vec::new();
    if coefficient.is_negative() {
        match (index, constant) {
            (index, _) if index % 2 == 1 => out = Quotient::integer(-1),
            (2, true) => out = Quotient::atom(Atom::Imaginary),
            (_, true) => return Err(Obstacle::Unread),
            (_, false) => inside.push(Polynomial::integer(-1)),
        }
    }
    let mut outside = rational_root(index, &coefficient.abs(), budget)?;
    let part = Exponent::new(1, i128::from(index));
    for (atom, exponent) in &monomial.0 {
        let positive = match atom {
            Atom::Prime(_) | Atom::Pi | Atom::Euler | Atom::Log(_) => true,
            Atom::Variable(_) => index % 2 == 1 || exponent.numer() % 2 != 0,
            Atom::Power(base, _) => base.rational().is_some_and(|base| base.is_positive()),
            Atom::Imaginary => return Err(Obstacle::Unread),
            Atom::Root(own, radicand) if exponent.is_one() && own * index <= INDEX_MAX => {
                let nested = Polynomial::atom(Atom::Root(own * index, Rc::clone(radicand)));
                outside = outside.times(&nested, budget)?;
                continue;
            }
            Atom::Root(..) | Atom::Function(..) => false,
        };
        if positive {
            let term =
                reduce(&Monomial::of(atom.clone(), bounded(exponent * part)?), BigRational::one(), budget)?;
            outside = outside.times(&term, budget)?;
        } else {
            inside.push(Polynomial::term(Monomial::of(atom.clone(), *exponent), BigRational::one()));
        }
    }
    let mut radicand = Polynomial::one();
    for factor in &inside {
        radicand = radicand.times(factor, budget)?;
    }
    if !radicand.is_one() {
        outside = outside.times(&Polynomial::atom(Atom::Root(index, Rc::new(radicand))), budget)?;
    }
    out.times(&outside.into(), budget)
}

/// The root of a positive rational: p^(k/n) for each of its primes.
fn rational_root(index: u32, value: &BigRational, budget: &mut Budget) -> Result<Polynomial, Obstacle> {
    let mut monomial = Monomial::one();
    for (prime, exponent) in factors(value, budget)? {
        let atom = Monomial::of(Atom::Prime(prime), bounded(Exponent::new(exponent, i128::from(index)))?);
        monomial = monomial.times(&atom)?;
    }
    reduce(&monomial, BigRational::one(), budget)
}

/// The primes of a positive rational with their exponents, those of the denominator negative.
pub(super) fn factors(value: &BigRational, budget: &mut Budget) -> Result<Vec<(BigUint, i128)>, Obstacle> {
    let mut found = Vec::new();
    for (part, sign) in [(value.numer(), 1), (value.denom(), -1)] {
        let part = part.to_biguint().ok_or(Obstacle::Unread)?;
        found.extend(
            factor(&part, budget)?.into_iter().map(|(prime, times)| (prime, sign * i128::from(times))),
        );
    }
    Ok(found)
}

fn root_of_sum(index: u32, radicand: &Polynomial, budget: &mut Budget) -> Result<Quotient, Obstacle> {
    if radicand.atoms().any(|atom| *atom == Atom::Imaginary) {
        return Err(Obstacle::Unread);
    }
    if radicand.is_constant() && decide::sign(&radicand.clone().into(), budget)? < 0 {
        let positive = root(index, &radicand.negated().into(), budget)?;
        return match index {
            2 => positive.times(&Quotient::atom(Atom::Imaginary), budget),
            index if index % 2 == 1 => Ok(positive.negated()),
            _ => Err(Obstacle::Unread),
        };
    }
    let factor = content(radicand);
    let primitive = radicand.scaled(&factor.recip(), budget)?;
    let outside = Quotient::from(rational_root(index, &factor, budget)?);
    let inside = match denested(index, &primitive, budget)? {
        Some(sum) => sum,
        None => Quotient::atom(Atom::Root(index, Rc::new(primitive))),
    };
    outside.times(&inside, budget)
}

/// The square root of a + b r, with r the root of a rational, as a sum of two roots if a^2 - b^2 r^2 is a square.
fn denested(index: u32, radicand: &Polynomial, budget: &mut Budget) -> Result<Option<Quotient>, Obstacle> {
    let rational = radicand.0.get(&Monomial::one());
    let surd = radicand.0.iter().find(|(monomial, _)| !monomial.is_one());
    let (Some(a), Some((monomial, b)), 2, 2) = (rational, surd, radicand.0.len(), index) else {
        return Ok(None);
    };
    let square_roots = monomial
        .0
        .iter()
        .all(|(atom, exponent)| matches!(atom, Atom::Prime(_)) && *exponent == Exponent::new(1, 2));
    if !square_roots || !a.is_positive() {
        return Ok(None);
    }
    let surd = Polynomial::term(monomial.clone(), b.clone());
    let Some(square) = surd.times(&surd, budget)?.rational() else { return Ok(None) };
    let Some(difference) = exact_square_root(&(a * a - square)) else { return Ok(None) };
    let two = BigRational::from_integer(2.into());
    let first = root(2, &Quotient::rational_constant((a + &difference) / &two), budget)?;
    let second = root(2, &Quotient::rational_constant((a - &difference) / &two), budget)?;
    if b.is_negative() { first.minus(&second, budget) } else { first.plus(&second, budget) }.map(Some)
}

fn exact_square_root(value: &BigRational) -> Option<BigRational> {
    let whole = |part: &BigInt| {
        let part = part.to_biguint()?;
        let root = part.sqrt();
        (&root * &root == part).then(|| BigInt::from(root))
    };
    Some(BigRational::new(whole(value.numer())?, whole(value.denom())?))
}

/// A power with any exponent. Bases of fractional exponents must not be negative.
pub(in super::super) fn power(
    base: &Quotient,
    exponent: &Quotient,
    budget: &mut Budget,
) -> Result<Quotient, Obstacle> {
    budget.spend(1)?;
    if let Some(exponent) = exponent.rational() {
        let top = exponent.numer().to_i128().ok_or(Obstacle::TooLarge)?;
        let bottom = exponent.denom().to_u32().ok_or(Obstacle::TooLarge)?;
        if bottom == 1 {
            return base.pow(top, budget);
        }
        if base.is_constant() && decide::sign(base, budget)? < 0 {
            return Err(Obstacle::Ambiguous);
        }
        return root(bottom, base, budget)?.pow(top, budget);
    }
    if base.is_zero() || !exponent.is_polynomial() {
        return Err(Obstacle::Unread);
    }
    if !base.is_polynomial() {
        let top = power(&base.numerator.clone().into(), exponent, budget)?;
        return top.over(&power(&base.denominator.clone().into(), exponent, budget)?, budget);
    }
    let mut out = Quotient::integer(1);
    for (monomial, coefficient) in &exponent.numerator.0 {
        let factor = if monomial.is_one() {
            power(base, &Quotient::rational_constant(coefficient.clone()), budget)?
        } else {
            symbolic(&base.numerator, monomial, to_exponent(coefficient)?, budget)?
        };
        out = out.times(&factor, budget)?;
    }
    Ok(out)
}

pub(super) fn to_exponent(value: &BigRational) -> Result<Exponent, Obstacle> {
    let top = value.numer().to_i128().ok_or(Obstacle::TooLarge)?;
    let bottom = value.denom().to_i128().ok_or(Obstacle::TooLarge)?;
    bounded(Exponent::new(top, bottom))
}

/// base^(coefficient * monomial), the base taken apart as far as that is right for positive parts.
fn symbolic(
    base: &Polynomial,
    monomial: &Monomial,
    coefficient: Exponent,
    budget: &mut Budget,
) -> Result<Quotient, Obstacle> {
    let opaque = |base: Polynomial, exponent: Exponent, budget: &mut Budget| {
        let term = Monomial::of(Atom::Power(Rc::new(base), monomial.clone()), bounded(exponent)?);
        reduce(&term, BigRational::one(), budget)
    };
    let Some((own, value)) = base.single() else {
        return Ok(opaque(base.clone(), coefficient, budget)?.into());
    };
    let mut out = Polynomial::one();
    if value.is_negative() {
        out = out.times(&opaque(Polynomial::integer(-1), coefficient, budget)?, budget)?;
    }
    for (prime, times) in factors(&value.abs(), budget)? {
        let prime = Polynomial::constant(BigRational::from_integer(prime.into()));
        out = out.times(&opaque(prime, coefficient * times, budget)?, budget)?;
    }
    for (atom, times) in &own.0 {
        let exponent = bounded(coefficient * times)?;
        // e^(c ln p) is p^c.
        let undone = match (atom, monomial.0.as_slice()) {
            (Atom::Euler, [(Atom::Log(prime), one)]) if one.is_one() => Some(Atom::Prime(prime.clone())),
            _ => None,
        };
        let factor = match (undone, atom) {
            (Some(prime), _) => reduce(&Monomial::of(prime, exponent), BigRational::one(), budget)?,
            (None, Atom::Prime(prime)) => {
                let prime = Polynomial::constant(BigRational::from_integer(prime.clone().into()));
                opaque(prime, exponent, budget)?
            }
            (None, atom) => opaque(Polynomial::atom(atom.clone()), exponent, budget)?,
        };
        out = out.times(&factor, budget)?;
    }
    Ok(out.into())
}
