//! Real numbers enclosed between two binary fractions: arithmetic that is never wrong, only wide.
//!
//! Every operation rounds outward, and series stop with a bound on what they leave out, so that two enclosures
//! that do not meet prove two different numbers.

use num_bigint::{BigInt, BigUint};
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::super::budget::Obstacle;

/// Arguments of the exponential function.
const EXP_MAX: u32 = 20_000;
/// Bits that intermediate values may have in front of the point.
const WHOLE_BITS_MAX: u64 = 60_000;

/// `low / 2^bits <= value <= high / 2^bits`.
#[derive(Debug, Clone)]
pub(super) struct Enclosure {
    pub low: BigInt,
    pub high: BigInt,
    bits: u32,
}

impl Enclosure {
    fn new(low: BigInt, high: BigInt, bits: u32) -> Self {
        Self { low, high, bits }
    }

    pub fn integer(value: i64, bits: u32) -> Self {
        let value = BigInt::from(value) << bits;
        Self::new(value.clone(), value, bits)
    }

    pub fn rational(value: &BigRational, bits: u32) -> Self {
        let scaled = value.numer() << bits;
        Self::new(floor(&scaled, value.denom()), ceiling(&scaled, value.denom()), bits)
    }

    pub fn contains_zero(&self) -> bool {
        !self.low.is_positive() && !self.high.is_negative()
    }

    pub fn meets(&self, other: &Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }

    /// The whole number below all of it, if there is only one.
    pub fn floor(&self) -> Option<BigInt> {
        let scale = BigInt::one() << self.bits;
        let (low, high) = (floor(&self.low, &scale), floor(&self.high, &scale));
        (low == high).then_some(low)
    }

    /// The value times a whole factor, rounded to the nearest whole number, if all of it rounds alike.
    pub fn rounded(&self, factor: &BigInt) -> Option<BigInt> {
        let half = BigInt::one() << (self.bits - 1);
        let shifted = Self::new(&self.low * factor + &half, &self.high * factor + &half, self.bits);
        shifted.floor()
    }

    pub fn plus(&self, other: &Self) -> Self {
        Self::new(&self.low + &other.low, &self.high + &other.high, self.bits)
    }

    pub fn negated(&self) -> Self {
        Self::new(-&self.high, -&self.low, self.bits)
    }

    pub fn minus(&self, other: &Self) -> Self {
        self.plus(&other.negated())
    }

    pub fn times(&self, other: &Self) -> Result<Self, Obstacle> {
        let ends = [
            &self.low * &other.low,
            &self.low * &other.high,
            &self.high * &other.low,
            &self.high * &other.high,
        ];
        let scale = BigInt::one() << self.bits;
        let low = floor(ends.iter().min().unwrap_or(&ends[0]), &scale);
        let high = ceiling(ends.iter().max().unwrap_or(&ends[0]), &scale);
        Self::new(low, high, self.bits).checked()
    }

    pub fn inverse(&self) -> Result<Self, Obstacle> {
        if self.contains_zero() {
            return Err(Obstacle::Undefined);
        }
        let square = BigInt::one() << (2 * self.bits);
        Ok(Self::new(floor(&square, &self.high), ceiling(&square, &self.low), self.bits))
    }

    fn checked(self) -> Result<Self, Obstacle> {
        let bits = self.low.bits().max(self.high.bits());
        if bits > WHOLE_BITS_MAX + u64::from(self.bits) { Err(Obstacle::TooLarge) } else { Ok(self) }
    }

    pub fn pow(&self, exponent: i64) -> Result<Self, Obstacle> {
        let base = if exponent < 0 { self.inverse()? } else { self.clone() };
        let exponent = exponent.unsigned_abs();
        let mut out = Self::integer(1, self.bits);
        for bit in (0..64 - exponent.leading_zeros()).rev() {
            out = out.times(&out)?;
            if exponent >> bit & 1 == 1 {
                out = out.times(&base)?;
            }
        }
        Ok(out)
    }

