//! The comparison of two values, kind by kind.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Signed;

use super::super::budget::Obstacle;
use super::super::exact::{self, Atom, Equality, Quotient};
use super::super::latex::Fence;
use super::super::options::PRECISION_MAX;
use super::real_set::RealSet;
use super::relation::{
    Side, Stated, compare_relations, name_of, same_solutions, solutions, stated, unsolved,
};
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

fn equal_if(equal: bool) -> Match {
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
    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    let (a, b) = (letters(gold), letters(answer));
    if gold == answer || a == b {
        return Match::EQUAL;
    }
    // "ab" and "ba" may be one product.
    let product = a.chars().count() == 2 && b.chars().rev().eq(a.chars());
    if product { Match::Unknown(Obstacle::Ambiguous) } else { Match::Different }
}

fn without_article(text: &str) -> &str {
    let articles = ["the ", "an ", "a "];
    articles
        .iter()
        .find_map(|article| text.strip_prefix(article))
        .filter(|rest| rest.len() > 1)
        .unwrap_or(text)
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

type Sequence<'a> = (Fence, &'a [Value]);

fn is_unordered(fence: Fence) -> bool {
    matches!(fence, Fence::Bare | Fence::Choice | Fence::Curly)
}

fn compare_sequences(gold: Sequence, answer: Sequence, judge: &mut Judge) -> Match {
    let ((fence, items), (own, theirs)) = (gold, answer);
    let strict = judge.options.strict;
    match (is_unordered(fence), is_unordered(own)) {
        (true, true) => unordered(gold, answer, judge),
        (false, false) if fence == own => ordered(items, theirs, judge),
        (false, false) => {
            let sets = (
                RealSet::of(&Value::Sequence(fence, items.to_vec()), judge.budget),
                RealSet::of(&Value::Sequence(own, theirs.to_vec()), judge.budget),
            );
            if let (Ok(Some(a)), Ok(Some(b))) = sets {
                return a.same(&b, judge.budget).map_or_else(Match::Unknown, equal_if);
            }
            match ordered(items, theirs, judge) {
                Match::Equal { .. } if strict || items.len() == 2 => Match::Unknown(Obstacle::Ambiguous),
                found => found,
            }
        }
        (gold_unordered, _) => {
            let bracket = if gold_unordered { own } else { fence };
            let list = if gold_unordered { fence } else { own };
            let in_order = ordered(items, theirs, judge);
            // A half-open bracket, and a square one around two, is an interval.
            let tuple = matches!(bracket, Fence::Angle)
                || bracket == Fence::ROUND
                || (bracket == Fence::SQUARE && items.len() > 2);
            if !tuple {
                let sets = (
                    RealSet::of(&Value::Sequence(fence, items.to_vec()), judge.budget),
                    RealSet::of(&Value::Sequence(own, theirs.to_vec()), judge.budget),
                );
                return match sets {
                    (Ok(Some(a)), Ok(Some(b))) if list == Fence::Curly => {
                        a.same(&b, judge.budget).map_or_else(Match::Unknown, equal_if)
                    }
                    _ if in_order.is_equal() => Match::Unknown(Obstacle::Ambiguous),
                    _ => Match::Kinds,
                };
            }
            if list == Fence::Bare && in_order.is_equal() {
                return in_order;
            }
            let in_any_order = unordered((Fence::Bare, items), (Fence::Bare, theirs), judge);
            match (in_any_order, list) {
                (Match::Equal { .. }, _) if !strict => in_any_order,
                (Match::Equal { .. }, Fence::Bare) if gold_unordered => Match::Unknown(Obstacle::Ambiguous),
                (Match::Equal { .. }, _) => Match::Different,
                (found, _) => found,
            }
        }
    }
}

fn ordered(gold: &[Value], answer: &[Value], judge: &mut Judge) -> Match {
    if gold.len() != answer.len() {
        return Match::Different;
    }
    let mut found = Match::EQUAL;
    for (gold, answer) in gold.iter().zip(answer) {
        found = found.and(compare(gold, answer, judge));
        if found == Match::Different {
            break;
        }
    }
    found
}

