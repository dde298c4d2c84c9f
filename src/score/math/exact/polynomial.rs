//! Sums of monomials with rational coefficients, reduced by the relations that atoms know.

use std::collections::BTreeMap;
use std::rc::Rc;

use num_bigint::BigInt;

use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::super::budget::{Budget, Obstacle};
use super::atom::{Atom, Exponent, Monomial};

/// Bits a coefficient may have: somewhat more than the digits an answer may have.
const BITS_MAX: u64 = 40_000;
/// Powers of sums with more than one term.
const POWER_MAX: u128 = 10_000;
/// Terms a polynomial may have.
const TERMS_MAX: usize = 5_000;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(in super::super) struct Polynomial(pub BTreeMap<Monomial, BigRational>);

impl Polynomial {
    pub fn constant(value: BigRational) -> Self {
        let mut terms = BTreeMap::new();
        if !value.is_zero() {
            terms.insert(Monomial::one(), value);
        }
        Self(terms)
    }

    pub fn integer(value: i64) -> Self {
        Self::constant(BigRational::from_integer(value.into()))
    }

    pub fn one() -> Self {
        Self::integer(1)
    }

    pub fn atom(atom: Atom) -> Self {
        Self::term(Monomial::of(atom, Exponent::one()), BigRational::one())
    }

    pub fn term(monomial: Monomial, coefficient: BigRational) -> Self {
        let mut terms = BTreeMap::new();
        if !coefficient.is_zero() {
            terms.insert(monomial, coefficient);
        }
        Self(terms)
    }

    pub fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    pub fn is_one(&self) -> bool {
        self.rational().is_some_and(|value| value.is_one())
    }

    /// Its value, if it has no atom.
    pub fn rational(&self) -> Option<BigRational> {
        match self.0.len() {
            0 => Some(BigRational::zero()),
            1 => self.0.get(&Monomial::one()).cloned(),
            _ => None,
        }
    }

    pub fn single(&self) -> Option<(&Monomial, &BigRational)> {
        if self.0.len() == 1 { self.0.iter().next() } else { None }
    }

    pub fn atoms(&self) -> impl Iterator<Item = &Atom> {
        self.0.keys().flat_map(|monomial| monomial.0.iter().map(|(atom, _)| atom))
    }

    fn insert(&mut self, monomial: Monomial, coefficient: BigRational) -> Result<(), Obstacle> {
        use std::collections::btree_map::Entry;
        if coefficient.numer().bits() > BITS_MAX || coefficient.denom().bits() > BITS_MAX {
            return Err(Obstacle::TooLarge);
        }
        match self.0.entry(monomial) {
            Entry::Vacant(entry) => {
                if !coefficient.is_zero() {
                    entry.insert(coefficient);
                }
            }
            Entry::Occupied(mut entry) => {
                let sum = add(entry.get(), &coefficient);
                entry.insert(sum);
                if entry.get().is_zero() {
                    entry.remove();
                }
            }
        }
        if self.0.len() > TERMS_MAX { Err(Obstacle::TooLarge) } else { Ok(()) }
    }

    pub fn plus(&self, other: &Self, budget: &mut Budget) -> Result<Self, Obstacle> {
        let mut out = self.clone();
        for (monomial, coefficient) in &other.0 {
            budget.spend(cost(coefficient))?;
            out.insert(monomial.clone(), coefficient.clone())?;
        }
        Ok(out)
    }

    pub fn minus(&self, other: &Self, budget: &mut Budget) -> Result<Self, Obstacle> {
        self.plus(&other.negated(), budget)
    }

    pub fn negated(&self) -> Self {
        Self(self.0.iter().map(|(monomial, coefficient)| (monomial.clone(), -coefficient)).collect())
    }

    pub fn scaled(&self, factor: &BigRational, budget: &mut Budget) -> Result<Self, Obstacle> {
        self.times(&Self::constant(factor.clone()), budget)
    }

    pub fn times(&self, other: &Self, budget: &mut Budget) -> Result<Self, Obstacle> {
        let mut out = Self::default();
        for (left, a) in &self.0 {
            for (right, b) in &other.0 {
                budget.spend(cost(a) + cost(b) + left.0.len() + right.0.len())?;
                let product = left.times(right)?;
                if needs_reduction(&product) {
                    for (monomial, coefficient) in reduce(&product, multiply(a, b), budget)?.0 {
                        out.insert(monomial, coefficient)?;
                    }
                } else {
                    out.insert(product, multiply(a, b))?;
                }
            }
        }
        Ok(out)
    }

    pub fn pow(&self, exponent: u128, budget: &mut Budget) -> Result<Self, Obstacle> {
        if let Some((monomial, coefficient)) = self.single() {
            let coefficient = rational_power(
                coefficient,
                i128::try_from(exponent).map_err(|_| Obstacle::TooLarge)?,
                budget,
            )?;
            return reduce(
                &monomial
                    .pow(Exponent::from_integer(i128::try_from(exponent).map_err(|_| Obstacle::TooLarge)?))?,
                coefficient,
                budget,
            );
        }
        let mut out = Self::one();
        if exponent > POWER_MAX {
            return Err(Obstacle::TooLarge);
        }
        for bit in (0..128 - exponent.leading_zeros()).rev() {
            budget.spend(1)?;
            out = out.times(&out, budget)?;
            if exponent >> bit & 1 == 1 {
                out = out.times(self, budget)?;
            }
        }
        Ok(out)
    }

