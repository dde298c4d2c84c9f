//! From an expression to its exact value.

use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive};

use super::super::budget::{Budget, Obstacle};
use super::super::exact::{self, Atom, Quotient};
use super::super::latex::{Expression, Fence};

/// The value of an expression; `minus` says which sign a plus-minus stands for.
pub(super) fn scalar(
    expression: &Expression,
    minus: bool,
    budget: &mut Budget,
) -> Result<Quotient, Obstacle> {
    budget.spend(1)?;
    let both = |left: &Expression, right: &Expression, budget: &mut Budget| {
        Ok::<_, Obstacle>((scalar(left, minus, budget)?, scalar(right, minus, budget)?))
    };
    match expression {
        Expression::Number { value, .. } => Ok(Quotient::rational_constant(value.clone())),
        Expression::Pi => Ok(Quotient::atom(Atom::Pi)),
        Expression::Euler => Ok(Quotient::atom(Atom::Euler)),
        Expression::Imaginary => Ok(Quotient::atom(Atom::Imaginary)),
        Expression::Variable(name) => Ok(Quotient::atom(Atom::Variable(name.clone()))),
        Expression::Negative(inner) => Ok(scalar(inner, minus, budget)?.negated()),
        Expression::PlusMinus(minus_first, inner) => {
            let value = scalar(inner, minus, budget)?;
            Ok(if minus == *minus_first { value } else { value.negated() })
        }
        Expression::Sum(terms) => {
            let mut sum = Quotient::integer(0);
            for term in terms {
                sum = sum.plus(&scalar(term, minus, budget)?, budget)?;
            }
            Ok(sum)
        }
        Expression::Product(factors) => {
            let mut product = Quotient::integer(1);
            for factor in factors {
                product = product.times(&scalar(factor, minus, budget)?, budget)?;
            }
            Ok(product)
        }
        Expression::Quotient(top, bottom) => {
            let (top, bottom) = both(top, bottom, budget)?;
            top.over(&bottom, budget)
        }
        Expression::Power(base, exponent) => {
            let (base, exponent) = both(base, exponent, budget)?;
            exact::power(&base, &exponent, budget)
        }
        Expression::Root(index, inner) => exact::root(*index, &scalar(inner, minus, budget)?, budget),
        Expression::Absolute(inner) => exact::absolute(&scalar(inner, minus, budget)?, budget),
        Expression::Factorial(inner) => exact::factorial(&scalar(inner, minus, budget)?, budget),
        Expression::Binomial(total, chosen) => {
            let (total, chosen) = both(total, chosen, budget)?;
            exact::binomial(&total, &chosen, budget)
        }
        Expression::Rounded(up, inner) => exact::rounded_down(&scalar(inner, minus, budget)?, *up, budget),
        Expression::Logarithm(base, inner) => {
            let base = base.as_ref().map(|base| scalar(base, minus, budget)).transpose()?;
            exact::logarithm(base.as_ref(), &scalar(inner, minus, budget)?, budget)
        }
        Expression::Function(name, arguments) => {
            let arguments =
                arguments.iter().map(|inner| scalar(inner, minus, budget)).collect::<Result<_, _>>()?;
            Ok(exact::function(name, arguments))
        }
        Expression::Measured(inner, _) => scalar(inner, minus, budget),
        Expression::Determinant(rows) => {
            let cells = |row: &Vec<Expression>, budget: &mut Budget| {
                row.iter().map(|cell| scalar(cell, minus, budget)).collect::<Result<Vec<_>, _>>()
            };
            let rows = rows.iter().map(|row| cells(row, budget)).collect::<Result<Vec<_>, _>>()?;
            let square = rows.len() <= DETERMINANT_MAX && rows.iter().all(|row| row.len() == rows.len());
            if square { determinant(&rows, budget) } else { Err(Obstacle::Unread) }
        }
        Expression::Fenced(fence, items) if *fence == Fence::SQUARE && items.len() == 1 => {
            scalar(&items[0], minus, budget)
        }
        _ => Err(Obstacle::Unread),
    }
}

/// Rows of a determinant that is expanded.
const DETERMINANT_MAX: usize = 5;

