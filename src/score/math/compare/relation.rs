//! Relations: the value behind `x = 5`, equations up to a factor, inequalities turned round and scaled.

use num_rational::BigRational;
use num_traits::{One, Signed, Zero};

use super::super::budget::{Budget, Obstacle};
use super::super::exact::{Atom, Polynomial, Quotient};
use super::super::latex::{Comparison, Fence};
use super::equal::{compare, compare_scalars};
use super::real_set::RealSet;
use super::value::Value;
use super::{Judge, Match};
use crate::score::phrases::{NEGATIONS, SUPPOSITIONS, WRONGS};

/// What the left side of an equation is to the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// One name: x, f(x), an area.
    Name,
    /// An expression in several variables, such as m + n, whose value was asked for.
    Asked,
    Constant,
    /// Anything else; 2x = 10 says nothing of the kind "the answer is 10".
    Other,
}

pub(super) fn side(value: &Value) -> Side {
    match value {
        Value::Text(text) if is_name(text) => Side::Name,
        Value::Sequence(Fence::Bracket { .. } | Fence::Angle, items) => {
            // In another order than that of their names they may say something else.
            let names: Option<Vec<&Atom>> = items.iter().map(name_of).collect();
            if names.is_some_and(|names| names.is_sorted()) { Side::Name } else { Side::Other }
        }
        Value::Scalar(scalar) => {
            let value = &scalar.value;
            if named_atom(value).is_some() {
                return Side::Name;
            }
            if value.is_constant() {
                return Side::Constant;
            }
            let mut names: Vec<&Atom> =
                value.atoms().filter(|atom| matches!(atom, Atom::Variable(_))).collect();
            names.sort_unstable();
            names.dedup();
            if names.len() > 1 { Side::Asked } else { Side::Other }
        }
        _ => Side::Other,
    }
}

/// Words in an equation that make no statement of it: "suppose that x", "this does not mean that x", "Tom says x".
const NO_NAMES: &[&str] = &[
    "let",
    "is",
    "ist",
    "est",
    "es",
    "è",
    "é",
    "say",
    "says",
    "said",
    "cannot",
    "soit",
    "sea",
    "sei",
    "sia",
    "seja",
    "пусть",
    "设",
    "設",
    "令",
];

/// Whether a text names what is asked for ("number of eggs"), and neither supposes nor denies.
fn is_name(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphanumeric() && c != '\'');
    // "huevos que se vendieron" has a "se" that is no "if": what supposes stands first.
    let opens = words.clone().find(|word| !word.is_empty()).is_some_and(|word| SUPPOSITIONS.contains(&word));
    let known = |word: &str| [NO_NAMES, NEGATIONS, WRONGS].iter().any(|words| words.contains(&word));
    let is_unspaced = |word: &&&str| word.starts_with(|c: char| c > '\u{e00}');
    let denies = NEGATIONS.iter().filter(is_unspaced).any(|word| lower.contains(word));
    // 设x supposes, 设备总数 is a name.
    let supposes = |word: &&str| {
        let rest = lower.strip_prefix(*word).map(str::trim_start);
        rest.is_some_and(|rest| {
            word.chars().nth(1).is_some() || rest.starts_with(|c: char| c.is_ascii_alphabetic())
        })
    };
    let mut openings = NO_NAMES.iter().chain(SUPPOSITIONS).filter(is_unspaced);
    !(opens || words.any(known) || denies || openings.any(supposes))
}

/// The variable or the function that is all of an answer.
pub(super) fn name_of(value: &Value) -> Option<&Atom> {
    value.scalar().and_then(|scalar| named_atom(&scalar.value))
}

/// The variable or the function that a value is, with nothing else about it.
fn named_atom(value: &Quotient) -> Option<&Atom> {
    let (monomial, coefficient) = value.is_polynomial().then(|| value.numerator.single()).flatten()?;
    match monomial.0.as_slice() {
        [(atom @ (Atom::Variable(_) | Atom::Function(..)), exponent)]
            if exponent.is_one() && coefficient.is_one() && !is_absolute(atom) =>
        {
            Some(atom)
        }
        _ => None,
    }
}

/// |x| = 5 leaves open which x is asked for.
fn is_absolute(atom: &Atom) -> bool {
    matches!(atom, Atom::Function(name, _) if name == "abs")
}

/// What a chain of equations says the answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stated {
    Value(Value),
    /// 2 + 2 = 5 is no answer to anything.
    False,
    Nothing,
}

