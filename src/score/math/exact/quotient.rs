//! Quotients of two polynomials: the form every scalar answer is brought into.

use num_rational::BigRational;
use num_traits::{One, Signed, Zero};

use super::super::budget::{Budget, Obstacle};
use super::atom::{Atom, Exponent, Monomial};
use super::polynomial::Polynomial;

/// Radicals that are cleared from a denominator; each may double its terms.
const RADICALS_MAX: usize = 6;

const TRIGONOMETRIC: &[&str] = &[
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "arccot", "sinh", "cosh", "tanh",
];

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Quotient {
    pub numerator: Polynomial,
    pub denominator: Polynomial,
}

impl From<Polynomial> for Quotient {
    fn from(numerator: Polynomial) -> Self {
        Self { numerator, denominator: Polynomial::one() }
    }
}

impl Quotient {
    pub fn rational_constant(value: BigRational) -> Self {
        Polynomial::constant(value).into()
    }

    pub fn integer(value: i64) -> Self {
        Polynomial::integer(value).into()
    }

    pub fn atom(atom: Atom) -> Self {
        Polynomial::atom(atom).into()
    }

    pub fn new(
        numerator: Polynomial,
        denominator: Polynomial,
        budget: &mut Budget,
    ) -> Result<Self, Obstacle> {
        if denominator.is_zero() {
            return Err(Obstacle::Undefined);
        }
        if numerator.is_zero() {
            return Ok(Self::integer(0));
        }
        if denominator.is_one() {
            return Ok(numerator.into());
        }
        let (mut numerator, mut denominator) = (numerator, denominator);
        for _ in 0..RADICALS_MAX {
            if let Some(inverse) = denominator.inverse(budget)? {
                return Ok(numerator.times(&inverse, budget)?.into());
            }
            let Some(conjugate) = conjugate(&denominator) else { break };
            numerator = numerator.times(&conjugate, budget)?;
            denominator = denominator.times(&conjugate, budget)?;
            if denominator.is_zero() {
                return Err(Obstacle::Undefined);
            }
        }
        if let Some(inverse) = denominator.inverse(budget)? {
            return Ok(numerator.times(&inverse, budget)?.into());
        }
        if let Some(quotient) = super::division::exact(&numerator, &denominator, budget)? {
            return Ok(quotient.into());
        }
        let (numerator, denominator) = super::division::lowest_terms(numerator, denominator, budget)?;
        let lead = denominator.0.values().next_back().map_or_else(BigRational::one, BigRational::recip);
        Ok(Self {
            numerator: numerator.scaled(&lead, budget)?,
            denominator: denominator.scaled(&lead, budget)?,
        })
    }

    pub fn is_zero(&self) -> bool {
        self.numerator.is_zero()
    }

    pub fn is_polynomial(&self) -> bool {
        self.denominator.is_one()
    }

    pub fn rational(&self) -> Option<BigRational> {
        if self.is_polynomial() { self.numerator.rational() } else { None }
    }

    pub fn whole(&self) -> Option<num_bigint::BigInt> {
        self.rational().filter(BigRational::is_integer).map(|value| value.to_integer())
    }

    pub fn atoms(&self) -> impl Iterator<Item = &Atom> {
        self.numerator.atoms().chain(self.denominator.atoms())
    }

    /// Whether it has no variable, on the face of it or inside a root or a function.
    pub fn is_constant(&self) -> bool {
        self.numerator.is_constant() && self.denominator.is_constant()
    }

    pub fn plus(&self, other: &Self, budget: &mut Budget) -> Result<Self, Obstacle> {
        if self.denominator == other.denominator {
            return Self::new(
                self.numerator.plus(&other.numerator, budget)?,
                self.denominator.clone(),
                budget,
            );
        }
        let left = self.numerator.times(&other.denominator, budget)?;
        let right = other.numerator.times(&self.denominator, budget)?;
        Self::new(left.plus(&right, budget)?, self.denominator.times(&other.denominator, budget)?, budget)
    }

    pub fn minus(&self, other: &Self, budget: &mut Budget) -> Result<Self, Obstacle> {
        self.plus(&other.negated(), budget)
    }

    pub fn negated(&self) -> Self {
        Self { numerator: self.numerator.negated(), denominator: self.denominator.clone() }
    }

