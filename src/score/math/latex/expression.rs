//! What an answer says, before anything is worked out.

use num_rational::BigRational;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Expression {
    /// A literal, with the decimal places it was written with.
    Number {
        value: BigRational,
        places: usize,
    },
    Infinity,
    Pi,
    Euler,
    Imaginary,
    Variable(String),
    Sum(Vec<Expression>),
    Product(Vec<Expression>),
    Negative(Box<Expression>),
    Quotient(Box<Expression>, Box<Expression>),
    Power(Box<Expression>, Box<Expression>),
    Root(u32, Box<Expression>),
    Absolute(Box<Expression>),
    Factorial(Box<Expression>),
    Binomial(Box<Expression>, Box<Expression>),
    /// The floor, or the ceiling if the flag is set.
    Rounded(bool, Box<Expression>),
    /// The base is missing where the writer left it to the reader.
    Logarithm(Option<Box<Expression>>, Box<Expression>),
    Function(String, Vec<Expression>),
    /// Both signs; the flag is set for the sign that starts with minus.
    PlusMinus(bool, Box<Expression>),
    /// Digits and the base they are written in.
    Based(String, u32),
    Text(String),
    Fenced(Fence, Vec<Expression>),
    Sets(Operation, Box<Expression>, Box<Expression>),
    /// The set of values of the variable in the first part for which the second holds.
    Builder(Box<Expression>, Box<Expression>),
    EmptySet,
    /// The letter of a blackboard-bold set of numbers.
    Numbers(char),
    /// Sides and what stands between them.
    Relation(Vec<Expression>, Vec<Comparison>),
    Matrix(Vec<Vec<Expression>>),
    Determinant(Vec<Vec<Expression>>),
    Ratio(Vec<Expression>),
    /// A value and the unit written after it.
    Measured(Box<Expression>, String),
}

/// What encloses a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Fence {
    /// Nothing but commas, or "and".
    Bare,
    /// The same with "or".
    Choice,
    Curly,
    Angle,
    /// Round or square on either side, square being closed.
    Bracket {
        low_closed: bool,
        high_closed: bool,
    },
}

impl Fence {
    pub const ROUND: Self = Self::Bracket { low_closed: false, high_closed: false };
    pub const SQUARE: Self = Self::Bracket { low_closed: true, high_closed: true };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Operation {
    Union,
    Intersection,
    Difference,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Comparison {
    Equal,
    Approximate,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
    In,
}
