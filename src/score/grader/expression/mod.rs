//! The formula of a `multi` grader: numbers, names, `+ - * / ^`, parentheses and eight functions. Nothing else can be said in it.
//!
//! A formula is read once into steps for a stack machine, so that computing it needs no recursion and as many steps as it has
//! operations. `^` binds tightest and to the right, then signs (`-2^2` is -4), then `*` and `/`, then `+` and `-`. `log` is the natural
//! logarithm. A step that has no finite value (a division by zero, `log(0)`, an overflow) ends the computation with an error that says
//! where: a reward is a number or none, never NaN.

mod parse;

use parse::FUNCTIONS;
pub(super) use parse::is_name;

/// Bytes of a formula.
const BYTES_MAX: usize = 2_000;
/// Numbers, names and operations of a formula.
const STEPS_MAX: usize = 256;
/// Parentheses, calls, signs and powers within each other.
const DEPTH_MAX: usize = 32;

/// A formula over the values of some names.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    steps: Vec<Step>,
    /// For each known name, whether the formula has it.
    used: Vec<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    operation: Operation,
    /// The character it stands at, from 1.
    at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operation {
    Number(f64),
    /// The value of the name with this index.
    Value(usize),
    Negate,
    Binary(Binary),
    /// A function of so many arguments.
    Call(Function, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Min,
    Max,
    Abs,
    Floor,
    Ceil,
    Exp,
    Sqrt,
    Log,
}

/// What is wrong with a formula, with the character (from 1) at which it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    #[error("a formula has at most {BYTES_MAX} bytes")]
    TooLong,
    #[error("character {at}: a formula has at most {STEPS_MAX} numbers, names and operations")]
    TooManySteps { at: usize },
    #[error("character {at}: more than {DEPTH_MAX} parentheses, signs and powers within each other")]
    TooDeep { at: usize },
    #[error("character {at}: expected {expected}, found {found}")]
    Unexpected { at: usize, expected: &'static str, found: String },
    #[error("character {at}: {text:?} is no finite number")]
    Number { at: usize, text: String },
    #[error("character {at}: no grader is called {name:?}; {hint}")]
    UnknownName { at: usize, name: String, hint: String },
    #[error("character {at}: there is no function {name:?}; known: {}", FUNCTIONS.join(", "))]
    UnknownFunction { at: usize, name: String },
    #[error("character {at}: {name} takes {expected}, found {found}")]
    Arguments { at: usize, name: &'static str, expected: &'static str, found: usize },
}

/// A step that has no finite value.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("character {at}: {what}")]
pub struct Undefined {
    /// From 1.
    pub at: usize,
    pub what: &'static str,
}

impl Expression {
    /// Reads a formula over these names.
    ///
    /// # Errors
    /// The first thing that is wrong, and where.
    pub fn parse(text: &str, names: &[&str]) -> Result<Self, ExpressionError> {
        parse::parse(text, names)
    }

    /// Whether the formula has the name with this index.
    pub fn uses(&self, name: usize) -> bool {
        self.used.get(name).copied().unwrap_or(false)
    }

    /// The value, with those of the names in their order.
    ///
    /// # Errors
    /// The first step without a finite value. A value that is missing is none.
    pub fn evaluate(&self, values: &[f64]) -> Result<f64, Undefined> {
        let mut stack: Vec<f64> = Vec::new();
        for step in &self.steps {
            let value = step.compute(values, &mut stack);
            if !value.is_finite() {
                return Err(Undefined { at: step.at, what: step.operation.trouble() });
            }
            stack.push(value);
        }
        Ok(stack.pop().unwrap_or_default())
    }
}

impl Step {
    /// Takes its operands from the stack. One that is missing is NaN, which ends the computation; the parser leaves none out.
    fn compute(self, values: &[f64], stack: &mut Vec<f64>) -> f64 {
        let mut pop = || stack.pop().unwrap_or(f64::NAN);
        match self.operation {
            Operation::Number(number) => number,
            Operation::Value(index) => values.get(index).copied().unwrap_or(f64::NAN),
            Operation::Negate => -pop(),
            Operation::Binary(binary) => {
                let right = pop();
                binary.of(pop(), right)
            }
            Operation::Call(function, arguments) => {
                let first = pop();
                (1..arguments).fold(function.of(first), |sum, _| function.join(sum, pop()))
            }
        }
    }
}

impl Binary {
    fn of(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Power => left.powf(right),
        }
    }
}

impl Function {
    fn of(self, x: f64) -> f64 {
        match self {
            Self::Min | Self::Max => x,
            Self::Abs => x.abs(),
            Self::Floor => x.floor(),
            Self::Ceil => x.ceil(),
            Self::Exp => x.exp(),
            Self::Sqrt => x.sqrt(),
            Self::Log => x.ln(),
        }
    }

    /// Of functions that take several arguments.
    fn join(self, sum: f64, next: f64) -> f64 {
        match self {
            Self::Min => sum.min(next),
            Self::Max => sum.max(next),
            _ => f64::NAN,
        }
    }
}

impl Operation {
    /// Why it may have no finite value.
    fn trouble(self) -> &'static str {
        match self {
            Self::Binary(Binary::Divide) => {
                "the division has no finite value: a divisor of 0, or an overflow"
            }
            Self::Binary(Binary::Power) => "the power has no finite value",
            Self::Call(Function::Sqrt, _) => "the square root of a negative number",
            Self::Call(Function::Log, _) => "the logarithm of 0 or of a negative number",
            Self::Value(_) => "a grader's score is no finite number",
            _ => "the value is too large",
        }
    }
}

#[cfg(test)]
mod tests;
