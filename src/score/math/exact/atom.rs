//! What polynomials are made of: atoms with rational exponents.

use std::cmp::Ordering;
use std::rc::Rc;

use num_bigint::BigUint;
use num_rational::Ratio;
use num_traits::{Signed, Zero};

use super::super::budget::Obstacle;
use super::polynomial::Polynomial;
use super::quotient::Quotient;

pub(in super::super) type Exponent = Ratio<i128>;

/// Exponents stay so far from the ends of an i128 that sums and products of two cannot overflow.
const EXPONENT_MAX: i128 = 1 << 80;

/// A constant, a root or a variable that the arithmetic treats as a letter, save for the relations it knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Atom {
    /// Its square is -1.
    Imaginary,
    /// A prime under a root: exponents in (0, 1), the whole part goes into the coefficient. Products of such
    /// powers are linearly independent over the rationals (Besicovitch 1940).
    Prime(BigUint),
    Pi,
    Euler,
    /// The natural logarithm of a prime.
    Log(BigUint),
    Variable(String),
    /// The principal root of a polynomial that could not be taken apart; its n-th power is the polynomial.
    Root(u32, Rc<Polynomial>),
    /// A base to an exponent that is no number, such as 2^n; the exponent's coefficient is the atom's exponent.
    Power(Rc<Polynomial>, Monomial),
    Function(String, Vec<Quotient>),
}

/// A product of atoms with non-zero exponents, sorted by atom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(in super::super) struct Monomial(pub Vec<(Atom, Exponent)>);

impl Monomial {
    pub fn one() -> Self {
        Self::default()
    }

    pub fn of(atom: Atom, exponent: Exponent) -> Self {
        if exponent.is_zero() { Self::one() } else { Self(vec![(atom, exponent)]) }
    }

    pub fn is_one(&self) -> bool {
        self.0.is_empty()
    }

    pub fn times(&self, other: &Self) -> Result<Self, Obstacle> {
        let mut out = Vec::with_capacity(self.0.len() + other.0.len());
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            match order {
                Ordering::Less => out.extend(left.next().cloned()),
                Ordering::Greater => out.extend(right.next().cloned()),
                Ordering::Equal => {
                    if let (Some((atom, a)), Some((_, b))) = (left.next(), right.next()) {
                        let sum = bounded(a + b)?;
                        if !sum.is_zero() {
                            out.push((atom.clone(), sum));
                        }
                    }
                }
            }
        }
        Ok(Self(out))
    }

    pub fn pow(&self, exponent: Exponent) -> Result<Self, Obstacle> {
        if exponent.is_zero() {
            return Ok(Self::one());
        }
        let exponent = bounded(exponent)?;
        // Two large factors would not fit before they are looked at.
        let large = |exponent: &Exponent| exponent.numer().abs() > 1 << 40;
        if large(&exponent) && self.0.iter().any(|(_, own)| large(own)) {
            return Err(Obstacle::TooLarge);
        }
        let scaled = self
            .0
            .iter()
            .map(|(atom, own)| Ok((atom.clone(), bounded(own * exponent)?)))
            .collect::<Result<_, _>>()?;
        Ok(Self(scaled))
    }

    pub fn exponent(&self, atom: &Atom) -> Exponent {
        self.0.iter().find(|(own, _)| own == atom).map_or_else(Exponent::zero, |(_, exponent)| *exponent)
    }
}

/// The exponent itself if it is of a size that arithmetic may go on with.
pub(super) fn bounded(exponent: Exponent) -> Result<Exponent, Obstacle> {
    let fits = exponent.numer().abs() <= EXPONENT_MAX && *exponent.denom() <= 1000;
    if fits { Ok(exponent) } else { Err(Obstacle::TooLarge) }
}
