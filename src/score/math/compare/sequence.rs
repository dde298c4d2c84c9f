//! Lists, sets and tuples against one another: in their order, in any order, or not at all.

use super::super::budget::Obstacle;
use super::super::exact::Atom;
use super::super::latex::Fence;
use super::equal::{compare, equal_if};
use super::real_set::RealSet;
use super::relation::{Side, Stated, name_of, stated};
use super::value::Value;
use super::{Judge, Match};

pub(super) type Sequence<'a> = (Fence, &'a [Value]);

fn is_unordered(fence: Fence) -> bool {
    matches!(fence, Fence::Bare | Fence::Choice | Fence::Curly)
}

pub(super) fn compare_sequences(gold: Sequence, answer: Sequence, judge: &mut Judge) -> Match {
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

pub(super) fn ordered(gold: &[Value], answer: &[Value], judge: &mut Judge) -> Match {
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

pub(super) fn two_differ(items: &[Value], judge: &mut Judge) -> bool {
    let Some((first, rest)) = items.split_first() else { return false };
    rest.iter().any(|item| compare(first, item, judge) == Match::Different)
}

pub(super) fn any_relation(items: &[Value]) -> bool {
    items.iter().any(|item| matches!(item, Value::Relation(..)))
}

/// `x = 1, y = 2` against `1, 2` or `(1, 2)`: the names say in which order the values come.
pub(super) fn one_with_names(gold: Sequence, answer: Sequence, judge: &mut Judge) -> Match {
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