    /// The root of a value that is not negative.
    pub fn root(&self, index: u32) -> Result<Self, Obstacle> {
        let end = |value: &BigInt| -> Option<BigUint> {
            let shifted = value.to_biguint()? << (u64::from(self.bits) * u64::from(index - 1));
            Some(shifted.nth_root(index))
        };
        // A low end below zero by rounding alone still has a root of zero.
        let low = end(&self.low).unwrap_or_default();
        let high = end(&self.high).ok_or(Obstacle::Undefined)?;
        Ok(Self::new(low.into(), BigInt::from(high) + 1, self.bits))
    }

    pub fn pi(bits: u32) -> Self {
        // Machin: pi = 16 arctan(1/5) - 4 arctan(1/239).
        let part =
            |factor: i64, of: u32| Self::integer(factor, bits).times_small(&arctangent_of_inverse(of, bits));
        part(16, 5).plus(&part(-4, 239))
    }

    /// The product with a small whole number, exact.
    fn times_small(&self, other: &Self) -> Self {
        let factor = &self.low >> self.bits;
        let (a, b) = (&other.low * &factor, &other.high * &factor);
        if factor.is_negative() { Self::new(b, a, self.bits) } else { Self::new(a, b, self.bits) }
    }

    pub fn exp(&self) -> Result<Self, Obstacle> {
        let limit = BigInt::from(EXP_MAX) << self.bits;
        if self.high > limit || self.low < -limit {
            return Err(Obstacle::TooLarge);
        }
        // exp(x) = exp(x / 2^halvings)^(2^halvings), with guard bits for the squarings.
        let whole = (self.high.magnitude().max(self.low.magnitude()) >> self.bits).bits() as u32;
        let (halvings, guard) = (whole + 8, 64 + 2 * whole);
        let argument = self.widened(guard).halved(halvings);
        let mut sum = Self::integer(1, argument.bits);
        let mut term = sum.clone();
        for k in 1_u32.. {
            term = term.times(&argument)?.divided(k);
            sum = sum.plus(&term);
            if term.low.magnitude().max(term.high.magnitude()).bits() <= 1 {
                break;
            }
        }
        // What is left of the series is less than its last term, which is below two units.
        let mut out = Self::new(sum.low - 4, sum.high + 4, argument.bits);
        for _ in 0..halvings {
            out = out.times(&out)?;
        }
        Ok(out.narrowed(guard))
    }

    /// The natural logarithm of a positive value.
    pub fn ln(&self) -> Result<Self, Obstacle> {
        if !self.low.is_positive() {
            return Err(Obstacle::Undefined);
        }
        let low = ln_of(&self.low, self.bits)?;
        let high = ln_of(&self.high, self.bits)?;
        Ok(Self::new(low.low, high.high, self.bits))
    }

    fn divided(&self, by: u32) -> Self {
        let by = BigInt::from(by);
        Self::new(floor(&self.low, &by), ceiling(&self.high, &by), self.bits)
    }

    fn halved(&self, times: u32) -> Self {
        let by = BigInt::one() << times;
        Self::new(floor(&self.low, &by), ceiling(&self.high, &by), self.bits)
    }

    fn widened(&self, guard: u32) -> Self {
        Self::new(&self.low << guard, &self.high << guard, self.bits + guard)
    }

    fn narrowed(&self, guard: u32) -> Self {
        let narrow = self.halved(guard);
        Self::new(narrow.low, narrow.high, self.bits - guard)
    }
}

/// arctan(1/n) for a whole n above 1.
fn arctangent_of_inverse(n: u32, bits: u32) -> Enclosure {
    let square = BigInt::from(n) * n;
    let mut power = (BigInt::one() << bits) / n;
    let mut sum = power.clone();
    let mut k = 1_u32;
    let mut terms = 1;
    while !power.is_zero() {
        power /= &square;
        k += 2;
        let term = &power / k;
        if terms % 2 == 1 {
            sum -= term;
        } else {
            sum += term;
        }
        terms += 1;
    }
    // Two truncations a term, and the rest of the series.
    let error = BigInt::from(3 * terms + 3);
    Enclosure::new(&sum - &error, sum + error, bits)
}

