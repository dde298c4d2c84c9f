//! The comparison of two values, kind by kind.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Signed;

use super::super::budget::Obstacle;
use super::super::exact::{self, Atom, Equality, Quotient};
use super::super::options::PRECISION_MAX;
use super::real_set::RealSet;
use super::relation::{Side, Stated, compare_relations, same_solutions, solutions, stated, unsolved};
use super::sequence::{any_relation, compare_sequences, one_with_names, ordered, two_differ};
use super::value::{Scalar, Value};
use super::{Judge, Match};

/// Whether an answer is the gold answer. Not symmetric: an answer may say more than the gold asks for.
pub(in super::super) fn compare(gold: &Value, answer: &Value, judge: &mut Judge) -> Match {
    if let Err(obstacle) = judge.budget.spend(1) {
        return Match::Unknown(obstacle);
    }
    match (gold, answer) {
        (Value::Relation(sides, comparisons), Value::Relation(own, theirs)) => {
            compare_relations((sides, comparisons), (own, theirs), judge)
        }
        (Value::Relation(sides, comparisons), answer) => {
            match stated(sides, comparisons, |side| side == Side::Name, judge) {
                Stated::Value(stated) => compare(&stated, answer, judge),
                Stated::False => Match::Kinds,
                Stated::Nothing => set_against_relation(gold, answer, judge),
            }
        }
        (gold, Value::Relation(sides, comparisons)) => {
            let any = |side: Side| side != Side::Other;
            match stated(sides, comparisons, any, judge) {
                Stated::Value(stated) => compare(gold, &stated, judge),
                Stated::False => Match::Different,
                Stated::Nothing => match unsolved(answer, gold, judge) {
                    Match::Kinds => set_against_relation(gold, answer, judge),
                    found => found,
                },
            }
        }
        (Value::Scalar(gold), Value::Scalar(answer)) => compare_scalars(gold, answer, judge),
        (Value::Text(gold), Value::Text(answer)) => compare_texts(gold, answer),
        (Value::Text(text), Value::Scalar(scalar)) | (Value::Scalar(scalar), Value::Text(text)) => {
            compare_letters(text, scalar, judge)
        }
        (Value::Infinite(a), Value::Infinite(b)) => equal_if(a == b),
        (Value::Infinite(_), Value::Scalar(scalar)) | (Value::Scalar(scalar), Value::Infinite(_)) => {
            if scalar.value.is_constant() { Match::Different } else { Match::Kinds }
        }
        (Value::Based(digits, base), Value::Based(own, theirs)) => {
            compare_based((digits, *base), (own, *theirs))
        }
        (Value::Based(digits, base), Value::Scalar(scalar))
        | (Value::Scalar(scalar), Value::Based(digits, base)) => {
            let plain = digits.parse().ok().map(BigRational::from_integer);
            let worth = based_value(digits, *base).map(BigRational::from_integer);
            let rational = scalar.value.rational();
            // Which of the two the writer meant is not known if one fits.
            if rational.is_some() && (rational == plain || rational == worth) {
                Match::Kinds
            } else {
                Match::Different
            }
        }
        (Value::Matrix(gold), Value::Matrix(answer)) => compare_matrices(gold, answer, judge),
        (Value::Ratio(gold), Value::Ratio(answer)) => match ordered(gold, answer, judge) {
            // 2:4 is 1:2 to some.
            Match::Different if proportional(gold, answer, judge) => Match::Unknown(Obstacle::Ambiguous),
            found => found,
        },
        (Value::Ratio(parts), Value::Scalar(scalar)) | (Value::Scalar(scalar), Value::Ratio(parts)) => {
            ratio_against_scalar(parts, scalar, judge)
        }
        (Value::Set(_), Value::Sequence(_, items)) | (Value::Sequence(_, items), Value::Set(_))
            if any_relation(items) =>
        {
            set_against_relation(gold, answer, judge)
        }
        (Value::Set(_), Value::Sequence(..) | Value::Set(_)) | (Value::Sequence(..), Value::Set(_)) => {
            compare_sets(gold, answer, judge)
        }
        (Value::Sequence(fence, items), Value::Sequence(own, theirs)) => {
            let relations = (any_relation(items), any_relation(theirs));
            if relations.0 != relations.1 {
                return one_with_names((*fence, items), (*own, theirs), judge);
            }
            if relations == (true, true) {
                let solved = same_solutions(gold, answer, judge);
                if !matches!(solved, Match::Unknown(_)) {
                    return solved;
                }
            }
            compare_sequences((*fence, items), (*own, theirs), judge)
        }
        (Value::Sequence(_, items), answer) if items.len() == 1 => compare(&items[0], answer, judge),
        (gold, Value::Sequence(_, items)) if items.len() == 1 => compare(gold, &items[0], judge),
        // One number is not several, nor a set, a matrix or words.
        (Value::Sequence(_, items), Value::Scalar(scalar))
        | (Value::Scalar(scalar), Value::Sequence(_, items)) => {
            if scalar.value.is_constant() && two_differ(items, judge) {
                Match::Different
            } else {
                Match::Kinds
            }
        }
        (Value::Matrix(_), Value::Scalar(_) | Value::Sequence(..))
        | (Value::Scalar(_) | Value::Sequence(..), Value::Matrix(_)) => {
            if judge.options.strict {
                Match::Different
            } else {
                Match::Kinds
            }
        }
        (Value::Set(set), Value::Scalar(scalar)) | (Value::Scalar(scalar), Value::Set(set)) => {
            match set.same(&RealSet::point(scalar.value.clone()), judge.budget) {
                Ok(false) if scalar.value.is_constant() => Match::Different,
                _ => Match::Kinds,
            }
        }
        _ => Match::Kinds,
    }
}