    pub fn times(&self, other: &Self, budget: &mut Budget) -> Result<Self, Obstacle> {
        Self::new(
            self.numerator.times(&other.numerator, budget)?,
            self.denominator.times(&other.denominator, budget)?,
            budget,
        )
    }

    pub fn over(&self, other: &Self, budget: &mut Budget) -> Result<Self, Obstacle> {
        Self::new(
            self.numerator.times(&other.denominator, budget)?,
            self.denominator.times(&other.numerator, budget)?,
            budget,
        )
    }

    pub fn pow(&self, exponent: i128, budget: &mut Budget) -> Result<Self, Obstacle> {
        if exponent == 0 {
            return if self.is_zero() { Err(Obstacle::Undefined) } else { Ok(Self::integer(1)) };
        }
        let times = exponent.unsigned_abs();
        let (top, bottom) = (self.numerator.pow(times, budget)?, self.denominator.pow(times, budget)?);
        if exponent > 0 { Self::new(top, bottom, budget) } else { Self::new(bottom, top, budget) }
    }
}

impl Polynomial {
    pub fn is_constant(&self) -> bool {
        self.atoms().all(Atom::is_constant)
    }
}

impl Atom {
    /// Whether it is or contains a function of an angle.
    pub fn is_trigonometric(&self) -> bool {
        let inside = |polynomial: &Polynomial| polynomial.atoms().any(Self::is_trigonometric);
        match self {
            Self::Root(_, radicand) => inside(radicand),
            Self::Power(base, exponent) => {
                inside(base) || exponent.0.iter().any(|(atom, _)| atom.is_trigonometric())
            }
            Self::Function(name, arguments) => {
                TRIGONOMETRIC.contains(&name.as_str())
                    || arguments.iter().any(|argument| argument.atoms().any(Self::is_trigonometric))
            }
            _ => false,
        }
    }

    fn is_constant(&self) -> bool {
        match self {
            Self::Imaginary | Self::Prime(_) | Self::Pi | Self::Euler | Self::Log(_) => true,
            Self::Variable(_) => false,
            Self::Root(_, radicand) => radicand.is_constant(),
            Self::Power(base, exponent) => {
                base.is_constant() && exponent.0.iter().all(|(atom, _)| atom.is_constant())
            }
            // The base of a logarithm that is not given is no known constant.
            Self::Function(_, arguments) => {
                !arguments.is_empty() && arguments.iter().all(Quotient::is_constant)
            }
        }
    }
}

/// For A + B r with r the square root of a prime or of -1: A - B r, whose product with it is free of r.
fn conjugate(denominator: &Polynomial) -> Option<Polynomial> {
    let half = |exponent: &Exponent| *exponent.denom() == 2;
    let radical =
        denominator.0.keys().flat_map(|monomial| &monomial.0).find(|(atom, exponent)| match atom {
            Atom::Imaginary => true,
            // Other roots of the same prime would stay.
            Atom::Prime(_) => {
                half(exponent)
                    && denominator.0.keys().all(|monomial| {
                        let own = monomial.exponent(atom);
                        own.is_zero() || half(&own)
                    })
            }
            _ => false,
        })?;
    let flip = |(monomial, coefficient): (&Monomial, &BigRational)| {
        let odd = !monomial.exponent(&radical.0).is_zero();
        (monomial.clone(), if odd { -coefficient } else { coefficient.clone() })
    };
    Some(Polynomial(denominator.0.iter().map(flip).collect()))
}

/// The greatest rational that divides every coefficient to a whole number; positive.
pub(super) fn content(polynomial: &Polynomial) -> BigRational {
    use num_bigint::BigInt;
    let gcd = |mut a: BigInt, mut b: BigInt| {
        while !b.is_zero() {
            (a, b) = (b.clone(), a % b);
        }
        a.abs()
    };
    let (mut top, mut bottom) = (BigInt::zero(), BigInt::one());
    for coefficient in polynomial.0.values() {
        top = gcd(top, coefficient.numer().clone());
        let common = gcd(bottom.clone(), coefficient.denom().clone());
        bottom = bottom / common * coefficient.denom();
    }
    if top.is_zero() { BigRational::one() } else { BigRational::new(top, bottom) }
}
