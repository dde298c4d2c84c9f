//! From a formula's text to its steps, by recursive descent of bounded depth.

use std::iter::Peekable;
use std::str::Chars;

use super::{
    BYTES_MAX, Binary, DEPTH_MAX, Expression, ExpressionError, Function, Operation, STEPS_MAX, Step,
};
use crate::settings::nearest;

pub(in crate::score::grader) const FUNCTIONS: [&str; 8] =
    ["min", "max", "abs", "floor", "ceil", "exp", "sqrt", "log"];

/// Whether a text can stand for a grader in a formula.
pub(in crate::score::grader) fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(begins_name) && characters.all(continues_name) && function(text).is_none()
}

pub(super) fn parse(text: &str, names: &[&str]) -> Result<Expression, ExpressionError> {
    if text.len() > BYTES_MAX {
        return Err(ExpressionError::TooLong);
    }
    let used = vec![false; names.len()];
    let expression = Expression { steps: Vec::new(), used };
    let mut parser = Parser { rest: text.chars().peekable(), at: 1, depth: 0, names, expression };
    parser.sum()?;
    match parser.peek() {
        None => Ok(parser.expression),
        Some(_) => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    /// The next character's number, from 1.
    at: usize,
    depth: usize,
    names: &'a [&'a str],
    expression: Expression,
}

impl Parser<'_> {
    fn sum(&mut self) -> Result<(), ExpressionError> {
        self.product()?;
        loop {
            let binary = match self.peek() {
                Some('+') => Binary::Add,
                Some('-') => Binary::Subtract,
                _ => return Ok(()),
            };
            let at = self.step_over();
            self.product()?;
            self.push(Operation::Binary(binary), at)?;
        }
    }

    fn product(&mut self) -> Result<(), ExpressionError> {
        self.signed()?;
        loop {
            let binary = match self.peek() {
                Some('*') => Binary::Multiply,
                Some('/') => Binary::Divide,
                _ => return Ok(()),
            };
            let at = self.step_over();
            self.signed()?;
            self.push(Operation::Binary(binary), at)?;
        }
    }

    /// A sign before a power: `-2^2` is -4, and `2^-2` a quarter.
    fn signed(&mut self) -> Result<(), ExpressionError> {
        match self.peek() {
            Some(sign @ ('+' | '-')) => {
                let at = self.step_over();
                self.deeper(at, Self::signed)?;
                if sign == '-' { self.push(Operation::Negate, at) } else { Ok(()) }
            }
            _ => self.power(),
        }
    }

    fn power(&mut self) -> Result<(), ExpressionError> {
        self.primary()?;
        if self.peek() != Some('^') {
            return Ok(());
        }
        let at = self.step_over();
        self.deeper(at, Self::signed)?;
        self.push(Operation::Binary(Binary::Power), at)
    }

    fn primary(&mut self) -> Result<(), ExpressionError> {
        match self.peek() {
            Some('(') => {
                let at = self.step_over();
                self.deeper(at, Self::sum)?;
                self.expect(')', "an operator or `)`")
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if begins_name(c) => self.name(),
            _ => Err(self.unexpected("a number, a grader's name, a function or `(`")),
        }
    }

    fn number(&mut self) -> Result<(), ExpressionError> {
        let at = self.at;
        let mut text = String::new();
        while let Some(c) = self.rest.peek().copied() {
            let signs_exponent = (c == '+' || c == '-') && text.ends_with(['e', 'E']);
            if !(c.is_ascii_alphanumeric() || c == '.' || signs_exponent) {
                break;
            }
            text.push(c);
            self.step_over();
        }
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        match number {
            Some(number) => self.push(Operation::Number(number), at),
            None => Err(ExpressionError::Number { at, text: clip(&text) }),
        }
    }

    fn name(&mut self) -> Result<(), ExpressionError> {
        let at = self.at;
        let mut name = String::new();
        while let Some(c) = self.rest.peek().copied().filter(|c| continues_name(*c)) {
            name.push(c);
            self.step_over();
        }
        if self.peek() == Some('(') {
            return match function(&name) {
                Some(function) => self.call(function, at),
                None => Err(ExpressionError::UnknownFunction { at, name: clip(&name) }),
            };
        }
        let Some(index) = self.names.iter().position(|known| *known == name) else {
            return Err(ExpressionError::UnknownName { at, name: clip(&name), hint: self.hint(&name) });
        };
        self.expression.used[index] = true;
        self.push(Operation::Value(index), at)
    }

    fn hint(&self, name: &str) -> String {
        if function(name).is_some() {
            return "it is a function: give it arguments in parentheses".to_owned();
        }
        match nearest(name, self.names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", self.names.join(", ")),
        }
    }

    fn call(&mut self, function: Function, at: usize) -> Result<(), ExpressionError> {
        self.step_over();
        let mut arguments = 1;
        self.deeper(at, Self::sum)?;
        while self.peek() == Some(',') {
            self.step_over();
            self.deeper(at, Self::sum)?;
            arguments += 1;
        }
        self.expect(')', "`,`, an operator or `)`")?;
        let joins = matches!(function, Function::Min | Function::Max);
        if joins == (arguments >= 2) {
            return self.push(Operation::Call(function, arguments), at);
        }
        let expected = if joins { "two arguments or more" } else { "one argument" };
        let name = FUNCTIONS[function as usize];
        Err(ExpressionError::Arguments { at, name, expected, found: arguments })
    }

    fn deeper(
        &mut self,
        at: usize,
        read: impl FnOnce(&mut Self) -> Result<(), ExpressionError>,
    ) -> Result<(), ExpressionError> {
        if self.depth == DEPTH_MAX {
            return Err(ExpressionError::TooDeep { at });
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn push(&mut self, operation: Operation, at: usize) -> Result<(), ExpressionError> {
        if self.expression.steps.len() == STEPS_MAX {
            return Err(ExpressionError::TooManySteps { at });
        }
        self.expression.steps.push(Step { operation, at });
        Ok(())
    }

    /// The next character that is no white space.
    fn peek(&mut self) -> Option<char> {
        while self.rest.peek().is_some_and(|c| c.is_whitespace()) {
            self.step_over();
        }
        self.rest.peek().copied()
    }

    /// Goes on by one character, and gives its number.
    fn step_over(&mut self) -> usize {
        let at = self.at;
        if self.rest.next().is_some() {
            self.at += 1;
        }
        at
    }

    fn expect(&mut self, wanted: char, expected: &'static str) -> Result<(), ExpressionError> {
        if self.peek() != Some(wanted) {
            return Err(self.unexpected(expected));
        }
        self.step_over();
        Ok(())
    }

    fn unexpected(&mut self, expected: &'static str) -> ExpressionError {
        let found = self.peek().map_or("the end".to_owned(), |c| format!("{c:?}"));
        ExpressionError::Unexpected { at: self.at, expected, found }
    }
}

fn begins_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn continues_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn function(name: &str) -> Option<Function> {
    use Function::{Abs, Ceil, Exp, Floor, Log, Max, Min, Sqrt};
    let functions = [Min, Max, Abs, Floor, Ceil, Exp, Sqrt, Log];
    FUNCTIONS.iter().zip(functions).find(|(known, _)| **known == name).map(|(_, function)| function)
}

fn clip(text: &str) -> String {
    const CHARACTERS_MAX: usize = 64;
    text.chars().take(CHARACTERS_MAX).collect()
}
