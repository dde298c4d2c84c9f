//! What an answer is: a number, words, a list, a set of reals, a relation, a matrix.

use num_rational::BigRational;
use num_traits::Signed;

use super::super::budget::{Budget, Obstacle};
use super::super::exact::Quotient;
use super::super::latex::{Comparison, Expression, Fence, Operation};
use super::real_set::RealSet;
use super::relation;
use super::scalar::{divisors, places, plus_minus, scalar};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Value {
    Scalar(Scalar),
    Text(String),
    /// Infinity, or minus infinity if the flag is set.
    Infinite(bool),
    Based(String, u32),
    Sequence(Fence, Vec<Value>),
    /// A set written as such; intervals are sequences until something says that they are sets.
    Set(RealSet),
    Relation(Vec<Value>, Vec<Comparison>),
    Matrix(Vec<Vec<Value>>),
    Ratio(Vec<Value>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Scalar {
    pub value: Quotient,
    /// Decimal places it was written with; 0 for what is no literal decimal.
    pub places: usize,
    pub unit: Option<String>,
    /// Points outside its domain that its reduced form does not show, as x = 1 in (x^2 - 1) / (x - 1).
    pub holes: bool,
}

impl From<Quotient> for Value {
    fn from(value: Quotient) -> Self {
        Self::Scalar(Scalar { value, places: 0, unit: None, holes: false })
    }
}

pub(in super::super) fn value(expression: &Expression, budget: &mut Budget) -> Result<Value, Obstacle> {
    budget.spend(1)?;
    let all = |parts: &[Expression], budget: &mut Budget| {
        parts.iter().map(|part| value(part, budget)).collect::<Result<Vec<_>, _>>()
    };
    Ok(match expression {
        Expression::Text(text) => Value::Text(text.clone()),
        Expression::Infinity => Value::Infinite(false),
        Expression::Negative(inner) if **inner == Expression::Infinity => Value::Infinite(true),
        Expression::Sum(terms) if terms.as_slice() == [Expression::Infinity] => Value::Infinite(false),
        Expression::Based(digits, base) => Value::Based(digits.clone(), *base),
        Expression::Fenced(fence, items) if *fence == Fence::SQUARE && items.len() == 1 => {
            value(&items[0], budget)?
        }
        Expression::Fenced(fence, items) => Value::Sequence(*fence, flattened(*fence, all(items, budget)?)),
        Expression::Relation(sides, comparisons) => Value::Relation(all(sides, budget)?, comparisons.clone()),
        Expression::Matrix(rows) => {
            Value::Matrix(rows.iter().map(|row| all(row, budget)).collect::<Result<_, _>>()?)
        }
        Expression::Product(factors) if factors.iter().any(is_matrix) => multiple_of_matrix(factors, budget)?,
        Expression::Negative(inner) if is_matrix(inner) => {
            let minus = Expression::Number { value: BigRational::from_integer((-1).into()), places: 0 };
            multiple_of_matrix(&[minus, (**inner).clone()], budget)?
        }
        Expression::Ratio(parts) => Value::Ratio(all(parts, budget)?),
        Expression::EmptySet => Value::Set(RealSet::empty()),
        Expression::Numbers('R') => Value::Set(RealSet::all()),
        Expression::Numbers(letter) => Value::Text(format!("the set {letter}")),
        Expression::Sets(operation, left, right) => {
            let set = |side: &Expression, budget: &mut Budget| {
                RealSet::of(&value(side, budget)?, budget)?.ok_or(Obstacle::Unread)
            };
            let (left, right) = (set(left, budget)?, set(right, budget)?);
            Value::Set(match operation {
                Operation::Union => left.union(&right, budget)?,
                Operation::Intersection => left.intersection(&right, budget)?,
                Operation::Difference => left.intersection(&right.complement(), budget)?,
            })
        }
        Expression::Sum(terms) if has_set(terms) => difference_of_sets(terms, budget)?,
        Expression::Builder(element, condition) => {
            let condition = value(condition, budget)?;
            // {2x | x > 3} holds other numbers than those x may be, and {x in Z | x > 3} fewer.
            let of_reals = match &**element {
                Expression::Variable(name) => Some(name),
                Expression::Relation(sides, comparisons) => {
                    match (sides.as_slice(), comparisons.as_slice()) {
                        ([Expression::Variable(name), Expression::Numbers('R')], [Comparison::In]) => {
                            Some(name)
                        }
                        _ => None,
                    }
                }
                _ => None,
            };
            if of_reals.is_none() || of_reals != relation::variable_of(&condition).as_ref() {
                return Err(Obstacle::Unread);
            }
            Value::Set(relation::solutions(&condition, budget)?.ok_or(Obstacle::Unread)?)
        }
        expression => scalar_value(expression, budget)?,
    })
}

fn is_matrix(expression: &Expression) -> bool {
    matches!(expression, Expression::Matrix(_))
}

/// Scalars times one matrix.
fn multiple_of_matrix(factors: &[Expression], budget: &mut Budget) -> Result<Value, Obstacle> {
    let (matrices, scalars): (Vec<&Expression>, Vec<&Expression>) =
        factors.iter().partition(|factor| is_matrix(factor));
    let [Expression::Matrix(rows)] = matrices.as_slice() else { return Err(Obstacle::Unread) };
    let mut factor = Quotient::integer(1);
    for own in scalars {
        factor = factor.times(&scalar(own, false, budget)?, budget)?;
    }
    let scaled = |cell: &Expression, budget: &mut Budget| -> Result<Value, Obstacle> {
        Ok(Value::from(scalar(cell, false, budget)?.times(&factor, budget)?))
    };
    let row = |row: &Vec<Expression>, budget: &mut Budget| {
        row.iter().map(|cell| scaled(cell, budget)).collect::<Result<Vec<_>, _>>()
    };
    Ok(Value::Matrix(rows.iter().map(|cells| row(cells, budget)).collect::<Result<_, _>>()?))
}

/// R - {0} is written with a minus too.
fn has_set(terms: &[Expression]) -> bool {
    matches!(terms, [Expression::Numbers('R'), Expression::Negative(_)])
}

fn difference_of_sets(terms: &[Expression], budget: &mut Budget) -> Result<Value, Obstacle> {
    let [_, Expression::Negative(right)] = terms else { return Err(Obstacle::Unread) };
    let right = RealSet::of(&value(right, budget)?, budget)?.ok_or(Obstacle::Unread)?;
    Ok(Value::Set(right.complement()))
}

fn scalar_value(expression: &Expression, budget: &mut Budget) -> Result<Value, Obstacle> {
    match plus_minus(expression) {
        0 => {
            let unit = match expression {
                Expression::Measured(_, unit) => Some(unit.clone()),
                _ => None,
            };
            // Half a percent is no half, but 28% is the answer 28.
            if let Expression::Measured(inner, unit) = expression
                && unit.starts_with('%')
                && !matches!(**inner, Expression::Number { .. })
            {
                return Err(Obstacle::Ambiguous);
            }
            let value = scalar(expression, false, budget)?;
            let holes = !value.is_constant() && has_holes(expression, &value, budget)?;
            Ok(Value::Scalar(Scalar { value, places: places(expression), unit, holes }))
        }
        1 => {
            let values = [scalar(expression, false, budget)?, scalar(expression, true, budget)?];
            Ok(Value::Sequence(Fence::Choice, values.map(Value::from).to_vec()))
        }
        // Whether two of them go together is the reader's guess.
        _ => Err(Obstacle::Ambiguous),
    }
}

/// Whether a divisor with variables has left no trace in the reduced denominator.
fn has_holes(expression: &Expression, value: &Quotient, budget: &mut Budget) -> Result<bool, Obstacle> {
    let mut divided = Vec::new();
    divisors(expression, &mut divided, budget)?;
    for divisor in divided {
        // What is left of the divisor once the reduced denominator is divided by it must be free of variables.
        let left = divisor.numerator.single().is_some_and(|(monomial, _)| {
            monomial.0.iter().all(|(atom, _)| {
                value.numerator.0.keys().any(|own| own.exponent(atom).is_negative())
                    || value.denominator.atoms().any(|own| own == atom)
            })
        });
        let kept = Quotient::from(value.denominator.clone()).over(&divisor, budget)?;
        if !left && !kept.denominator.is_constant() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// "1, ±2" lists three values.
fn flattened(fence: Fence, items: Vec<Value>) -> Vec<Value> {
    if !matches!(fence, Fence::Bare | Fence::Choice | Fence::Curly) {
        return items;
    }
    items
        .into_iter()
        .flat_map(|item| match item {
            Value::Sequence(Fence::Choice, inner) => inner,
            item => vec![item],
        })
        .collect()
}

impl Value {
    pub fn scalar(&self) -> Option<&Scalar> {
        match self {
            Self::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }
}
