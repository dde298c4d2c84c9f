//! Formulas by recursive descent: sums of products of powers, and sets.
//!
//! Stricter than TeX where a reader could be misled: `1/2x`, a number right after a number, or `\sqrt12` have no
//! reading at all.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::super::budget::Obstacle;
use super::clean::{FUNCTIONS, SET_OPEN};
use super::expression::{Expression, Fence, Operation};
use super::item::{closing, item};
use super::list::{Context, items, split};
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

/// Runs of letters become names of functions and constants, or single letters.
fn spelled(tokens: &[Token]) -> Result<Vec<Token>, Obstacle> {
    let mut out = Vec::with_capacity(tokens.len());
    for token in tokens {
        let Kind::Letters(run) = &token.kind else {
            out.push(token.clone());
            continue;
        };
        let mut push = |kind: Kind, first: bool| out.push(Token { kind, spaced: first && token.spaced });
        let known = match run.as_str() {
            "pi" => Some("pi"),
            "sqrt" => Some("radical"),
            "cbrt" => Some("cuberoot"),
            "inf" | "infinity" | "infty" | "oo" => Some("infty"),
            run => FUNCTIONS.iter().find(|name| **name == run).copied(),
        };
        if let Some(name) = known {
            push(Kind::Command(name.to_owned()), true);
            continue;
        }
        // "sinx" and "2pi" are one word to some writers.
        let prefix = FUNCTIONS.iter().chain(&["pi"]).find(|name| name.len() >= 2 && run.starts_with(**name));
        let letters = match prefix.map(|name| (name, &run[name.len()..])) {
            Some((name, rest)) if rest.len() == 1 && run.len() > 3 => {
                push(Kind::Command((*name).to_owned()), true);
                push(Kind::Letters(rest.to_owned()), false);
                continue;
            }
            _ => run,
        };
        if letters.chars().count() > 3 {
            return Err(Obstacle::Unread);
        }
        for (i, letter) in letters.chars().enumerate() {
            push(Kind::Letters(letter.to_string()), i == 0);
        }
    }
    Ok(out)
}

struct Parser<'a, 'b, 'c> {
    tokens: &'a [Token],
    at: usize,
    context: &'b mut Context<'c>,
}

impl<'a> Parser<'a, '_, '_> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    fn peek_is(&self, symbol: char) -> bool {
        self.peek().is_some_and(|token| token.is(symbol))
    }

    fn accept(&mut self, symbol: char) -> bool {
        let found = self.peek_is(symbol);
        self.at += usize::from(found);
        found
    }

    fn accept_command(&mut self, name: &str) -> bool {
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

    fn starts_factor(&self, token: &Token) -> bool {
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

    fn power(&mut self) -> Result<Expression, Obstacle> {
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
    fn script(&mut self) -> Result<Expression, Obstacle> {
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

    fn primary(&mut self) -> Result<Expression, Obstacle> {
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

    fn number(&mut self, digits: &str, places: usize) -> Result<Expression, Obstacle> {
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
    fn argument(&mut self) -> Result<Expression, Obstacle> {
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

    fn root(&mut self) -> Result<Expression, Obstacle> {
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

    fn function(&mut self, name: &str) -> Result<Expression, Obstacle> {
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

    fn matrix(&mut self, environment: &str) -> Result<Expression, Obstacle> {
        const KINDS: &[&str] = &[
            "pmatrix",
            "bmatrix",
            "matrix",
            "smallmatrix",
            "array",
            "psmallmatrix",
            "bsmallmatrix",
            "vmatrix",
        ];
        let close = closing(self.tokens, self.at).ok_or(Obstacle::Unread)?;
        if !KINDS.contains(&environment) {
            return Err(Obstacle::Unread);
        }
        let mut body = &self.tokens[self.at + 1..close];
        if environment == "array" {
            let columns = closing(body, 0).filter(|_| body[0].is('{')).ok_or(Obstacle::Unread)?;
            body = &body[columns + 1..];
        }
        self.at = close + 1;
        let mut rows = Vec::new();
        for row in split(body, |token| token.kind == Kind::Row)? {
            if row.is_empty() {
                continue;
            }
            let cells = split(row, |token| token.is('&'))?;
            let cells = cells.iter().map(|cell| self.context.deeper(|context| item(cell, context)));
            rows.push(cells.collect::<Result<Vec<_>, _>>()?);
        }
        let width = rows.first().map_or(0, Vec::len);
        let even = width > 0 && rows.iter().all(|row| row.len() == width);
        match (even, environment) {
            (false, _) => Err(Obstacle::Unread),
            (true, "vmatrix") => Ok(Expression::Determinant(rows)),
            (true, _) => Ok(Expression::Matrix(rows)),
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

fn product(left: Expression, right: Expression) -> Expression {
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
