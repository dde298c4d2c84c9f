//! Formulas by recursive descent: sums of products of powers, and sets.
//!
//! Stricter than TeX where a reader could be misled: `1/2x`, a number right after a number, or `\sqrt12` have no
//! reading at all.

use super::super::budget::Obstacle;
use super::clean::{FUNCTIONS, SET_OPEN};
use super::expression::{Expression, Fence, Operation};
use super::item::{closing, item};
use super::list::{Context, items, split};
use super::spelling::spelled;
use super::token::{Kind, Token, value};

/// The whole of the tokens as one formula.
pub(super) fn formula(tokens: &[Token], context: &mut Context) -> Result<Expression, Obstacle> {
    context.budget.spend(tokens.len())?;
    // {a \over b} and {n \choose k} split everything around them.
    for (name, binomial) in [("over", false), ("choose", true)] {
        if let [top, bottom] = split(tokens, |token| token.is_command(name))?.as_slice() {
            let (top, bottom) =
                context.deeper(|context| Ok((formula(top, context)?, formula(bottom, context)?)))?;
            let (top, bottom) = (Box::new(top), Box::new(bottom));
            return Ok(if binomial {
                Expression::Binomial(top, bottom)
            } else {
                Expression::Quotient(top, bottom)
            });
        }
    }
    let tokens = spelled(tokens)?;
    context.deeper(|context| {
        let mut parser = Parser { tokens: &tokens, at: 0, context };
        let parsed = parser.set()?;
        if parser.at == tokens.len() { Ok(parsed) } else { Err(Obstacle::Unread) }
    })
}

pub(super) struct Parser<'a, 'b, 'c> {
    pub(super) tokens: &'a [Token],
    pub(super) at: usize,
    pub(super) context: &'b mut Context<'c>,
}

impl<'a> Parser<'a, '_, '_> {
    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    pub(super) fn peek_is(&self, symbol: char) -> bool {
        self.peek().is_some_and(|token| token.is(symbol))
    }

    pub(super) fn accept(&mut self, symbol: char) -> bool {
        let found = self.peek_is(symbol);
        self.at += usize::from(found);
        found
    }