/// A number in digits of a base; `None` for digits that the base does not have.
fn based_value(digits: &str, base: u32) -> Option<BigInt> {
    BigInt::parse_bytes(digits.as_bytes(), base)
}

fn compare_based(gold: (&str, u32), answer: (&str, u32)) -> Match {
    if gold == answer {
        return Match::EQUAL;
    }
    match (based_value(gold.0, gold.1), based_value(answer.0, answer.1)) {
        // The same number in another base is another answer to "write it in base 2".
        (Some(a), Some(b)) if a == b => Match::Unknown(Obstacle::Ambiguous),
        (Some(_), Some(_)) => Match::Different,
        _ => Match::Kinds,
    }
}

fn proportional(gold: &[Value], answer: &[Value], judge: &mut Judge) -> bool {
    let quotient = |values: &[Value], at: usize| values.get(at)?.scalar().map(|scalar| scalar.value.clone());
    let Some((a, b)) = quotient(gold, 0).zip(quotient(answer, 0)) else { return false };
    gold.len() == answer.len()
        && (1..gold.len()).all(|at| {
            let (Some(c), Some(d)) = (quotient(gold, at), quotient(answer, at)) else { return true };
            let products = a.times(&d, judge.budget).and_then(|left| Ok((left, c.times(&b, judge.budget)?)));
            products.is_ok_and(|(left, right)| {
                exact::equality(&left, &right, judge.budget) != Equality::Different
            })
        })
}

fn ratio_against_scalar(parts: &[Value], scalar: &Scalar, judge: &mut Judge) -> Match {
    let [Value::Scalar(top), Value::Scalar(bottom)] = parts else { return Match::Kinds };
    match top.value.over(&bottom.value, judge.budget) {
        Ok(value) if exact::equality(&value, &scalar.value, judge.budget) == Equality::Different => {
            Match::Different
        }
        _ => Match::Kinds,
    }
}

pub(super) fn equal_if(equal: bool) -> Match {
    if equal { Match::EQUAL } else { Match::Different }
}

pub(super) fn compare_scalars(gold: &Scalar, answer: &Scalar, judge: &mut Judge) -> Match {
    let found = match exact::equality(&gold.value, &answer.value, judge.budget) {
        Equality::Equal => Match::EQUAL,
        Equality::Different => Match::Different,
        Equality::Unknown(obstacle) => Match::Unknown(obstacle),
    };
    if found == Match::EQUAL {
        // (x^2 - 1) / (x - 1) is x + 1 but for one point.
        if gold.holes != answer.holes {
            return Match::Unknown(Obstacle::Ambiguous);
        }
        return if units_clash(gold, answer) { Match::Different } else { found };
    }
    if equal_rounded(gold, answer, judge) {
        return Match::Equal { rounded: true };
    }
    // 90 degrees and pi/2 are one angle in two measures.
    let degrees = |scalar: &Scalar| scalar.unit.as_ref().is_some_and(|unit| unit.starts_with('\u{b0}'));
    if degrees(gold) != degrees(answer)
        && [gold, answer].iter().any(|scalar| scalar.value.atoms().any(|a| *a == Atom::Pi))
    {
        return Match::Unknown(Obstacle::Ambiguous);
    }
    found
}

/// Two units of measurement that are not the same one.
fn units_clash(gold: &Scalar, answer: &Scalar) -> bool {
    let (Some(gold), Some(answer)) = (&gold.unit, &answer.unit) else { return false };
    super::super::unit::clash(gold, answer)
}