/// ln(value / 2^bits) for a positive whole value: 2 artanh((m - 1) / (m + 1)) with m in [1, 2), and ln 2 for the rest.
fn ln_of(value: &BigInt, bits: u32) -> Result<Enclosure, Obstacle> {
    let guard = 32;
    let work = bits + guard;
    let length = value.bits() as i64;
    let shift = length - 1 - i64::from(bits);
    let scaled = value << guard;
    let mantissa = if shift >= 0 {
        Enclosure::new(&scaled >> shift, (&scaled >> shift) + 1, work)
    } else {
        let exact = scaled << (-shift);
        Enclosure::new(exact.clone(), exact, work)
    };
    let twice_artanh = |m: &Enclosure| -> Result<Enclosure, Obstacle> {
        let one = Enclosure::integer(1, work);
        let ratio = m.minus(&one).times(&m.plus(&one).inverse()?)?;
        let square = ratio.times(&ratio)?;
        let mut power = ratio.clone();
        let mut sum = ratio;
        let mut k = 1_u32;
        while power.low.magnitude().max(power.high.magnitude()).bits() > 1 {
            power = power.times(&square)?;
            k += 2;
            sum = sum.plus(&power.divided(k));
        }
        // The ratio is at most 1/3, so the rest is less than an eighth of the last power.
        Ok(Enclosure::new((sum.low - 4) * 2, (sum.high + 4) * 2, work))
    };
    let ln2 = twice_artanh(&Enclosure::integer(2, work))?;
    let shift = Enclosure::integer(shift.to_i32().ok_or(Obstacle::TooLarge)?.into(), work);
    Ok(twice_artanh(&mantissa)?.plus(&shift.times_small(&ln2)).narrowed(guard))
}

fn floor(value: &BigInt, by: &BigInt) -> BigInt {
    let (quotient, remainder) = (value / by, value % by);
    if !remainder.is_zero() && remainder.is_negative() != by.is_negative() { quotient - 1 } else { quotient }
}

fn ceiling(value: &BigInt, by: &BigInt) -> BigInt {
    -floor(&-value, by)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `digits` is the value times 10^30, cut.
    #[track_caller]
    fn check(value: &Enclosure, digits: &str) {
        let scale = BigInt::from(10).pow(30);
        let wide = Enclosure::new(&value.low * &scale, &value.high * &scale, value.bits);
        assert_eq!(wide.floor().map(|found| found.to_string()).as_deref(), Some(digits));
    }

    fn ratio(top: i64, bottom: i64) -> Enclosure {
        Enclosure::rational(&BigRational::new(top.into(), bottom.into()), 192)
    }

    // Digits from A000796, A001113, A002162, A002392, A002193, A002581.
    #[test]
    fn constants_agree_with_published_digits() {
        check(&Enclosure::pi(192), "3141592653589793238462643383279");
        check(&ratio(1, 1).exp().unwrap(), "2718281828459045235360287471352");
        check(&ratio(2, 1).ln().unwrap(), "693147180559945309417232121458");
        check(&ratio(10, 1).ln().unwrap(), "2302585092994045684017991454684");
        check(&ratio(2, 1).root(2).unwrap(), "1414213562373095048801688724209");
        check(&ratio(3, 1).root(3).unwrap(), "1442249570307408382321638310780");
    }

    #[test]
    fn functions_undo_each_other() {
        for (top, bottom) in [(1, 7), (5, 3), (1000, 1), (1, 1000)] {
            let value = ratio(top, bottom);
            let back = value.ln().unwrap().exp().unwrap();
            assert!(back.meets(&value) && (&back.high - &back.low).bits() < 40, "{top}/{bottom}");
            let back = value.root(5).unwrap().pow(5).unwrap();
            assert!(back.meets(&value), "{top}/{bottom}");
        }
        assert!(ratio(-1, 1).ln().is_err() && ratio(0, 1).inverse().is_err());
    }
}
