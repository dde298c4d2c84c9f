//! Prime factors of whole numbers, by trial division as far as the budget reasonably goes.

use num_bigint::BigUint;
use num_traits::{One, ToPrimitive, Zero};

use super::super::budget::{Budget, Obstacle};

/// Divisors that are tried. What is left of a number beyond them is kept as if it were one prime: equal
/// values may then look different, different values never equal.
const DIVISOR_MAX: u32 = 10_000;
const INDEX_MAX: u32 = 64;

/// Prime factors and how often each occurs.
pub(super) fn factor(number: &BigUint, budget: &mut Budget) -> Result<Vec<(BigUint, u32)>, Obstacle> {
    let mut found = Vec::new();
    let mut rest = number.clone();
    if rest.is_zero() {
        return Err(Obstacle::Undefined);
    }
    let mut divisor = 2_u32;
    while divisor <= DIVISOR_MAX && !rest.is_one() {
        if rest.to_u64().is_some_and(|rest| u64::from(divisor).pow(2) > rest) {
            found.push((rest, 1));
            return Ok(found);
        }
        budget.spend(1 + (rest.bits() / 512) as usize)?;
        let mut times = 0;
        while (&rest % divisor).is_zero() {
            rest /= divisor;
            times += 1;
        }
        if times > 0 {
            found.push((BigUint::from(divisor), times));
        }
        divisor += if divisor == 2 { 1 } else { 2 };
    }
    if !rest.is_one() {
        let (base, times) = perfect_power(&rest, budget)?;
        found.push((base, times));
    }
    Ok(found)
}

/// The smallest base of which a number is a power.
fn perfect_power(number: &BigUint, budget: &mut Budget) -> Result<(BigUint, u32), Obstacle> {
    let (mut base, mut times) = (number.clone(), 1);
    let mut index = 2;
    while index <= INDEX_MAX && u64::from(index) < base.bits() {
        budget.spend(1 + (base.bits() / 64) as usize)?;
        let root = base.nth_root(index);
        if root.pow(index) == base {
            base = root;
            times *= index;
        } else {
            index += 1;
        }
    }
    Ok((base, times))
}