/// Whether a decimal of enough places is what the other value rounds to.
fn equal_rounded(gold: &Scalar, answer: &Scalar, judge: &mut Judge) -> bool {
    let places = judge.options.precision.min(PRECISION_MAX);
    if !gold.value.is_constant() || !answer.value.is_constant() {
        return false;
    }
    let long = |scalar: &Scalar| scalar.places >= places as usize;
    if !(long(gold) && inexact(answer, places) || long(answer) && inexact(gold, places)) {
        return false;
    }
    let mut rounded = |value: &Quotient| exact::rounded(value, places, judge.budget).ok();
    match (rounded(&gold.value), rounded(&answer.value)) {
        // Fewer than three digits are no evidence.
        (Some(a), Some(b)) => a == b && a.abs() >= 100.into(),
        _ => false,
    }
}

/// Whether so many decimal places cannot write the value.
fn inexact(scalar: &Scalar, places: u32) -> bool {
    scalar.value.rational().is_none_or(|value| {
        let scale = BigRational::from_integer(BigInt::from(10).pow(places));
        !(value * scale).is_integer()
    })
}

fn compare_texts(gold: &str, answer: &str) -> Match {
    let (gold, answer) = (without_article(gold), without_article(answer));
    if gold == answer {
        return Match::EQUAL;
    }
    // "ab" and "ba" may be one product.
    let product = gold.chars().count() == 2 && answer.chars().rev().eq(gold.chars());
    if product { Match::Unknown(Obstacle::Ambiguous) } else { Match::Different }
}

/// "an ellipse" is "ellipse", but "a bc" may be a product.
fn without_article(text: &str) -> &str {
    let articles = ["the ", "an ", "a "];
    let rest = articles.iter().find_map(|article| text.strip_prefix(article));
    rest.filter(|rest| rest.split(' ').all(|word| word.chars().count() > 3)).unwrap_or(text)
}

/// Letters against a formula: a product of variables, if they are few.
fn compare_letters(text: &str, scalar: &Scalar, judge: &mut Judge) -> Match {
    let few = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase());
    if !few || scalar.value.is_constant() {
        return if super::words::states_no_number(text) { Match::Different } else { Match::Kinds };
    }
    let mut product = Quotient::integer(1);
    for letter in text.chars() {
        let factor = match letter {
            'e' => Atom::Euler,
            'i' => Atom::Imaginary,
            letter => Atom::Variable(letter.to_string()),
        };
        match product.times(&Quotient::atom(factor), judge.budget) {
            Ok(next) => product = next,
            Err(obstacle) => return Match::Unknown(obstacle),
        }
    }
    match exact::equality(&product, &scalar.value, judge.budget) {
        Equality::Equal => Match::EQUAL,
        Equality::Different => Match::Different,
        Equality::Unknown(_) => Match::Kinds,
    }
}

fn compare_matrices(gold: &[Vec<Value>], answer: &[Vec<Value>], judge: &mut Judge) -> Match {
    let alike = gold.len() == answer.len() && gold.iter().zip(answer).all(|(a, b)| a.len() == b.len());
    if !alike {
        return Match::Different;
    }
    gold.iter()
        .zip(answer)
        .fold(Match::EQUAL, |found, (gold, answer)| found.and(ordered(gold, answer, judge)))
}

fn compare_sets(gold: &Value, answer: &Value, judge: &mut Judge) -> Match {
    match (RealSet::of(gold, judge.budget), RealSet::of(answer, judge.budget)) {
        (Ok(Some(a)), Ok(Some(b))) => match a.same(&b, judge.budget) {
            Ok(same) => equal_if(same),
            Err(obstacle) => Match::Unknown(obstacle),
        },
        (Err(obstacle), _) | (_, Err(obstacle)) => Match::Unknown(obstacle),
        _ => Match::Kinds,
    }
}

/// An interval against the inequality that describes it: equal only if the options say so.
fn set_against_relation(gold: &Value, answer: &Value, judge: &mut Judge) -> Match {
    let mut set = |value: &Value| match value {
        Value::Relation(..) => solutions(value, judge.budget).ok().flatten(),
        Value::Sequence(_, items) if any_relation(items) => solutions(value, judge.budget).ok().flatten(),
        value => RealSet::of(value, judge.budget).ok().flatten(),
    };
    let (Some(a), Some(b)) = (set(gold), set(answer)) else { return Match::Kinds };
    match a.same(&b, judge.budget) {
        Ok(true) if judge.options.allow_set_relation_comparison => Match::EQUAL,
        Ok(false) => Match::Different,
        _ => Match::Kinds,
    }
}
