//! Roots and named functions, with the arguments they take: `\sin 2x` is the sine of 2x.

use num_rational::BigRational;

use super::super::budget::Obstacle;
use super::clean::FUNCTIONS;
use super::expression::Expression;
use super::formula::{Parser, product};
use super::item::closing;
use super::list::items;
use super::token::{Kind, Token};

impl Parser<'_, '_, '_> {
    pub(super) fn root(&mut self) -> Result<Expression, Obstacle> {
        let mut index = 2;
        if self.peek_is('[') {
            let close = closing(self.tokens, self.at).ok_or(Obstacle::Unread)?;
            index = match &self.tokens[self.at + 1..close] {
                [Token { kind: Kind::Number { digits, places: 0 }, .. }] => {
                    digits.parse().map_err(|_| Obstacle::Unread)?
                }
                _ => return Err(Obstacle::Unread),
            };
            self.at = close + 1;
        }
        let spaced_number =
            matches!(self.peek(), Some(Token { kind: Kind::Number { places: 0, .. }, spaced: true }));
        let inner = if spaced_number || self.peek_is('(') { self.primary()? } else { self.argument()? };
        Ok(Expression::Root(index, Box::new(inner)))
    }

    pub(super) fn function(&mut self, name: &str) -> Result<Expression, Obstacle> {
        let base = if self.accept('_') { Some(Box::new(self.script()?)) } else { None };
        let exponent = if self.accept('^') { Some(self.script()?) } else { None };
        let inverse = matches!(&exponent, Some(Expression::Negative(_)));
        if inverse || (base.is_some() && name != "log") {
            return Err(Obstacle::Unread);
        }
        let arguments = self.function_arguments()?;
        let applied = match (name, arguments.as_slice()) {
            ("log", [argument]) => Expression::Logarithm(base, Box::new(argument.clone())),
            ("ln", [argument]) => {
                Expression::Logarithm(Some(Box::new(Expression::Euler)), Box::new(argument.clone()))
            }
            ("lg", [argument]) => {
                let ten = Expression::Number { value: BigRational::from_integer(10.into()), places: 0 };
                Expression::Logarithm(Some(Box::new(ten)), Box::new(argument.clone()))
            }
            ("exp", [argument]) => Expression::Power(Box::new(Expression::Euler), Box::new(argument.clone())),
            _ => Expression::Function(name.to_owned(), arguments),
        };
        Ok(match exponent {
            Some(exponent) => Expression::Power(Box::new(applied), Box::new(exponent)),
            None => applied,
        })
    }

    /// A bracket, or the factors up to the next operator or function: \sin 2x.
    fn function_arguments(&mut self) -> Result<Vec<Expression>, Obstacle> {
        if self.peek_is('(') {
            let close = closing(self.tokens, self.at).ok_or(Obstacle::Unread)?;
            let (_, arguments) = items(&self.tokens[self.at + 1..close], self.context)?;
            self.at = close + 1;
            // \ln(2)^3 and \sin(x)y have more than one reading.
            let goes_on = self.peek().is_some_and(|token| token.is('^') || token.is('!'));
            return if goes_on || arguments.is_empty() { Err(Obstacle::Ambiguous) } else { Ok(arguments) };
        }
        let mut argument = self.power()?;
        while let Some(next) = self.peek().filter(|token| self.starts_factor(token)) {
            match &next.kind {
                Kind::Command(name) if FUNCTIONS.contains(&name.as_str()) => break,
                Kind::Symbol(_) | Kind::Number { .. } => return Err(Obstacle::Ambiguous),
                _ => argument = product(argument, self.power()?),
            }
        }
        // \ln 2/3 may be ln(2/3) or (ln 2)/3.
        if self.peek_is('/') { Err(Obstacle::Ambiguous) } else { Ok(vec![argument]) }
    }
}
