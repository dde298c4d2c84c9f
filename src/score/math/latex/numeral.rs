//! Numbers inside formulas: bases, digits that repeat, mixed numbers.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::super::budget::Obstacle;
use super::expression::Expression;
use super::formula::Parser;
use super::token::{Kind, Token, value};

impl Parser<'_, '_, '_> {
    pub(super) fn number(&mut self, digits: &str, places: usize) -> Result<Expression, Obstacle> {
        let literal = value(digits, places);
        if self.accept('_') {
            let base = match self.script()? {
                Expression::Number { value, .. } => {
                    value.to_integer().to_u32().filter(|base| (2..=36).contains(base))
                }
                _ => None,
            };
            let base = base.filter(|_| places == 0).ok_or(Obstacle::Unread)?;
            return Ok(Expression::Based(digits.to_owned(), base));
        }
        if let Some(repeated) = self.repeated_digits(places)? {
            return Ok(Expression::Number { value: literal + repeated, places: 0 });
        }
        if let Some(fraction) = self.mixed_part(places)? {
            return Ok(Expression::Number { value: literal + fraction, places: 0 });
        }
        Ok(Expression::Number { value: literal, places })
    }

    /// The digits under a bar, which repeat without end.
    fn repeated_digits(&mut self, places: usize) -> Result<Option<BigRational>, Obstacle> {
        let point = usize::from(places == 0 && (self.peek_is('.') || self.peek_is(',')));
        let over = self.tokens.get(self.at + point).is_some_and(|token| token.is_command("overline"));
        if !over || (places == 0 && point == 0) {
            return Ok(None);
        }
        self.at += point + 1;
        let braced = self.accept('{');
        let Some(Kind::Number { digits, places: 0 }) = self.peek().map(|token| &token.kind) else {
            return Err(Obstacle::Unread);
        };
        self.at += 1;
        if braced && !self.accept('}') || places + digits.len() > 1000 {
            return Err(Obstacle::Unread);
        }
        let ten = BigInt::from(10);
        let below = ten.pow(places as u32) * (ten.pow(digits.len() as u32) - 1);
        Ok(Some(value(digits, 0) / BigRational::from_integer(below)))
    }

    /// The proper fraction right after a whole number, which adds to it.
    fn mixed_part(&mut self, places: usize) -> Result<Option<BigRational>, Obstacle> {
        let rest = &self.tokens[self.at..];
        let numeral = |token: &Token| match &token.kind {
            Kind::Number { digits, places: 0 } => Some(value(digits, 0)),
            _ => None,
        };
        let (top, bottom, length) = match rest {
            [first, slash, second, ..] if slash.is('/') && first.spaced => {
                match (numeral(first), numeral(second)) {
                    (Some(top), Some(bottom)) => (top, bottom, 3),
                    _ => return Ok(None),
                }
            }
            [command, ..] if command.is_command("frac") => {
                let start = self.at;
                self.at += 1;
                let arguments = (self.argument()?, self.argument()?);
                let end = std::mem::replace(&mut self.at, start);
                match arguments {
                    (
                        Expression::Number { value: top, places: 0 },
                        Expression::Number { value: bottom, places: 0 },
                    ) => (top, bottom, end - start),
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        if bottom.is_zero() {
            return Err(Obstacle::Undefined);
        }
        let fraction = top / bottom;
        let proper = fraction.is_positive() && fraction < BigRational::one();
        if places > 0 || !proper {
            return Err(Obstacle::Ambiguous);
        }
        self.at += length;
        Ok(Some(fraction))
    }
}
