//! One item of a list: a relation or a single side, with the unit after it taken off.

use super::super::budget::Obstacle;
use super::super::unit;
use super::clean::{FUNCTIONS, SET_CLOSE, SET_OPEN};
use super::expression::{Comparison, Expression, Fence};
use super::formula::formula;
use super::list::{Context, bracket, is_outward, items, split};
use super::token::{Kind, Token};

pub(super) fn item(tokens: &[Token], context: &mut Context) -> Result<Expression, Obstacle> {
    if is_outward(tokens) {
        return outward(tokens, context);
    }
    let (mut sides, mut comparisons) = sides(tokens)?;
    // "= 5" and "≈ 5" leave out what everybody knows.
    let equal = |comparison: &Comparison| matches!(comparison, Comparison::Equal | Comparison::Approximate);
    if sides[0].is_empty() && comparisons.first().is_some_and(equal) {
        sides.remove(0);
        comparisons.remove(0);
    }
    let mut parsed = Vec::with_capacity(sides.len());
    for (i, tokens) in sides.iter().enumerate() {
        let named = i == 0 && comparisons.first().is_some_and(equal);
        parsed.push(match side(tokens, context) {
            Err(Obstacle::Unread) if named && names_something(tokens) => Expression::Text(String::new()),
            side => side?,
        });
    }
    match parsed.len() {
        1 => Ok(parsed.remove(0)),
        _ => Ok(Expression::Relation(parsed, comparisons)),
    }
}

fn outward(tokens: &[Token], context: &mut Context) -> Result<Expression, Obstacle> {
    let [first, inner @ .., last] = tokens else { return Err(Obstacle::Unread) };
    let (_, ends) = items(inner, context)?;
    if ends.len() != 2 {
        return Err(Obstacle::Unread);
    }
    let fence = Fence::Bracket { low_closed: first.is('['), high_closed: last.is(']') };
    Ok(Expression::Fenced(fence, ends))
}

type Sides<'a> = (Vec<&'a [Token]>, Vec<Comparison>);

/// Cut at comparison signs outside all brackets.
fn sides(tokens: &[Token]) -> Result<Sides<'_>, Obstacle> {
    let (mut depth, mut start, mut at) = (0, 0, 0);
    let (mut sides, mut comparisons) = (Vec::new(), Vec::new());
    while at < tokens.len() {
        depth += bracket(&tokens[at]);
        if depth == 0
            && let Some((comparison, length)) = comparison(&tokens[at..])?
        {
            sides.push(&tokens[start..at]);
            comparisons.push(comparison);
            at += length;
            start = at;
        } else {
            at += 1;
        }
    }
    sides.push(&tokens[start..]);
    Ok((sides, comparisons))
}

fn comparison(tokens: &[Token]) -> Result<Option<(Comparison, usize)>, Obstacle> {
    use Comparison::{Approximate, AtLeast, AtMost, Equal, Greater, In, Less, NotEqual};
    let followed = tokens.get(1).is_some_and(|next| next.is('=') && !next.spaced);
    let pair = if followed { 2 } else { 1 };
    Ok(Some(match &tokens[0].kind {
        Kind::Symbol('!') if followed => return Err(Obstacle::Ambiguous),
        Kind::Symbol(':') if followed => (Equal, pair),
        Kind::Symbol('=') => (Equal, pair),
        Kind::Symbol('<') => (if followed { AtMost } else { Less }, pair),
        Kind::Symbol('>') => (if followed { AtLeast } else { Greater }, pair),
        Kind::Command(name) => match name.as_str() {
            "le" => (AtMost, 1),
            "ge" => (AtLeast, 1),
            "ne" => (NotEqual, 1),
            "approx" => (Approximate, 1),
            "in" => (In, 1),
            // Relations of which nothing is known are compared as text.
            "equiv" | "sim" | "to" | "rightarrow" | "Rightarrow" | "implies" | "iff" | "notin" | "subset"
            | "subseteq" | "propto" | "mapsto" | "perp" | "parallel" | "ll" | "gg" | "doteq" => {
                return Err(Obstacle::Unread);
            }
            _ => return Ok(None),
        },
        _ => return Ok(None),
    }))
}

/// Whether a left side that no rule reads still is the name of one quantity.
fn names_something(tokens: &[Token]) -> bool {
    const NAMES: &[&str] = &["angle", "triangle", "measuredangle", "overline", "int", "sum", "lim", "prod"];
    match tokens.first().map(|token| &token.kind) {
        Some(Kind::Command(name)) => NAMES.contains(&name.as_str()),
        Some(Kind::Words(_)) => true,
        _ => false,
    }
}