/// Lists longer than this are not matched in any order.
const UNORDERED_MAX: usize = 200;

fn unordered(gold: Sequence, answer: Sequence, judge: &mut Judge) -> Match {
    if gold.1.len().max(answer.1.len()) > UNORDERED_MAX {
        return Match::Unknown(Obstacle::TooLarge);
    }
    let (items, theirs) = (distinct(gold.1, judge), distinct(answer.1, judge));
    let mut left: Vec<&Value> = theirs.clone();
    let mut doubt = None;
    let mut rounded = false;
    let mut missing = items.len() != theirs.len();
    for item in &items {
        let mut at = None;
        for (i, other) in left.iter().enumerate() {
            match compare(item, other, judge) {
                Match::Equal { rounded: own } => {
                    rounded |= own;
                    at = Some(i);
                    break;
                }
                Match::Different => {}
                Match::Kinds => doubt = doubt.or(Some(Match::Kinds)),
                unknown @ Match::Unknown(_) => doubt = Some(unknown),
            }
        }
        match at {
            Some(at) => {
                left.swap_remove(at);
            }
            None => missing = true,
        }
    }
    let repeated = items.len() == theirs.len() && gold.1.len() != answer.1.len();
    let sets = gold.0 == Fence::Curly || answer.0 == Fence::Curly;
    match (missing, doubt) {
        (false, _) if repeated && !sets => Match::Unknown(Obstacle::Ambiguous),
        (false, _) => Match::Equal { rounded },
        (true, Some(doubt)) => doubt,
        (true, None) => Match::Different,
    }
}

/// Items without those that are provably one of the others.
fn distinct<'a>(items: &'a [Value], judge: &mut Judge) -> Vec<&'a Value> {
    let mut kept: Vec<&Value> = Vec::new();
    for item in items {
        if !kept.iter().any(|other| *other == item || compare(other, item, judge) == Match::EQUAL) {
            kept.push(item);
        }
    }
    kept
}

fn two_differ(items: &[Value], judge: &mut Judge) -> bool {
    let Some((first, rest)) = items.split_first() else { return false };
    rest.iter().any(|item| compare(first, item, judge) == Match::Different)
}

fn any_relation(items: &[Value]) -> bool {
    items.iter().any(|item| matches!(item, Value::Relation(..)))
}

/// `x = 1, y = 2` against `1, 2` or `(1, 2)`: the names say in which order the values come.
fn one_with_names(gold: Sequence, answer: Sequence, judge: &mut Judge) -> Match {
    let named = if any_relation(gold.1) { gold.1 } else { answer.1 };
    let mut names: Vec<&Value> = Vec::new();
    let mut values = Vec::new();
    for item in named {
        match item {
            Value::Relation(sides, comparisons) => {
                let stated = stated(sides, comparisons, |side| side == Side::Name, judge);
                let Stated::Value(value) = stated else { return Match::Kinds };
                names.push(&sides[0]);
                values.push(value);
            }
            // "x = 3, 5" gives x two values.
            item => values.push(item.clone()),
        }
    }
    if values.len() > names.len() && names.iter().any(|name| *name != names[0]) {
        return Match::Kinds;
    }
    let same_name = names.iter().all(|name| *name == names[0]);
    let fence = if same_name { Fence::Choice } else { Fence::Bare };
    let gold_named = any_relation(gold.1);
    let (gold, answer) =
        if gold_named { ((fence, values.as_slice()), answer) } else { (gold, (fence, values.as_slice())) };
    let found = compare_sequences(gold, answer, judge);
    if same_name || !found.is_equal() {
        return found;
    }
    // Values of different names are in the order of their names, or nobody knows.
    let atoms: Option<Vec<&Atom>> = names.iter().map(|name| name_of(name)).collect();
    match ordered(gold.1, answer.1, judge) {
        _ if !atoms.is_some_and(|atoms| atoms.is_sorted()) => Match::Unknown(Obstacle::Ambiguous),
        in_order @ Match::Equal { .. } if !gold_named || !judge.options.strict => in_order,
        _ => Match::Unknown(Obstacle::Ambiguous),
    }
}
