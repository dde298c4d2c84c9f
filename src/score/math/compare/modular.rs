//! Expressions modulo a prime at fixed points: a proof that two of them differ, where working them out is too long.
//!
//! Two rational functions that are the same have the same value wherever both have one, in every field. So two
//! values that are not the same prove two functions that are not. Equal values prove nothing: x and x^p agree
//! everywhere.

use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive};

use super::super::budget::{Budget, Obstacle};
use super::super::latex::Expression;
use super::scalar::scalar;

/// 2^61 - 1, a prime.
const PRIME: u64 = (1 << 61) - 1;
const SAMPLES: u64 = 3;

/// Whether two expressions certainly have different values.
pub(in super::super) fn differ(a: &Expression, b: &Expression, budget: &mut Budget) -> bool {
    (1..=SAMPLES).any(|sample| {
        let values = (residue(a, sample, budget), residue(b, sample, budget));
        matches!(values, (Ok(a), Ok(b)) if a != b)
    })
}

fn residue(expression: &Expression, sample: u64, budget: &mut Budget) -> Result<u64, Obstacle> {
    budget.spend(1)?;
    let mut all = |parts: &[Expression], start: u64, combine: fn(u64, u64) -> u64| {
        parts.iter().try_fold(start, |value, part| Ok(combine(value, residue(part, sample, budget)?)))
    };
    match expression {
        Expression::Number { value, .. } => divided(reduced(value.numer()), reduced(value.denom())),
        Expression::Variable(name) => Ok(stand_in(name, sample)),
        Expression::Sum(terms) => all(terms, 0, plus),
        Expression::Product(factors) => all(factors, 1, times),
        Expression::Negative(inner) => Ok(times(PRIME - 1, residue(inner, sample, budget)?)),
        Expression::Quotient(top, bottom) => {
            let top = residue(top, sample, budget)?;
            divided(top, residue(bottom, sample, budget)?)
        }
        Expression::Power(base, exponent) => {
            let base = residue(base, sample, budget)?;
            let exponent = scalar(exponent, false, budget)?.whole().ok_or(Obstacle::Unread)?;
            // The multiplicative group has PRIME - 1 elements.
            let turns = (exponent.abs() % (PRIME - 1)).to_u64().ok_or(Obstacle::Unread)?;
            let power =
                if base == 0 && !num_traits::Zero::is_zero(&exponent) { 0 } else { raised(base, turns) };
            if exponent.is_negative() { divided(1, power) } else { Ok(power) }
        }
        _ => Err(Obstacle::Unread),
    }
}

fn reduced(value: &BigInt) -> u64 {
    let residue = value % PRIME;
    let residue = if residue.is_negative() { residue + PRIME } else { residue };
    residue.to_u64().unwrap_or_default()
}

fn plus(a: u64, b: u64) -> u64 {
    (a + b) % PRIME
}

fn times(a: u64, b: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(PRIME)) as u64
}

fn raised(base: u64, exponent: u64) -> u64 {
    let (mut base, mut exponent, mut out) = (base, exponent, 1);
    while exponent > 0 {
        if exponent % 2 == 1 {
            out = times(out, base);
        }
        base = times(base, base);
        exponent /= 2;
    }
    out
}

fn divided(top: u64, bottom: u64) -> Result<u64, Obstacle> {
    if bottom == 0 { Err(Obstacle::Undefined) } else { Ok(times(top, raised(bottom, PRIME - 2))) }
}

/// A residue for a name, the same in both expressions.
fn stand_in(name: &str, sample: u64) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64 ^ sample, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // One more round, so that short names are not neighbours.
    (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) % PRIME
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::math::latex;
    use crate::score::math::number::Convention;

    #[track_caller]
    fn check(a: &str, b: &str, expected: bool) {
        let mut budget = Budget::new(100_000);
        let mut parse = |text: &str| latex::parse(text, Convention::Canonical, &mut budget).unwrap();
        let (a_, b_) = (parse(a), parse(b));
        assert_eq!(differ(&a_, &b_, &mut budget), expected, "{a} and {b}");
    }

    #[test]
    fn different_residues_prove_difference() {
        check("(x+1)^2", "x^2+2x+1", false);
        check("(x+1)^2", "x^2+2x+2", true);
        check("(a+b+c+d)^{400}", "(a+b+c)^{400}", true);
        check("(a+b+c+d)^{400}", "(d+c+b+a)^{400}", false);
        check(r"\frac{1}{x}-\frac{1}{x+1}", r"\frac{1}{x(x+1)}", false);
        check("2^{1000000}", "2^{1000001}", true);
        check(r"2\cdot 2^{1000000}", "2^{1000001}", false);
        check("0", "10^{1000000000}", true);
        // x^p is x modulo p, whatever x is: no proof.
        check("x", "x^{2305843009213693951}", false);
        check(r"\pi", "3", false);
    }
}
