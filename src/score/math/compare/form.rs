//! The written form of a value, by which records and majority votes know equal answers.

use num_rational::BigRational;
use num_traits::{One, Signed};

use super::super::exact::{Atom, Monomial, Polynomial, Quotient};
use super::super::latex::{Comparison, Fence};
use super::real_set::{End, RealSet};
use super::value::Value;

pub(in super::super) fn form(value: &Value) -> String {
    match value {
        Value::Scalar(scalar) => quotient(&scalar.value),
        Value::Text(text) => text.clone(),
        Value::Infinite(negative) => if *negative { "-infinity" } else { "infinity" }.to_owned(),
        Value::Based(digits, base) => format!("{digits}_{base}"),
        Value::Sequence(fence, items) => sequence(*fence, items),
        Value::Set(set) => real_set(set),
        Value::Relation(sides, comparisons) => {
            let mut out = String::new();
            for (i, side) in sides.iter().enumerate() {
                if i > 0 {
                    out.push_str(sign(comparisons[i - 1]));
                }
                out.push_str(&form(side));
            }
            out
        }
        Value::Matrix(rows) => {
            let rows: Vec<String> = rows.iter().map(|row| format!("[{}]", joined(row))).collect();
            format!("[{}]", rows.join(", "))
        }
        Value::Ratio(parts) => parts.iter().map(form).collect::<Vec<_>>().join(":"),
    }
}

fn joined(items: &[Value]) -> String {
    items.iter().map(form).collect::<Vec<_>>().join(", ")
}

fn sequence(fence: Fence, items: &[Value]) -> String {
    match fence {
        Fence::Bare | Fence::Choice | Fence::Curly => {
            let mut items: Vec<String> = items.iter().map(form).collect();
            items.sort();
            if fence == Fence::Curly {
                items.dedup();
            }
            // Lists and sets have one form, because their comparison takes them for one thing.
            format!("{{{}}}", items.join(", "))
        }
        Fence::Angle => format!("({})", joined(items)),
        Fence::Bracket { low_closed, high_closed } => format!(
            "{}{}{}",
            if low_closed { '[' } else { '(' },
            joined(items),
            if high_closed { ']' } else { ')' }
        ),
    }
}

fn real_set(set: &RealSet) -> String {
    let end = |end: &End| match end {
        End::MinusInfinity => "-infinity".to_owned(),
        End::PlusInfinity => "infinity".to_owned(),
        End::At(value) => quotient(value),
    };
    let pieces: Vec<String> = set
        .0
        .iter()
        .map(|piece| {
            if piece.low == piece.high {
                return format!("{{{}}}", end(&piece.low));
            }
            let open = if piece.low_closed { '[' } else { '(' };
            let close = if piece.high_closed { ']' } else { ')' };
            format!("{open}{}, {}{close}", end(&piece.low), end(&piece.high))
        })
        .collect();
    if pieces.is_empty() { "{}".to_owned() } else { pieces.join(" U ") }
}

fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal | Comparison::Approximate => " = ",
        Comparison::NotEqual => " != ",
        Comparison::Less => " < ",
        Comparison::AtMost => " <= ",
        Comparison::Greater => " > ",
        Comparison::AtLeast => " >= ",
        Comparison::In => " in ",
    }
}

fn quotient(value: &Quotient) -> String {
    let top = polynomial(&value.numerator);
    if value.is_polynomial() { top } else { format!("({top})/({})", polynomial(&value.denominator)) }
}

fn polynomial(value: &Polynomial) -> String {
    if value.is_zero() {
        return "0".to_owned();
    }
    let mut out = String::new();
    for (factors, coefficient) in value.0.iter().rev() {
        let sign = match (out.is_empty(), coefficient.is_negative()) {
            (true, false) => "",
            (true, true) => "-",
            (false, false) => " + ",
            (false, true) => " - ",
        };
        out.push_str(sign);
        out.push_str(&term(factors, &coefficient.abs()));
    }
    out
}

fn term(factors: &Monomial, coefficient: &BigRational) -> String {
    if factors.is_one() {
        return coefficient.to_string();
    }
    let factors: Vec<String> = factors
        .0
        .iter()
        .map(|(atom_, exponent)| {
            let base = atom(atom_);
            match (exponent.is_one(), exponent.is_integer()) {
                (true, _) => base,
                (false, true) => format!("{base}^{exponent}"),
                (false, false) => format!("{base}^({exponent})"),
            }
        })
        .collect();
    let factors = factors.join("*");
    if coefficient.is_one() { factors } else { format!("{coefficient}*{factors}") }
}

fn atom(value: &Atom) -> String {
    match value {
        Atom::Imaginary => "i".to_owned(),
        Atom::Prime(prime) => prime.to_string(),
        Atom::Pi => "pi".to_owned(),
        Atom::Euler => "e".to_owned(),
        Atom::Log(prime) => format!("ln({prime})"),
        Atom::Variable(name) => name.clone(),
        Atom::Root(index, radicand) => format!("({})^(1/{index})", polynomial(radicand)),
        Atom::Power(base, exponent) => {
            format!("({})^({})", polynomial(base), term(exponent, &BigRational::one()))
        }
        Atom::Function(name, arguments) => {
            format!("{name}({})", arguments.iter().map(quotient).collect::<Vec<_>>().join(", "))
        }
    }
}