    /// One divided by it, if it is one term without an unfinished root.
    pub fn inverse(&self, budget: &mut Budget) -> Result<Option<Self>, Obstacle> {
        let Some((monomial, coefficient)) = self.single() else { return Ok(None) };
        if monomial.0.iter().any(|(atom, _)| matches!(atom, Atom::Root(..))) {
            return Ok(None);
        }
        reduce(&monomial.pow(-Exponent::one())?, coefficient.recip(), budget).map(Some)
    }
}

/// Whole numbers need no reduction, which costs far more than the operation.
fn both_whole(a: &BigRational, b: &BigRational) -> bool {
    a.denom().is_one() && b.denom().is_one()
}

fn add(a: &BigRational, b: &BigRational) -> BigRational {
    if both_whole(a, b) { BigRational::from_integer(a.numer() + b.numer()) } else { a + b }
}

fn multiply(a: &BigRational, b: &BigRational) -> BigRational {
    if both_whole(a, b) { BigRational::from_integer(a.numer() * b.numer()) } else { a * b }
}

/// Steps of an operation with a coefficient: reducing a fraction takes the square of its length.
fn cost(coefficient: &BigRational) -> usize {
    let words = ((coefficient.numer().bits() + coefficient.denom().bits()) / 64) as usize;
    1 + words / 4 + words * words / 16
}

fn needs_reduction(monomial: &Monomial) -> bool {
    monomial
        .0
        .iter()
        .any(|(atom, _)| matches!(atom, Atom::Imaginary | Atom::Prime(_) | Atom::Root(..) | Atom::Power(..)))
}

/// A coefficient times a monomial, with every relation of its atoms used.
pub(super) fn reduce(
    monomial: &Monomial,
    mut coefficient: BigRational,
    budget: &mut Budget,
) -> Result<Polynomial, Obstacle> {
    budget.spend(1)?;
    let mut kept = Vec::with_capacity(monomial.0.len());
    let mut factors: Vec<Polynomial> = Vec::new();
    for (atom, exponent) in &monomial.0 {
        let whole = floor(*exponent);
        let rest = match atom {
            Atom::Prime(prime) => {
                let base = BigRational::from_integer(BigInt::from(prime.clone()));
                coefficient *= rational_power(&base, whole, budget)?;
                exponent - whole
            }
            Atom::Imaginary => {
                if whole.rem_euclid(4) >= 2 {
                    coefficient = -coefficient;
                }
                exponent - whole + whole.rem_euclid(2)
            }
            Atom::Root(index, radicand) => {
                let index = i128::from(*index);
                let times = whole.div_euclid(index);
                if times < 0 {
                    return Err(Obstacle::Unread);
                }
                if times > 0 {
                    factors.push(radicand.pow(times.unsigned_abs(), budget)?);
                }
                exponent - times * index
            }
            Atom::Power(base, turn) if is_turn(base, turn) => {
                // e^(i pi) is -1, and half of that turn is i.
                let halves = exponent * 2;
                if halves.is_integer() {
                    let quarter = halves.to_integer().rem_euclid(4);
                    if quarter >= 2 {
                        coefficient = -coefficient;
                    }
                    if quarter % 2 == 1 {
                        factors.push(Polynomial::atom(Atom::Imaginary));
                    }
                    Exponent::zero()
                } else {
                    *exponent
                }
            }
            _ => *exponent,
        };
        if !rest.is_zero() {
            kept.push((atom.clone(), rest));
        }
    }
    let mut out = Polynomial::default();
    out.insert(Monomial(kept), coefficient)?;
    for factor in factors {
        out = out.times(&factor, budget)?;
    }
    Ok(out)
}

fn is_turn(base: &Rc<Polynomial>, exponent: &Monomial) -> bool {
    let turn = [(Atom::Imaginary, Exponent::one()), (Atom::Pi, Exponent::one())];
    exponent.0 == turn && **base == Polynomial::atom(Atom::Euler)
}

/// A rational to a whole power, if the result is of bearable size.
pub(super) fn rational_power(
    base: &BigRational,
    exponent: i128,
    budget: &mut Budget,
) -> Result<BigRational, Obstacle> {
    if exponent == 0 || base.is_one() {
        return Ok(BigRational::one());
    }
    if base.is_zero() {
        return if exponent > 0 { Ok(BigRational::zero()) } else { Err(Obstacle::Undefined) };
    }
    if base.abs().is_one() {
        return Ok(if exponent % 2 == 0 { BigRational::one() } else { base.clone() });
    }
    let times = u64::try_from(exponent.unsigned_abs()).unwrap_or(u64::MAX);
    let bits = (base.numer().bits().max(base.denom().bits()) - 1).saturating_mul(times);
    if bits > BITS_MAX {
        return Err(Obstacle::TooLarge);
    }
    budget.spend(1 + (bits / 64) as usize)?;
    let power = exponent.to_i32().ok_or(Obstacle::TooLarge)?;
    Ok(base.pow(power))
}

/// The largest whole number that is not above the exponent.
pub(super) fn floor(exponent: Exponent) -> i128 {
    exponent.numer().div_euclid(*exponent.denom())
}