    pub(super) fn accept_command(&mut self, name: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is_command(name));
        self.at += usize::from(found);
        found
    }

    fn set(&mut self) -> Result<Expression, Obstacle> {
        let mut left = self.sum()?;
        loop {
            let by_letter = matches!(left, Expression::Fenced(..) | Expression::Sets(..))
                && self.peek().is_some_and(|token| token.kind == Kind::Letters("U".to_owned()));
            let operation = if self.accept_command("cup") {
                Operation::Union
            } else if by_letter {
                self.at += 1;
                Operation::Union
            } else if self.accept_command("cap") {
                Operation::Intersection
            } else if self.accept_command("setminus") {
                Operation::Difference
            } else {
                return Ok(left);
            };
            let right = self.sum()?;
            left = Expression::Sets(operation, Box::new(left), Box::new(right));
        }
    }

    fn sum(&mut self) -> Result<Expression, Obstacle> {
        let mut terms = Vec::new();
        loop {
            let sign = self.sign();
            if sign.is_none() && !terms.is_empty() {
                break;
            }
            if terms.is_empty() && self.at >= self.tokens.len() {
                return Err(Obstacle::Unread);
            }
            let term = self.product()?;
            terms.push(match sign {
                None | Some(Sign::Plus) => term,
                Some(Sign::Minus) => negative(term),
                Some(Sign::Both(minus_first)) => Expression::PlusMinus(minus_first, Box::new(term)),
            });
        }
        Ok(if terms.len() == 1 { terms.remove(0) } else { Expression::Sum(terms) })
    }

    fn sign(&mut self) -> Option<Sign> {
        let sign = if self.peek_is('+') {
            // Plain text writes +- for both signs.
            if self.tokens.get(self.at + 1).is_some_and(|token| token.is('-')) {
                return None;
            }
            Sign::Plus
        } else if self.peek_is('-') {
            Sign::Minus
        } else if self.peek()?.is_command("pm") {
            Sign::Both(false)
        } else if self.peek()?.is_command("mp") {
            Sign::Both(true)
        } else {
            return None;
        };
        self.at += 1;
        Some(sign)
    }

    fn product(&mut self) -> Result<Expression, Obstacle> {
        let mut left = self.signed_power()?;
        let mut after_slash = false;
        loop {
            if self.accept('*') {
                let right = self.signed_power()?;
                left = product(left, right);
                after_slash = false;
            } else if self.accept('/') {
                let right = self.signed_power()?;
                left = Expression::Quotient(Box::new(left), Box::new(right));
                after_slash = true;
            } else if let Some(next) = self.peek().filter(|token| self.starts_factor(token)) {
                // 1/2x is a half of x to some and 1/(2x) to others; a number after anything is a slip.
                if (after_slash && !next.spaced) || matches!(next.kind, Kind::Number { .. }) {
                    return Err(Obstacle::Ambiguous);
                }
                let right = self.power()?;
                left = product(left, right);
            } else {
                return Ok(left);
            }
        }
    }

    pub(super) fn starts_factor(&self, token: &Token) -> bool {
        match &token.kind {
            Kind::Number { .. } | Kind::Begin(_) => true,
            Kind::Letters(letter) => {
                letter != "U"
                    || self.at == 0
                    || !self.tokens[self.at - 1].is(')') && !self.tokens[self.at - 1].is(']')
            }
            Kind::Symbol(c) => matches!(*c, '(' | '[' | '{' | SET_OPEN | '|'),
            Kind::Command(name) => {
                FUNCTIONS.contains(&name.as_str())
                    || matches!(
                        name.as_str(),
                        "frac"
                            | "sqrt"
                            | "radical"
                            | "cuberoot"
                            | "pi"
                            | "infty"
                            | "binom"
                            | "langle"
                            | "lfloor"
                            | "lceil"
                    )
            }
            _ => false,
        }
    }

    /// A power that may have a sign of its own, after an operator: 2 * -3.
    fn signed_power(&mut self) -> Result<Expression, Obstacle> {
        let after_operator =
            self.at > 0 && (self.tokens[self.at - 1].is('*') || self.tokens[self.at - 1].is('/'));
        if after_operator && self.accept('-') {
            return Ok(negative(self.power()?));
        }
        self.power()
    }

    pub(super) fn power(&mut self) -> Result<Expression, Obstacle> {
        let base = self.postfix()?;
        if !self.accept('^') {
            return Ok(base);
        }
        let exponent = self.script()?;
        // 2^3! and 2^3^4 have two readings.
        if self.peek_is('^') || self.peek_is('!') {
            return Err(Obstacle::Ambiguous);
        }
        Ok(Expression::Power(Box::new(base), Box::new(exponent)))
    }

    /// What stands after ^ or _: a group, or a single thing with a sign.
    pub(super) fn script(&mut self) -> Result<Expression, Obstacle> {
        let minus = self.accept('-');
        let inner = if self.peek_is('{') { self.braced()? } else { self.primary()? };
        Ok(if minus { negative(inner) } else { inner })
    }

    fn postfix(&mut self) -> Result<Expression, Obstacle> {
        let mut base = self.primary()?;
        if self.peek_is('!') {
            self.at += 1;
            if self.peek_is('!') {
                return Err(Obstacle::Unread);
            }
            base = Expression::Factorial(Box::new(base));
        }
        Ok(base)
    }

    pub(super) fn primary(&mut self) -> Result<Expression, Obstacle> {
        let token = self.peek().ok_or(Obstacle::Unread)?;
        match &token.kind {
            Kind::Number { digits, places } => {
                self.at += 1;
                self.number(digits, *places)
            }
            Kind::Letters(letter) => {
                self.at += 1;
                self.letter(letter)
            }
            Kind::Symbol('(' | '[' | SET_OPEN) => self.fenced(),
            Kind::Symbol('{') => self.braced(),
            Kind::Symbol('|') => self.absolute(),
            Kind::Begin(environment) => self.matrix(environment),
            Kind::Command(name) => {
                if matches!(name.as_str(), "langle" | "lfloor" | "lceil") {
                    return self.fenced();
                }
                self.at += 1;
                self.command(name)
            }
            _ => Err(Obstacle::Unread),
        }
    }

    fn letter(&mut self, letter: &str) -> Result<Expression, Obstacle> {
        if self.accept('_') {
            let start = self.at;
            self.script()?;
            let index: String = self.tokens[start..self.at].iter().filter_map(subscript_text).collect();
            return Ok(Expression::Variable(format!("{letter}_{index}")));
        }
        if self.peek_is('\'') {
            return Err(Obstacle::Unread);
        }
        let applied = self.peek().is_some_and(|token| token.is('(') && !token.spaced);
        if applied && matches!(letter, "f" | "g" | "h" | "F" | "G") {
            let close = closing(self.tokens, self.at).ok_or(Obstacle::Unread)?;
            let (_, arguments) = items(&self.tokens[self.at + 1..close], self.context)?;
            self.at = close + 1;
            return Ok(Expression::Function(letter.to_owned(), arguments));
        }
        Ok(match letter {
            "e" => Expression::Euler,
            "i" => Expression::Imaginary,
            letter => Expression::Variable(letter.to_owned()),
        })
    }

    /// A bracket of any kind and what is in it.
    fn fenced(&mut self) -> Result<Expression, Obstacle> {
        let open = self.at;
        let close = closing(self.tokens, open).ok_or(Obstacle::Unread)?;
        let inner = &self.tokens[open + 1..close];
        self.at = close + 1;
        if let Kind::Command(name) = &self.tokens[open].kind
            && name != "langle"
        {
            let inner = self.context.deeper(|context| item(inner, context))?;
            return Ok(Expression::Rounded(name == "lceil", Box::new(inner)));
        }
        if self.tokens[open].is(SET_OPEN) {
            return self.set_braces(inner);
        }
        let fence = if self.tokens[open].is_command("langle") {
            Fence::Angle
        } else {
            Fence::Bracket { low_closed: self.tokens[open].is('['), high_closed: self.tokens[close].is(']') }
        };
        let (_, mut inside) = items(inner, self.context)?;
        match (inside.len(), fence) {
            (0, _) => Err(Obstacle::Unread),
            (1, fence) if fence == Fence::ROUND => Ok(inside.remove(0)),
            (1, fence) if fence != Fence::SQUARE && fence != Fence::Angle => Err(Obstacle::Unread),
            _ => Ok(Expression::Fenced(fence, inside)),
        }
    }

    fn set_braces(&mut self, inner: &[Token]) -> Result<Expression, Obstacle> {
        if inner.is_empty() {
            return Ok(Expression::EmptySet);
        }
        let bar = |token: &Token| token.is('|') || token.is(':') || token.is_command("mid");
        let parts = split(inner, bar)?;
        if let [element, condition] = parts.as_slice() {
            let element = self.context.deeper(|context| item(element, context))?;
            let condition = super::list::whole(condition, self.context.convention, self.context.budget)?;
            return Ok(Expression::Builder(Box::new(element), Box::new(condition)));
        }
        let (_, inside) = items(inner, self.context)?;
        Ok(Expression::Fenced(Fence::Curly, inside))
    }

    /// TeX braces: one thing, or a set where a list stands in them.
    fn braced(&mut self) -> Result<Expression, Obstacle> {
        let close = closing(self.tokens, self.at).ok_or(Obstacle::Unread)?;
        let inner = &self.tokens[self.at + 1..close];
        self.at = close + 1;
        let (_, mut inside) = self.context.deeper(|context| items(inner, context))?;
        match inside.len() {
            0 => Err(Obstacle::Unread),
            1 => Ok(inside.remove(0)),
            _ => Ok(Expression::Fenced(Fence::Curly, inside)),
        }
    }

    fn absolute(&mut self) -> Result<Expression, Obstacle> {
        let start = self.at + 1;
        let length = self.tokens[start..].iter().position(|token| token.is('|')).ok_or(Obstacle::Unread)?;
        let inner = &self.tokens[start..start + length];
        self.at = start + length + 1;
        Ok(Expression::Absolute(Box::new(formula(inner, self.context)?)))
    }

    /// The argument of a command: a group or a single digit or letter.
    pub(super) fn argument(&mut self) -> Result<Expression, Obstacle> {
        match self.peek().map(|token| &token.kind) {
            Some(Kind::Symbol('{')) => self.braced(),
            Some(Kind::Number { digits, places: 0 }) if digits.len() == 1 => {
                self.at += 1;
                Ok(Expression::Number { value: value(digits, 0), places: 0 })
            }
            Some(Kind::Letters(_)) => self.primary(),
            Some(Kind::Command(name)) if matches!(name.as_str(), "pi" | "sqrt" | "frac" | "infty") => {
                self.primary()
            }
            _ => Err(Obstacle::Ambiguous),
        }
    }

    fn fraction(&mut self) -> Result<Expression, Obstacle> {
        let (top, bottom) = match self.peek().map(|token| &token.kind) {
            // \frac12 has two digits for its two arguments; more would be a guess.
            Some(Kind::Number { digits, places: 0 }) if digits.len() == 2 => {
                self.at += 1;
                let literal = |digits: &str| Expression::Number { value: value(digits, 0), places: 0 };
                (literal(&digits[..1]), literal(&digits[1..]))
            }
            _ => (self.argument()?, self.argument()?),
        };
        Ok(Expression::Quotient(Box::new(top), Box::new(bottom)))
    }

    fn command(&mut self, name: &str) -> Result<Expression, Obstacle> {
        match name {
            "frac" => self.fraction(),
            "sqrt" => self.root(),
            "radical" | "cuberoot" => {
                let index = if name == "radical" { 2 } else { 3 };
                Ok(Expression::Root(index, Box::new(self.primary()?)))
            }
            "binom" => {
                let (top, bottom) = (self.argument()?, self.argument()?);
                Ok(Expression::Binomial(Box::new(top), Box::new(bottom)))
            }
            "pi" => Ok(Expression::Pi),
            "infty" => Ok(Expression::Infinity),
            "emptyset" => Ok(Expression::EmptySet),
            name if FUNCTIONS.contains(&name) => self.function(name),
            name => match name.strip_prefix("numbers").and_then(|letter| letter.chars().next()) {
                Some(letter) => Ok(Expression::Numbers(letter)),
                None => Err(Obstacle::Unread),
            },
        }
    }
}

enum Sign {
    Plus,
    Minus,
    Both(bool),
}

fn negative(term: Expression) -> Expression {
    match term {
        Expression::Number { value, places } => Expression::Number { value: -value, places },
        term => Expression::Negative(Box::new(term)),
    }
}

pub(super) fn product(left: Expression, right: Expression) -> Expression {
    match left {
        Expression::Product(mut factors) => {
            factors.push(right);
            Expression::Product(factors)
        }
        left => Expression::Product(vec![left, right]),
    }
}

fn subscript_text(token: &Token) -> Option<String> {
    match &token.kind {
        Kind::Number { digits, .. } => Some(digits.clone()),
        Kind::Letters(text) | Kind::Words(text) => Some(text.clone()),
        Kind::Symbol('{' | '}') => None,
        Kind::Symbol(c) => Some(c.to_string()),
        Kind::Command(name) => Some(name.clone()),
        _ => None,
    }
}