/// By its first row.
fn determinant(rows: &[Vec<Quotient>], budget: &mut Budget) -> Result<Quotient, Obstacle> {
    let Some((first, rest)) = rows.split_first() else { return Ok(Quotient::integer(1)) };
    let mut sum = Quotient::integer(0);
    for (column, cell) in first.iter().enumerate() {
        let without = |row: &Vec<Quotient>| {
            let kept = row.iter().enumerate().filter(|(at, _)| *at != column);
            kept.map(|(_, cell)| cell.clone()).collect::<Vec<_>>()
        };
        let minor: Vec<Vec<Quotient>> = rest.iter().map(without).collect();
        let term = cell.times(&determinant(&minor, budget)?, budget)?;
        sum = if column % 2 == 0 { sum.plus(&term, budget)? } else { sum.minus(&term, budget)? };
    }
    Ok(sum)
}

/// The divisors in an expression that have variables in them.
pub(super) fn divisors(
    expression: &Expression,
    out: &mut Vec<Quotient>,
    budget: &mut Budget,
) -> Result<(), Obstacle> {
    budget.spend(1)?;
    match expression {
        Expression::Quotient(top, bottom) => {
            let divisor = scalar(bottom, false, budget)?;
            if !divisor.is_constant() {
                out.push(divisor);
            }
            divisors(top, out, budget)?;
            divisors(bottom, out, budget)
        }
        Expression::Sum(parts) | Expression::Product(parts) => {
            parts.iter().try_for_each(|part| divisors(part, out, budget))
        }
        Expression::Power(base, exponent) => {
            if let Some(value) = scalar(exponent, false, budget)?.rational()
                && value.is_negative()
            {
                let divisor = scalar(base, false, budget)?;
                if !divisor.is_constant() {
                    out.push(divisor);
                }
            }
            divisors(base, out, budget)
        }
        Expression::Negative(inner)
        | Expression::Root(_, inner)
        | Expression::Measured(inner, _)
        | Expression::PlusMinus(_, inner) => divisors(inner, out, budget),
        _ => Ok(()),
    }
}

/// Decimal places of a literal decimal, in scientific notation too; 0 for everything else.
pub(super) fn places(expression: &Expression) -> usize {
    match expression {
        Expression::Number { places, .. } => *places,
        Expression::Negative(inner) | Expression::Measured(inner, _) => places(inner),
        Expression::Product(factors) => match factors.as_slice() {
            [Expression::Number { places, .. }, Expression::Power(base, exponent)] => {
                match (&**base, &**exponent) {
                    (Expression::Number { value: ten, .. }, Expression::Number { value: exponent, .. })
                        if *ten == BigRational::from_integer(10.into()) && exponent.is_integer() =>
                    {
                        let shift = exponent.to_integer().to_i64().unwrap_or_default();
                        let moved = shift.unsigned_abs().min(10_000) as usize;
                        if exponent.is_negative() { places + moved } else { places.saturating_sub(moved) }
                    }
                    _ => 0,
                }
            }
            _ => 0,
        },
        _ => 0,
    }
}

/// How many plus-minus signs an expression has.
pub(super) fn plus_minus(expression: &Expression) -> usize {
    let all = |parts: &[Expression]| parts.iter().map(plus_minus).sum();
    match expression {
        Expression::PlusMinus(_, inner) => 1 + plus_minus(inner),
        Expression::Negative(inner)
        | Expression::Root(_, inner)
        | Expression::Absolute(inner)
        | Expression::Factorial(inner)
        | Expression::Rounded(_, inner)
        | Expression::Measured(inner, _) => plus_minus(inner),
        Expression::Quotient(a, b) | Expression::Power(a, b) | Expression::Binomial(a, b) => {
            plus_minus(a) + plus_minus(b)
        }
        Expression::Logarithm(base, inner) => {
            base.as_ref().map_or(0, |base| plus_minus(base)) + plus_minus(inner)
        }
        Expression::Sum(parts) | Expression::Product(parts) | Expression::Function(_, parts) => all(parts),
        _ => 0,
    }
}