fn side(tokens: &[Token], context: &mut Context) -> Result<Expression, Obstacle> {
    if tokens.is_empty() {
        return Err(Obstacle::Unread);
    }
    if let Some(text) = words_only(tokens) {
        return Ok(Expression::Text(text));
    }
    let parts = split(tokens, |token| token.is(':'))?;
    if parts.len() > 1 {
        let parts = parts.iter().map(|part| formula(part, context)).collect::<Result<_, _>>()?;
        return Ok(Expression::Ratio(parts));
    }
    // f(x) with any letter for f.
    if let [Token { kind: Kind::Letters(name), .. }, open, inner @ .., close] = tokens
        && name.chars().count() == 1
        && open.is('(')
        && !open.spaced
        && close.is(')')
        && inner.iter().all(|token| bracket(token) == 0)
        && matches!(
            name.as_str(),
            "f" | "g" | "h" | "p" | "q" | "F" | "G" | "H" | "P" | "Q" | "A" | "V" | "T" | "S" | "N" | "E"
        )
    {
        let (_, arguments) = items(inner, context)?;
        return Ok(Expression::Function(name.clone(), arguments));
    }
    match measured(tokens, context) {
        Some((at, unit)) => Ok(Expression::Measured(Box::new(formula(&tokens[..at], context)?), unit)),
        None => formula(tokens, context),
    }
}

/// The words of a side that has nothing else.
fn words_only(tokens: &[Token]) -> Option<String> {
    let mut words: Vec<&str> = Vec::new();
    let mut long = false;
    // A sign between short runs of letters is a sign between variables.
    let spelled = tokens.iter().all(|token| match &token.kind {
        Kind::Letters(letters) => letters.chars().count() > 3,
        _ => true,
    });
    for (at, token) in tokens.iter().enumerate() {
        match &token.kind {
            Kind::Letters(letters) => {
                long |= letters.chars().count() > 1;
                words.push(letters);
            }
            Kind::Words(text) => {
                long = true;
                words.push(text);
            }
            Kind::Symbol('-') if spelled && at > 0 && at + 1 < tokens.len() => words.push(" "),
            _ => return None,
        }
    }
    let named = match words.as_slice() {
        [only] => FUNCTIONS.contains(only) || ["pi", "inf", "infinity", "oo"].contains(only),
        _ => false,
    };
    let text = words.join(" ").to_lowercase().replace('-', " ");
    let text = text.trim_end_matches('.');
    (long && !named).then(|| text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Where a unit begins at the end of a side, and the unit.
fn measured(tokens: &[Token], context: &Context) -> Option<(usize, String)> {
    (1..tokens.len()).find_map(|at| {
        let starts = match &tokens[at].kind {
            Kind::Words(_) | Kind::Symbol('%') => true,
            Kind::Letters(letters) => {
                // Bare letters are variables, unless they spell a unit.
                unit::is_spelled_out(letters) && !FUNCTIONS.contains(&letters.as_str())
            }
            Kind::Command(name) => name == "degree" || name == "circ",
            _ => false,
        };
        if !starts || tokens[at - 1].is('^') || tokens[at - 1].is('_') {
            return None;
        }
        let unit = text(&tokens[at..])?;
        unit::is_unit(&format!(" {unit}"), context.convention).then_some((at, unit))
    })
}

/// Tokens as the text they were; `None` for those that no unit has.
fn text(tokens: &[Token]) -> Option<String> {
    let mut out = String::new();
    for token in tokens {
        if token.spaced {
            out.push(' ');
        }
        match &token.kind {
            Kind::Letters(text) | Kind::Words(text) => {
                if matches!(token.kind, Kind::Words(_)) && !out.is_empty() {
                    out.push(' ');
                }
                out.push_str(text);
            }
            Kind::Number { digits, places: 0 } => out.push_str(digits),
            Kind::Symbol(c) if "^/-.%()".contains(*c) => out.push(*c),
            Kind::Symbol('{' | '}') => {}
            Kind::Command(name) if name == "degree" || name == "circ" => out.push('\u{b0}'),
            _ => return None,
        }
    }
    Some(out.trim().to_owned())
}

/// The end of the bracket that opens at `open`.
pub(super) fn closing(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        depth += bracket(token);
        if depth == 0 {
            let fits = match &tokens[open].kind {
                Kind::Symbol('(' | '[') => token.is(')') || token.is(']'),
                Kind::Symbol('{') => token.is('}'),
                Kind::Symbol(SET_OPEN) => token.is(SET_CLOSE),
                Kind::Begin(name) => token.kind == Kind::End(name.clone()),
                Kind::Command(name) => token.is_command(&name.replacen('l', "r", 1)),
                _ => false,
            };
            return fits.then_some(at);
        }
    }
    None
}