/// The value that a chain of equations states: `x = 5` is 5, `4^2 = 16` is 16, `x \in S` is S.
pub(super) fn stated(
    sides: &[Value],
    comparisons: &[Comparison],
    accept: impl Fn(Side) -> bool,
    judge: &mut Judge,
) -> Stated {
    let equal = |comparison: &Comparison| matches!(comparison, Comparison::Equal | Comparison::Approximate);
    if let ([name, set], [Comparison::In]) = (sides, comparisons) {
        return if side(name) == Side::Name { Stated::Value(set.clone()) } else { Stated::Nothing };
    }
    let kind = sides.first().map_or(Side::Other, side);
    // 5 = x is x = 5.
    if let ([left, right], [Comparison::Equal]) = (sides, comparisons)
        && side(right) == Side::Name
        && kind == Side::Constant
        && name_of(left).is_none()
    {
        return Stated::Value(left.clone());
    }
    if !comparisons.iter().all(equal) || !accept(kind) {
        return Stated::Nothing;
    }
    // What follows an approximation sign is less than what stands before it.
    let cut = comparisons.iter().skip(1).position(|comparison| *comparison == Comparison::Approximate);
    let constant_start = kind == Side::Constant && comparisons.first() == Some(&Comparison::Approximate);
    let last = if constant_start { 0 } else { cut.map_or(sides.len() - 1, |at| at + 1) };
    let Some(stated) = sides.get(last) else { return Stated::Nothing };
    let from = usize::from(kind != Side::Constant);
    for other in sides.get(from..last).unwrap_or_default() {
        if let (Value::Scalar(a), Value::Scalar(b)) = (other, stated)
            && a.value.is_constant()
        {
            match compare_scalars(a, b, judge) {
                Match::Equal { .. } => {}
                Match::Different => return Stated::False,
                _ => return Stated::Nothing,
            }
        }
    }
    Stated::Value(stated.clone())
}

/// The value that an answer states, or the answer itself: votes count `x = 5` and 5 together.
pub(in super::super) fn stated_value(answer: &Value, judge: &mut Judge) -> Value {
    match answer {
        Value::Relation(sides, comparisons) => {
            match stated(sides, comparisons, |side| side != Side::Other, judge) {
                Stated::Value(value) => value,
                _ => answer.clone(),
            }
        }
        answer => answer.clone(),
    }
}

pub(super) type Chain<'a> = (&'a [Value], &'a [Comparison]);

pub(super) fn compare_relations(gold: Chain, answer: Chain, judge: &mut Judge) -> Match {
    let (gold_sides, gold_comparisons) = straight(gold);
    let (sides, comparisons) = straight(answer);
    let alike = gold_comparisons == comparisons && gold_sides.len() == sides.len();
    if alike {
        let same = gold_sides
            .iter()
            .zip(&sides)
            .fold(Match::EQUAL, |found, (gold, answer)| found.and(compare(gold, answer, judge)));
        let named = side(&gold_sides[0]) == Side::Name && side(&sides[0]) == Side::Name;
        if same.is_equal() {
            return same;
        }
        if named && sides.len() == 2 && comparisons == [Comparison::Equal] {
            let names = compare(&gold_sides[0], &sides[0], judge);
            let right = compare(&gold_sides[1], &sides[1], judge);
            match (names.is_equal(), judge.options.strict) {
                (true, _) | (false, false) => return right,
                (false, true) => {}
            }
        }
    }
    let single = |sides: &[Value], comparisons: &[Comparison], budget: &mut Budget| match (sides, comparisons)
    {
        ([Value::Scalar(left), Value::Scalar(right)], [comparison]) => {
            left.value.minus(&right.value, budget).ok().map(|difference| (difference, *comparison))
        }
        _ => None,
    };
    let gold_single = single(&gold_sides, &gold_comparisons, judge.budget);
    let answer_single = single(&sides, &comparisons, judge.budget);
    if let (Some((a, how)), Some((b, own))) = (gold_single, answer_single) {
        match compare_single(&a, how, &b, own, judge.budget) {
            Ok(Match::Unknown(_)) => {}
            Ok(found) => return found,
            Err(obstacle) => return Match::Unknown(obstacle),
        }
    }
    let gold = Value::Relation(gold_sides, gold_comparisons);
    let answer = Value::Relation(sides, comparisons);
    same_solutions(&gold, &answer, judge)
}

