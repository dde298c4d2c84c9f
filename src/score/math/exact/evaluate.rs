//! The enclosure of an exact value at a point: complex, because roots of negative numbers are values too.

use num_rational::BigRational;
use num_traits::ToPrimitive;

use super::super::budget::{Budget, Obstacle};
use super::atom::{Atom, Exponent, Monomial};
use super::enclosure::Enclosure;
use super::polynomial::Polynomial;
use super::quotient::Quotient;

/// From this sample on variables stand for negative numbers.
const NEGATIVE_FROM: u32 = 2;

/// Where variables are replaced: by rationals between 1 and 3, or -3 and -1, that depend on their names and on the
/// sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub sample: u32,
    pub bits: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Complex {
    pub real: Enclosure,
    pub imaginary: Enclosure,
}

impl Complex {
    fn real(real: Enclosure, bits: u32) -> Self {
        Self { real, imaginary: Enclosure::integer(0, bits) }
    }

    pub fn meets(&self, other: &Self) -> bool {
        self.real.meets(&other.real) && self.imaginary.meets(&other.imaginary)
    }

    fn plus(&self, other: &Self) -> Self {
        Self { real: self.real.plus(&other.real), imaginary: self.imaginary.plus(&other.imaginary) }
    }

    fn times(&self, other: &Self) -> Result<Self, Obstacle> {
        Ok(Self {
            real: self.real.times(&other.real)?.minus(&self.imaginary.times(&other.imaginary)?),
            imaginary: self.real.times(&other.imaginary)?.plus(&self.imaginary.times(&other.real)?),
        })
    }

    fn over(&self, other: &Self) -> Result<Self, Obstacle> {
        let square = other.real.times(&other.real)?.plus(&other.imaginary.times(&other.imaginary)?);
        let inverse = square.inverse()?;
        let conjugate = Self { real: other.real.clone(), imaginary: other.imaginary.negated() };
        let product = self.times(&conjugate)?;
        Ok(Self { real: product.real.times(&inverse)?, imaginary: product.imaginary.times(&inverse)? })
    }
}

pub(super) fn quotient(value: &Quotient, point: Point, budget: &mut Budget) -> Result<Complex, Obstacle> {
    let top = polynomial(&value.numerator, point, budget)?;
    if value.is_polynomial() { Ok(top) } else { top.over(&polynomial(&value.denominator, point, budget)?) }
}

fn polynomial(value: &Polynomial, point: Point, budget: &mut Budget) -> Result<Complex, Obstacle> {
    let mut sum = Complex::real(Enclosure::integer(0, point.bits), point.bits);
    for (factors, coefficient) in &value.0 {
        budget.spend(10)?;
        let coefficient = Complex::real(Enclosure::rational(coefficient, point.bits), point.bits);
        sum = sum.plus(&coefficient.times(&monomial(factors, point, budget)?)?);
    }
    Ok(sum)
}

fn monomial(value: &Monomial, point: Point, budget: &mut Budget) -> Result<Complex, Obstacle> {
    let mut product = Complex::real(Enclosure::integer(1, point.bits), point.bits);
    for (atom, exponent) in &value.0 {
        budget.spend(10 * (1 + point.bits as usize / 256))?;
        let factor = if *atom == Atom::Imaginary {
            Complex { real: Enclosure::integer(0, point.bits), imaginary: Enclosure::integer(1, point.bits) }
        } else {
            Complex::real(raised(&real_atom(atom, point, budget)?, *exponent)?, point.bits)
        };
        product = product.times(&factor)?;
    }
    Ok(product)
}

fn raised(base: &Enclosure, exponent: Exponent) -> Result<Enclosure, Obstacle> {
    let index = u32::try_from(*exponent.denom()).map_err(|_| Obstacle::TooLarge)?;
    if index > 64 || exponent.numer().unsigned_abs() > 20_000 {
        return Err(Obstacle::TooLarge);
    }
    let base = if index == 1 { base.clone() } else { base.root(index)? };
    base.pow(i64::try_from(*exponent.numer()).map_err(|_| Obstacle::TooLarge)?)
}

fn real_atom(atom: &Atom, point: Point, budget: &mut Budget) -> Result<Enclosure, Obstacle> {
    let bits = point.bits;
    let whole = |value: &num_bigint::BigUint| {
        Enclosure::rational(&BigRational::from_integer(value.clone().into()), bits)
    };
    match atom {
        Atom::Imaginary => Err(Obstacle::Unread),
        Atom::Prime(prime) => Ok(whole(prime)),
        Atom::Pi => Ok(Enclosure::pi(bits)),
        Atom::Euler => Enclosure::integer(1, bits).exp(),
        Atom::Log(prime) => whole(prime).ln(),
        Atom::Variable(name) => Ok(Enclosure::rational(&stand_in(name, point.sample), bits)),
        Atom::Root(index, radicand) => {
            let inner = real(polynomial(radicand, point, budget)?)?;
            if index % 2 == 1 && inner.high <= 0.into() {
                return Ok(inner.negated().root(*index)?.negated());
            }
            if inner.low < 0.into() {
                return Err(Obstacle::Undefined);
            }
            inner.root(*index)
        }
        Atom::Power(base, exponent) => {
            let base = real(polynomial(base, point, budget)?)?;
            let exponent = real(monomial(exponent, point, budget)?)?;
            base.ln()?.times(&exponent)?.exp()
        }
        // As good as a variable.
        Atom::Function(name, arguments) if arguments.is_empty() => {
            Ok(Enclosure::rational(&stand_in(name, point.sample % NEGATIVE_FROM), bits))
        }
        Atom::Function(name, arguments) => {
            let [argument] = arguments.as_slice() else { return Err(Obstacle::Unread) };
            let inner = real(quotient(argument, point, budget)?)?;
            match name.as_str() {
                "ln" => inner.ln(),
                "abs" if inner.low >= 0.into() => Ok(inner),
                "abs" if inner.high <= 0.into() => Ok(inner.negated()),
                _ => Err(Obstacle::Unread),
            }
        }
    }
}

fn real(value: Complex) -> Result<Enclosure, Obstacle> {
    let exactly_real = value.imaginary.low == 0.into() && value.imaginary.high == 0.into();
    if exactly_real { Ok(value.real) } else { Err(Obstacle::Unread) }
}

fn stand_in(name: &str, sample: u32) -> BigRational {
    let start = 0xcbf2_9ce4_8422_2325_u64 ^ u64::from(sample);
    let hash = name.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let part = (hash >> 20).to_i64().unwrap_or_default() % 997;
    let value = BigRational::new((997 + 2 * part + 1).into(), 997.into());
    if sample < NEGATIVE_FROM { value } else { -value }
}