/// A relation that is no value, against a value: different, unless solving it would give the value.
pub(super) fn unsolved(relation: &Value, value: &Value, judge: &mut Judge) -> Match {
    let Value::Scalar(scalar) = value else { return Match::Kinds };
    if !scalar.value.is_constant() {
        return Match::Kinds;
    }
    match solutions(relation, judge.budget) {
        Ok(Some(set)) => match set.same(&RealSet::point(scalar.value.clone()), judge.budget) {
            Ok(false) => Match::Different,
            _ => Match::Kinds,
        },
        Ok(None) => {
            let symmetric = |value: &Value| matches!(value, Value::Relation(_, own) if own.as_slice() == [Comparison::Equal]);
            // An equation in one variable has its solutions for an answer, not its right side.
            if symmetric(relation) && variable_of(relation).is_some() {
                Match::Different
            } else {
                Match::Kinds
            }
        }
        Err(obstacle) => Match::Unknown(obstacle),
    }
}

/// Inequalities of one variable, by what they hold for.
pub(super) fn same_solutions(gold: &Value, answer: &Value, judge: &mut Judge) -> Match {
    let both = (solutions(gold, judge.budget), solutions(answer, judge.budget));
    let names = (variable_of(gold), variable_of(answer));
    match both {
        (Ok(Some(a)), Ok(Some(b))) if names.0 == names.1 || !judge.options.strict => {
            match a.same(&b, judge.budget) {
                Ok(true) => Match::EQUAL,
                Ok(false) => Match::Different,
                Err(obstacle) => Match::Unknown(obstacle),
            }
        }
        (Err(obstacle), _) | (_, Err(obstacle)) => Match::Unknown(obstacle),
        _ => Match::Unknown(Obstacle::Unread),
    }
}

/// Chains of > and >= written from right to left; ≈ counts as =.
fn straight((sides, comparisons): Chain) -> (Vec<Value>, Vec<Comparison>) {
    let down = |comparison: &Comparison| matches!(comparison, Comparison::Greater | Comparison::AtLeast);
    let mut sides = sides.to_vec();
    let mut comparisons: Vec<Comparison> = comparisons
        .iter()
        .map(
            |comparison| if *comparison == Comparison::Approximate { Comparison::Equal } else { *comparison },
        )
        .collect();
    if comparisons.iter().all(down) {
        sides.reverse();
        comparisons.reverse();
        for comparison in &mut comparisons {
            *comparison =
                if *comparison == Comparison::Greater { Comparison::Less } else { Comparison::AtMost };
        }
    }
    (sides, comparisons)
}

/// a ~ 0 against b ~ 0.
fn compare_single(
    a: &Quotient,
    how: Comparison,
    b: &Quotient,
    own: Comparison,
    budget: &mut Budget,
) -> Result<Match, Obstacle> {
    let symmetric = matches!(how, Comparison::Equal | Comparison::NotEqual);
    let ordered = matches!(how, Comparison::Less | Comparison::AtMost);
    if !symmetric && !ordered {
        return Ok(Match::Unknown(Obstacle::Unread));
    }
    let factor = factor_between(a, b, budget)?;
    let linear = is_linear(a) && is_linear(b);
    Ok(match factor {
        Some(factor) if how == own && (symmetric || factor.is_positive()) => Match::EQUAL,
        Some(_) => Match::Different,
        // Equations of polynomials that are no multiples of one another; a root more or less makes them differ.
        None if how == own && (linear || (symmetric && is_rational(a) && is_rational(b))) => Match::Different,
        None => Match::Unknown(Obstacle::Unread),
    })
}

/// The rational that takes one polynomial to the other.
fn factor_between(a: &Quotient, b: &Quotient, budget: &mut Budget) -> Result<Option<BigRational>, Obstacle> {
    if a.is_zero() || b.is_zero() || a.is_constant() || b.is_constant() {
        return Ok(None);
    }
    let left = a.numerator.times(&b.denominator, budget)?;
    let right = b.numerator.times(&a.denominator, budget)?;
    let lead = |polynomial: &Polynomial| polynomial.0.iter().next_back().map(|(m, c)| (m.clone(), c.clone()));
    let (Some((_, mine)), Some((_, theirs))) = (lead(&left), lead(&right)) else { return Ok(None) };
    let factor = mine / theirs;
    // Denominators that are not the same exclude different points.
    let same_domain = a.denominator == b.denominator;
    Ok((same_domain && left == right.scaled(&factor, budget)?).then_some(factor))
}

/// Of first degree in variables, with rational coefficients.
fn is_linear(value: &Quotient) -> bool {
    value.is_polynomial()
        && value.numerator.0.keys().all(|monomial| match monomial.0.as_slice() {
            [] => true,
            [(Atom::Variable(_), exponent)] => exponent.is_one(),
            _ => false,
        })
}

/// A polynomial in variables with rational coefficients.
fn is_rational(value: &Quotient) -> bool {
    value.is_polynomial() && value.numerator.atoms().all(|atom| matches!(atom, Atom::Variable(_)))
}

/// The one variable of a relation.
pub(super) fn variable_of(value: &Value) -> Option<String> {
    let mut names = Vec::new();
    collect_variables(value, &mut names);
    names.sort_unstable();
    names.dedup();
    if names.len() == 1 { names.pop() } else { None }
}

fn collect_variables(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Scalar(scalar) => names.extend(scalar.value.atoms().filter_map(|atom| match atom {
            Atom::Variable(name) => Some(name.clone()),
            _ => None,
        })),
        Value::Relation(values, _) | Value::Sequence(_, values) => {
            for value in values {
                collect_variables(value, names);
            }
        }
        _ => {}
    }
}

/// The reals for which linear inequalities of one variable hold; "or" unites them, "and" intersects them.
pub(super) fn solutions(value: &Value, budget: &mut Budget) -> Result<Option<RealSet>, Obstacle> {
    if variable_of(value).is_none() {
        return Ok(None);
    }
    match value {
        Value::Relation(sides, comparisons) => {
            let mut set = RealSet::all();
            for (i, comparison) in comparisons.iter().enumerate() {
                let Some(part) = half_line(&sides[i], *comparison, &sides[i + 1], budget)? else {
                    return Ok(None);
                };
                set = set.intersection(&part, budget)?;
            }
            Ok(Some(set))
        }
        Value::Sequence(fence @ (Fence::Choice | Fence::Bare), parts) => {
            // "x = 1, x = 2" lists what x may be; "x > 1, x < 2" are two conditions.
            let listed = parts
                .iter()
                .all(|part| matches!(part, Value::Relation(_, own) if own.as_slice() == [Comparison::Equal]));
            let unite = *fence == Fence::Choice || listed;
            let mut set: Option<RealSet> = None;
            for part in parts {
                let Value::Relation(..) = part else { return Ok(None) };
                let Some(own) = solutions(part, budget)? else { return Ok(None) };
                set = Some(match set {
                    None => own,
                    Some(set) if unite => set.union(&own, budget)?,
                    Some(set) => set.intersection(&own, budget)?,
                });
            }
            Ok(set)
        }
        _ => Ok(None),
    }
}

fn half_line(
    left: &Value,
    comparison: Comparison,
    right: &Value,
    budget: &mut Budget,
) -> Result<Option<RealSet>, Obstacle> {
    if comparison == Comparison::In {
        return if side(left) == Side::Name { RealSet::of(right, budget) } else { Ok(None) };
    }
    // -infinity < x says nothing.
    match (left, comparison, right) {
        (Value::Infinite(true), Comparison::Less | Comparison::AtMost, _)
        | (_, Comparison::Less | Comparison::AtMost, Value::Infinite(false)) => {
            return Ok(Some(RealSet::all()));
        }
        _ => {}
    }
    let (Value::Scalar(left), Value::Scalar(right)) = (left, right) else { return Ok(None) };
    let difference = left.value.minus(&right.value, budget)?;
    let Some((factor, root)) = linear_root(&difference, budget)? else { return Ok(None) };
    let up = factor.is_negative();
    Ok(Some(match comparison {
        Comparison::Equal => RealSet::point(root),
        Comparison::NotEqual => RealSet::point(root).complement(),
        Comparison::Less | Comparison::AtMost | Comparison::Greater | Comparison::AtLeast => {
            let closed = matches!(comparison, Comparison::AtMost | Comparison::AtLeast);
            let greater = matches!(comparison, Comparison::Greater | Comparison::AtLeast);
            // Below the root, or what is left of the line above it.
            if greater == up {
                RealSet::below(root, closed)
            } else {
                RealSet::below(root, !closed).complement()
            }
        }
        _ => return Ok(None),
    }))
}

/// For a x + b with rational a and constant b: a and -b / a.
fn linear_root(value: &Quotient, budget: &mut Budget) -> Result<Option<(BigRational, Quotient)>, Obstacle> {
    if !value.is_polynomial() {
        return Ok(None);
    }
    let mut factor = BigRational::zero();
    let mut rest = Polynomial::default();
    let mut name: Option<&Atom> = None;
    for (monomial, coefficient) in &value.numerator.0 {
        match monomial.0.as_slice() {
            [(atom @ Atom::Variable(_), exponent)]
                if exponent.is_one() && name.is_none_or(|name| name == atom) =>
            {
                name = Some(atom);
                factor.clone_from(coefficient);
            }
            _ => rest = rest.plus(&Polynomial::term(monomial.clone(), coefficient.clone()), budget)?,
        }
    }
    if factor.is_zero() || !rest.is_constant() {
        return Ok(None);
    }
    let root = Quotient::from(rest.scaled(&-factor.recip(), budget)?);
    Ok(Some((factor, root)))
}
